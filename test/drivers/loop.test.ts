import { execFileSync } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  constants,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createRun } from '../../src/process.ts';
import { lacks } from '../support/requirements.ts';
import { bundled, createCall, optionsText } from './support/driver.ts';

const MIB = 1024 * 1024;
const success = { status: 'Success' };
const file = bundled('flexcsi~loop');
// What the driver remembers for all volumes is kept away from the machine's.
const store = mkdtempSync(join(tmpdir(), 'flexcsi-loop-store-'));
const call = createCall(file, { FLEXCSI_LOOP_DIR: store });
const run = createRun();

/** A directory of this test's own, for images, mount points and tools. */
let directory: string;
/** A volume name of this test's own: names are shared by all that runs on the machine. */
let name: string;
let tests = 0;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'flexcsi-loop-'));
  name = `test-${process.pid}-${++tests}`;
});

afterEach(() => {
  for (const target of mountsBelow(directory)) execFileSync('umount', [target]);
  for (const device of devicesBelow(directory)) execFileSync('losetup', ['--detach', device]);
  for (const link of linksOf(name)) unlinkSync(link);
  rmSync(directory, { recursive: true });
});

afterAll(() => rmSync(store, { recursive: true }));

function mountsBelow(path: string): string[] {
  const targets = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '');
  return targets.filter((target) => target.startsWith(`${path}/`)).reverse();
}

/** The loop devices whose image is, or was, in a directory. */
function devicesBelow(path: string): string[] {
  return readdirSync('/sys/block')
    .filter((device) => backingFile(`/dev/${device}`)?.startsWith(`${path}/`))
    .map((device) => `/dev/${device}`)
    .sort();
}

function backingFile(device: string | undefined): string | undefined {
  try {
    return readFileSync(`/sys/block/${device?.slice('/dev/'.length)}/loop/backing_file`, 'utf8').trimEnd();
  } catch {
    return undefined;
  }
}

function canRead(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

function linksOf(prefix: string): string[] {
  const links = '/run/flexcsi-loop';
  // Not there, or of root only: then this test has made none.
  if (!canRead(links)) return [];
  return readdirSync(links)
    .filter((link) => link === prefix || link.startsWith(`${prefix}-`))
    .map((link) => join(links, link));
}

/** The JSON argument for this test's volume. */
function volume(options: Readonly<Record<string, string>> = {}): string {
  return optionsText({
    'kubernetes.io/fsType': 'ext4',
    'kubernetes.io/pvOrVolumeName': name,
    'kubernetes.io/readwrite': 'rw',
    dir: directory,
    size: '64Mi',
    ...options,
  });
}

const readOnly = { 'kubernetes.io/readwrite': 'ro' };

function image(): string {
  return join(directory, `${name}.img`);
}

async function attach(json: string): Promise<string> {
  const answer = await call('attach', json, 'node');
  expect(answer).toEqual({ ...success, device: expect.stringMatching(/^\/dev\/loop\d+$/) });
  return answer.device as string;
}

/** Attaches and mounts, and answers the mount point. */
async function stage(json: string): Promise<string> {
  const target = join(directory, 'mount');
  const device = await attach(json);
  expect(await call('mountdevice', target, device, json)).toEqual(success);
  return target;
}

function sizeOf(target: string): number {
  const [blocks, size] = execFileSync('stat', ['-f', '-c', '%b %S', target])
    .toString()
    .split(' ')
    .map(Number);
  return (blocks as number) * (size as number);
}

function writeAt(path: string, text: string, position: number): void {
  const descriptor = openSync(path, 'r+');
  writeSync(descriptor, text, position);
}

/** Calls with a tool replaced by a script. `$real` is the path of the tool itself. */
function callWithTool(tool: string, script: string) {
  const tools = join(directory, 'tools');
  const real = execFileSync('sh', ['-c', `command -v ${tool}`])
    .toString()
    .trim();
  mkdirSync(tools);
  writeFileSync(join(tools, tool), `#!/bin/sh\nreal=${real}\n${script}\n`);
  chmodSync(join(tools, tool), 0o755);
  return createCall(file, { PATH: `${tools}:${process.env.PATH}`, FLEXCSI_LOOP_DIR: store });
}

/** The driver's process that a tool descends from: not one of its subshells, which have the same command line. */
function driverOf(tool: number): number {
  const parentOf = (pid: number) =>
    Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  let pid = tool;
  while (readFileSync(`/proc/${parentOf(pid)}/cmdline`, 'utf8').includes(file)) pid = parentOf(pid);
  expect(pid).not.toBe(tool);
  return pid;
}

const unmet = lacks('root', 'loop', 'bash', 'losetup', 'mkfs.ext4');

describe.skipIf(lacks('shellcheck'))('the script', () => {
  it('is clean by shellcheck', async () => {
    // Alone, as the linter of a CI sees it; and with the files beside it.
    for (const args of [[file], ['-x', '-a', file]]) {
      const ended = await run({ file: 'shellcheck', args, timeoutMs: 60_000 });
      expect(ended.output.toString()).toBe('');
      expect(ended.exitCode).toBe(0);
    }
  });
});

describe.skipIf(unmet)('the life of a volume', () => {
  const mkfs = (fsType: string) => lacks(`mkfs.${fsType}`);

  // xfs and btrfs have a smallest size.
  describe.each([
    { fsType: 'ext4', size: 64, online: false },
    { fsType: 'ext3', size: 64, online: false },
    { fsType: 'xfs', size: 320, online: true },
    { fsType: 'btrfs', size: 128, online: true },
  ])('$fsType', ({ fsType, size, online }) => {
    it.skipIf(mkfs(fsType))('attaches, mounts, keeps the data, grows and detaches', async () => {
      const json = volume({ 'kubernetes.io/fsType': fsType, size: `${size}Mi` });
      const target = join(directory, 'mount');
      const device = await attach(json);
      expect(backingFile(device)).toBe(image());
      expect(statSync(image())).toMatchObject({ size: size * MIB, mode: 0o100600 });
      expect(await call('isattached', json, 'node')).toEqual({ ...success, attached: true });
      expect(await call('waitforattach', device, json)).toEqual({ ...success, device });

      expect(await call('mountdevice', target, device, json)).toEqual(success);
      expect(execFileSync('findmnt', ['-no', 'SOURCE,FSTYPE', '-M', target]).toString()).toMatch(
        new RegExp(`^${device} +${fsType}\n$`),
      );
      writeFileSync(join(target, 'data'), 'kept');
      expect(await call('unmountdevice', target)).toEqual(success);
      expect(mountsBelow(directory)).toEqual([]);

      const reader = volume({ 'kubernetes.io/fsType': fsType, ...readOnly });
      expect(await call('mountdevice', target, device, reader)).toEqual(success);
      expect(() => writeFileSync(join(target, 'data'), 'lost')).toThrow(/EROFS/);
      expect(await call('unmountdevice', target)).toEqual(success);

      expect(await call('mountdevice', target, device, json)).toEqual(success);
      const before = sizeOf(target);
      const grown = String(2 * size * MIB);
      expect(await call('expandvolume', json, target, grown, String(size * MIB))).toEqual(success);
      const expanded = await call('expandfs', json, device, target, grown, String(size * MIB));
      if (online || !lacks('sysResource')) {
        expect(expanded).toEqual(success);
      } else {
        expect(expanded.message).toContain('grows when the volume is next mounted');
        expect(await call('unmountdevice', target)).toEqual(success);
        expect(await call('mountdevice', target, device, json)).toEqual(success);
        expect(await call('expandfs', json, device, target, grown, String(size * MIB))).toEqual(success);
      }
      expect(sizeOf(target)).toBeGreaterThan(1.7 * before);
      expect(readFileSync(join(target, 'data'), 'utf8')).toBe('kept');

      expect(await call('unmountdevice', target)).toEqual(success);
      expect(await call('detach', name, 'node')).toEqual(success);
      expect(await call('isattached', json, 'node')).toEqual({ ...success, attached: false });
      expect(devicesBelow(directory)).toEqual([]);
      expect(linksOf(name)).toEqual([]);
      expect(readdirSync(directory).sort()).toEqual(['mount', `${name}.img`]);

      await stage(json);
      expect(readFileSync(join(target, 'data'), 'utf8')).toBe('kept');
    });
  });

  it('answers the same to every verb that is called again', async () => {
    const json = volume();
    const target = join(directory, 'mount');
    const device = await attach(json);
    const grown = String(80 * MIB);
    const twice: [string[], object][] = [
      [['attach', json, 'node'], { ...success, device }],
      [['waitforattach', device, json], { ...success, device }],
      [['mountdevice', target, device, json], success],
      [['expandvolume', json, target, grown, String(64 * MIB)], success],
      [['unmountdevice', target], success],
      [['detach', name, 'node'], success],
    ];
    for (const [args, answer] of twice) {
      expect(await call(...args)).toEqual(answer);
      expect(await call(...args)).toEqual(answer);
      expect(mountsBelow(directory).length).toBeLessThan(2);
    }
  });

  it('tells what it can do, and leaves the bind mounts to the caller', async () => {
    expect((await call('init')).capabilities).toMatchObject({
      attach: true,
      fsGroup: true,
      requiresFSResize: true,
      supportsMetrics: true,
    });
    for (const args of [['mount', '/x', volume()], ['unmount', '/x'], ['getvolumename', volume()], []]) {
      expect(await call(...args)).toEqual({ status: 'Not supported' });
    }
  });

  it('answers a failure when an argument is missing', async () => {
    expect(await call('attach')).toEqual({ status: 'Failure', message: 'attach: ended before it was done' });
  });

  it('does not detach what is mounted, and attaches it again for good', async () => {
    const json = volume();
    const target = await stage(json);
    const refused = await call('detach', name, 'node');
    expect(refused).toEqual({ status: 'Failure', message: expect.stringContaining(`in use: ${target}`) });
    const device = await attach(json);
    // Without the attach, the device would have gone with this unmount.
    expect(await call('unmountdevice', target)).toEqual(success);
    expect(backingFile(device)).toBe(image());
    expect(await call('detach', name, 'node')).toEqual(success);
    expect(devicesBelow(directory)).toEqual([]);
  });

  it('serves two volumes with one image, until the last is detached', async () => {
    const other = `${name}-other`;
    const otherJson = volume({ 'kubernetes.io/pvOrVolumeName': other, volume: name });
    const otherTarget = join(directory, 'other');
    const target = await stage(volume());
    const device = await attach(otherJson);
    expect(await call('mountdevice', otherTarget, device, otherJson)).toEqual(success);
    writeFileSync(join(target, 'data'), 'shared');
    expect(readFileSync(join(otherTarget, 'data'), 'utf8')).toBe('shared');

    for (const each of [target, otherTarget]) expect(await call('unmountdevice', each)).toEqual(success);
    expect(await call('detach', name, 'node')).toEqual(success);
    expect(devicesBelow(directory)).toEqual([device]);
    expect(await call('detach', other, 'node')).toEqual(success);
    expect(devicesBelow(directory)).toEqual([]);
  });

  it('grows with an image that was made larger by hand', async () => {
    const target = await stage(volume());
    expect(await call('unmountdevice', target)).toEqual(success);
    truncateSync(image(), 256 * MIB);
    await stage(volume());
    expect(sizeOf(target)).toBeGreaterThan(200 * MIB);
  });

  it('grows a raw block volume', async () => {
    const device = await attach(volume());
    const target = join(directory, 'block');
    writeFileSync(target, '');
    execFileSync('mount', ['--bind', device, target]);
    const sizes = [String(80 * MIB), String(64 * MIB)];
    expect(await call('expandvolume', volume(), target, ...sizes)).toEqual(success);
    expect(await call('expandfs', volume(), device, target, ...sizes)).toEqual(success);
    expect(execFileSync('blockdev', ['--getsize64', target]).toString()).toBe(`${80 * MIB}\n`);
  });

  it('mounts with mount flags, none of which makes a read-only volume writable', async () => {
    const target = join(directory, 'mounted');
    const flags = { 'csi/mountOptions': 'noatime,rw' };
    await attach(volume());
    expect(await call('mountdevice', target, '/dev/any', volume(flags))).toEqual(success);
    const optionsAt = () => execFileSync('findmnt', ['-no', 'OPTIONS', target], { encoding: 'utf8' }).trim();
    expect(optionsAt().split(',')).toEqual(expect.arrayContaining(['rw', 'noatime']));
    expect(await call('unmountdevice', target)).toEqual(success);
    expect(await call('mountdevice', target, '/dev/any', volume({ ...flags, ...readOnly }))).toEqual(success);
    expect(optionsAt().split(',')).toEqual(expect.arrayContaining(['ro', 'noatime']));
    expect(await call('unmountdevice', target)).toEqual(success);
    expect(await call('detach', name, 'node')).toEqual(success);
  });

  it('does not mount where something else is mounted', async () => {
    const target = join(directory, 'mount');
    const device = await attach(volume());
    mkdirSync(target);
    execFileSync('mount', ['-t', 'tmpfs', 'other', target]);
    expect(await call('mountdevice', target, device, volume())).toEqual({
      status: 'Failure',
      message: `${target}: other is mounted there, not ${device}`,
    });
  });

  it('creates the default directory, and finds a volume there by its name alone', async () => {
    // /var/lib and /run of its own, so that the machine's are left alone.
    const script = `
      mount -t tmpfs none /var/lib && mount -t tmpfs none /run || exit
      "$1" attach "$2" node && rm -r /run/flexcsi-loop && ls /var/lib/flexcsi-loop && "$1" detach "$3" node
      losetup -a | grep "$3"`;
    const json = optionsText({ 'kubernetes.io/pvOrVolumeName': name, size: '1Mi' });
    const ended = await run({
      file: 'unshare',
      args: ['--mount', 'sh', '-c', script, 'sh', file, json, name],
      timeoutMs: 60_000,
    });
    expect(ended.output.toString()).toMatch(
      new RegExp(`^{"status":"Success","device":".*"}\n${name}.img\n{"status":"Success"}\n$`),
    );
  });
});

describe.skipIf(unmet)('at the same time', () => {
  it('attaches one volume as one device', async () => {
    const devices = await Promise.all(Array.from({ length: 8 }, () => attach(volume())));
    expect(new Set(devices).size).toBe(1);
    expect(devicesBelow(directory)).toEqual(devices.slice(0, 1));
  });

  it('attaches eight volumes as eight devices', async () => {
    const names = Array.from({ length: 8 }, (_, index) => `${name}-${index}`);
    const devices = await Promise.all(
      names.map((each) => attach(volume({ 'kubernetes.io/pvOrVolumeName': each }))),
    );
    expect(devices.map(backingFile)).toEqual(names.map((each) => join(directory, `${each}.img`)));
    await Promise.all(names.map((each) => call('detach', each, 'node')));
    expect(devicesBelow(directory)).toEqual([]);
  });

  it('formats and mounts a volume once', async () => {
    const target = join(directory, 'mount');
    const device = await attach(volume());
    const answers = await Promise.all(
      Array.from({ length: 4 }, () => call('mountdevice', target, device, volume())),
    );
    expect(answers).toEqual([success, success, success, success]);
    expect(mountsBelow(directory)).toEqual([target]);
  });

  it('waits for the tool of a call that was killed', async () => {
    const target = join(directory, 'mount');
    const device = await attach(volume());
    const started = join(directory, 'started');
    const slow = callWithTool(
      'mkfs.ext4',
      `echo $$ >>${started}; sleep 2; "$real" "$@"; status=$?; echo done >>${started}; exit $status`,
    );
    const killed = slow('mountdevice', target, device, volume()).catch((error: Error) => error.message);
    await vi.waitFor(() => expect(readFileSync(started, 'utf8')).toMatch(/^\d+\n$/), { timeout: 10_000 });
    const tool = Number(readFileSync(started, 'utf8'));
    process.kill(driverOf(tool), 'SIGKILL');
    expect(await killed).toContain('SIGKILL');
    // Nobody can tell that the first mkfs has succeeded: the image is formatted again, but not at the same time.
    expect(await slow('mountdevice', target, device, volume())).toEqual(success);
    expect(readFileSync(started, 'utf8')).toMatch(new RegExp(`^${tool}\ndone\n\\d+\ndone\n$`));
  });
});

describe.skipIf(unmet)('what is left behind', () => {
  it('finds the device again when the links are lost', async () => {
    const device = await attach(volume());
    for (const link of linksOf(name)) unlinkSync(link);
    // Where the image is, only the link knew.
    expect(await call('detach', name, 'node')).toEqual(success);
    expect(await attach(volume())).toBe(device);
    expect(await call('detach', name, 'node')).toEqual(success);
    expect(devicesBelow(directory)).toEqual([]);
  });

  it('attaches again after a reboot, and never mounts the image that has the old number', async () => {
    const target = await stage(volume());
    writeFileSync(join(target, 'whose'), 'mine');
    expect(await call('unmountdevice', target)).toEqual(success);
    const [own] = devicesBelow(directory) as [string];
    const other = join(directory, 'other.img');
    writeFileSync(other, '');
    truncateSync(other, 64 * MIB);
    // To the driver this is the device of before the reboot: a number that now is another image's.
    const device = execFileSync('losetup', ['--find', '--show', other], { encoding: 'utf8' }).trim();
    execFileSync('losetup', ['--detach', own]);

    const answer = await call('waitforattach', device, volume());
    expect(answer.device).not.toBe(device);
    expect(backingFile(answer.device)).toBe(image());
    expect(await call('mountdevice', target, device, volume())).toEqual(success);
    expect(readFileSync(join(target, 'whose'), 'utf8')).toBe('mine');
  });

  it('detaches a volume whose device is gone', async () => {
    const device = await attach(volume());
    execFileSync('losetup', ['--detach', device]);
    expect(await call('detach', name, 'node')).toEqual(success);
    expect(linksOf(name)).toEqual([]);
  });

  it('detaches a volume that was never attached, whatever its name is', async () => {
    expect(await call('detach', 'never', 'node')).toEqual(success);
    expect(await call('detach', '../../etc/passwd', 'node')).toEqual(success);
    expect(await call('detach', '', 'node')).toEqual(success);
  });

  it('finishes an image that was created but not yet given its size', async () => {
    writeFileSync(image(), '');
    await attach(volume());
    expect(statSync(image()).size).toBe(64 * MIB);
  });

  it('formats again after a format that was cut short', async () => {
    const target = join(directory, 'mount');
    const device = await attach(volume());
    const cutShort = callWithTool(
      'mkfs.ext4',
      'for disk; do :; done; echo half a file system >$disk; kill -9 $$',
    );
    expect((await cutShort('mountdevice', target, device, volume())).status).toBe('Failure');
    expect(await call('mountdevice', target, device, volume())).toEqual(success);
    expect(readdirSync(directory)).not.toContain(`${name}.img.formatting`);
  });

  // What has the magic number of a file system may all the same be half of one.
  it.each([
    { fsType: 'ext4', size: 64, damage: 'dd if=/dev/zero of=$disk bs=2k seek=1 count=16k conv=notrunc' },
    { fsType: 'xfs', size: 320, damage: "xfs_db -x -c 'sb 0' -c 'write inprogress 1' $disk" },
    { fsType: 'btrfs', size: 128, damage: 'dd if=/dev/zero of=$disk bs=1M seek=1 count=100 conv=notrunc' },
  ])('formats again what a format of $fsType that was cut short has left', async (format) => {
    const { fsType, size, damage } = format;
    if (lacks(`mkfs.${fsType}`)) return;
    const target = join(directory, 'mount');
    const json = volume({ 'kubernetes.io/fsType': fsType, size: `${size}Mi` });
    const device = await attach(json);
    const cutShort = callWithTool(
      `mkfs.${fsType}`,
      `for disk; do :; done; "$real" "$@"; ${damage}; sync $disk; kill -9 $$`,
    );
    expect((await cutShort('mountdevice', target, device, json)).status).toBe('Failure');
    expect(execFileSync('blkid', ['-p', '-s', 'TYPE', '-o', 'value', device]).toString()).toBe(`${fsType}\n`);
    expect(() => execFileSync('mount', [device, directory], { stdio: 'ignore' })).toThrow();
    expect(await call('mountdevice', target, device, json)).toEqual(success);
    writeFileSync(join(target, 'data'), 'kept');
    expect(await call('unmountdevice', target)).toEqual(success);
    expect(readdirSync(directory)).not.toContain(`${name}.img.formatting`);
    expect(await call('mountdevice', target, device, json)).toEqual(success);
    expect(readFileSync(join(target, 'data'), 'utf8')).toBe('kept');
  });

  it('does not format again what was formatted by hand, since its own tool could not', async () => {
    const target = join(directory, 'mount');
    const device = await attach(volume());
    const broken = callWithTool('mkfs.ext4', 'echo "mkfs.ext4: no"; exit 1');
    expect((await broken('mountdevice', target, device, volume())).message).toContain('mkfs.ext4: no');
    expect(readdirSync(directory)).not.toContain(`${name}.img.formatting`);
    execFileSync('mkfs.ext4', ['-q', '-L', 'by-hand', device]);
    expect(await call('mountdevice', target, device, volume())).toEqual(success);
    expect(execFileSync('blkid', ['-p', '-s', 'LABEL', '-o', 'value', device]).toString()).toBe('by-hand\n');
  });

  it('does not format what is mounted', async () => {
    const target = await stage(volume());
    writeFileSync(join(target, 'data'), 'kept');
    writeFileSync(`${image()}.formatting`, '');
    const other = join(directory, 'other');
    const answer = await call('mountdevice', other, '/dev/any', volume());
    expect(answer).toMatchObject({ code: 'FAILED_PRECONDITION' });
    expect(answer.message).toContain(`${image()}: is mounted, and yet not formatted to the end`);
    unlinkSync(`${image()}.formatting`);
    expect(await call('mountdevice', other, '/dev/any', volume())).toEqual(success);
    expect(readFileSync(join(other, 'data'), 'utf8')).toBe('kept');
  });

  it.each([
    ['image', () => unlinkSync(image())],
    ['directory', () => rmSync(join(directory, 'images'), { recursive: true })],
  ])('says of a volume whose %s is gone that it is not attached, and not there', async (what, remove) => {
    const options = { size: '', ...(what === 'directory' ? { dir: join(directory, 'images') } : {}) };
    mkdirSync(join(directory, 'images'));
    const json = volume(options);
    const device = await attach(volume({ ...options, size: '64Mi' }));
    expect(await call('detach', name, 'node')).toEqual(success);
    remove();
    expect(await call('isattached', json, 'node')).toEqual({ ...success, attached: false });
    for (const args of [
      ['attach', json, 'node'],
      ['waitforattach', device, json],
      ['mountdevice', join(directory, 'mount'), device, json],
      ['expandvolume', json, '/x', String(128 * MIB), String(64 * MIB)],
    ]) {
      expect(await call(...args)).toEqual({
        status: 'Failure',
        code: 'NOT_FOUND',
        message: expect.stringMatching(new RegExp(`^volume ${name}: .*[Nn]o such (image|file or directory)`)),
      });
    }
  });

  it('says of a volume that was removed with its directory, but has a device, that it is attached', async () => {
    const options = { dir: join(directory, 'images') };
    mkdirSync(options.dir);
    await attach(volume(options));
    rmSync(options.dir, { recursive: true });
    expect(await call('isattached', volume(options), 'node')).toEqual({ ...success, attached: true });
  });

  it.each([
    ['deleted', () => unlinkSync(image())],
    [
      'replaced',
      () => {
        writeFileSync(join(directory, 'backup'), '');
        truncateSync(join(directory, 'backup'), 64 * MIB);
        renameSync(join(directory, 'backup'), image());
      },
    ],
  ])('does not take another image for one that was %s while attached', async (_, change) => {
    const device = await attach(volume());
    change();
    const before = readdirSync(directory);
    const answer = await call('attach', volume(), 'node');
    expect(answer.message).toBe(
      `${image()}: was deleted or replaced while attached as ${device}, where its data still is`,
    );
    expect((await call('mountdevice', join(directory, 'mount'), device, volume())).status).toBe('Failure');
    expect(readdirSync(directory)).toEqual(before);
    expect(await call('isattached', volume(), 'node')).toEqual({ ...success, attached: true });
    // What is there is let go by the detach of the volume, and by nothing else.
    expect(await call('detach', name, 'node')).toEqual(success);
    expect(devicesBelow(directory)).toEqual([]);
    await attach(volume());
  });

  it('refuses an image that is attached twice, and detaches both', async () => {
    const first = await attach(volume());
    const second = execFileSync('losetup', ['--find', '--show', image()]).toString().trim();
    const answer = await call('waitforattach', first, volume());
    expect(answer.message).toMatch(new RegExp(`is attached as (${first} ${second}|${second} ${first});`));
    expect(await call('detach', name, 'node')).toEqual(success);
    expect(devicesBelow(directory)).toEqual([]);
  });
});

describe.skipIf(unmet)('data', () => {
  it('is never cut off or replaced by attaching', async () => {
    writeFileSync(image(), 'x'.repeat(10_000));
    await attach(volume({ size: '4Ki' }));
    expect(readFileSync(image(), 'utf8')).toBe('x'.repeat(10_000));
    await attach(volume({ size: '1Gi' }));
    expect(statSync(image()).size).toBe(10_000);
  });

  it('is never cut off by an expansion to less', async () => {
    await attach(volume());
    expect(await call('expandvolume', volume(), '/x', '1', '1')).toEqual(success);
    expect(statSync(image()).size).toBe(64 * MIB);
  });

  it.each([
    ['at the start', 0],
    ['in the middle', 40 * MIB],
    ['as the last byte', 64 * MIB - 1],
  ])('of an unknown kind %s is not formatted', async (_, position) => {
    const device = await attach(volume());
    writeAt(image(), '\n', position);
    const before = execFileSync('sha256sum', [image()]).toString();
    const answer = await call('mountdevice', join(directory, 'mount'), device, volume());
    expect(answer).toEqual({
      status: 'Failure',
      code: 'FAILED_PRECONDITION',
      message: `${image()}: holds data of an unknown kind, and is not formatted`,
    });
    expect(execFileSync('sha256sum', [image()]).toString()).toBe(before);
  });

  it('that only the device knows as yet is not formatted', async () => {
    const device = await attach(volume());
    // Held open, so that what is written stays in the device's cache.
    const descriptor = openSync(device, 'r+');
    writeSync(descriptor, 'data', 20 * MIB);
    const answer = await call('mountdevice', join(directory, 'mount'), device, volume());
    expect(answer.message).toContain('holds data of an unknown kind');
  });

  it('in partitions, or in another file system, is not formatted', async () => {
    const device = await attach(volume());
    const target = join(directory, 'mount');
    // A master boot record with one Linux partition.
    writeAt(image(), '\0\0\0\0\x83\0\0\0\x01\0\0\0\x01\0\0\0', 446);
    const descriptor = openSync(image(), 'r+');
    writeSync(descriptor, Buffer.from([0x55, 0xaa]), 0, 2, 510);
    execFileSync('blockdev', ['--flushbufs', device]);
    expect((await call('mountdevice', target, device, volume())).status).toBe('Failure');

    execFileSync('mkfs.ext4', ['-q', device]);
    const answer = await call('mountdevice', target, device, volume({ 'kubernetes.io/fsType': 'xfs' }));
    expect(answer.message).toBe(`${image()}: holds ext4, not xfs`);
  });

  it('is looked for in a preallocated image, which is formatted when there is none', async () => {
    execFileSync('fallocate', ['--length', String(64 * MIB), image()]);
    await stage(volume());
  });

  it('is mounted as what it is when no file system is named', async () => {
    writeFileSync(image(), '');
    truncateSync(image(), 64 * MIB);
    execFileSync('mkfs.ext2', ['-q', image()]);
    const target = await stage(volume({ 'kubernetes.io/fsType': '' }));
    expect(execFileSync('findmnt', ['-no', 'FSTYPE', '-M', target]).toString().trim()).toBe('ext2');
  });

  it('cannot come into an empty image that is read-only', async () => {
    const json = volume(readOnly);
    const device = await attach(json);
    expect((await call('mountdevice', join(directory, 'mount'), device, json)).message).toBe(
      `${image()}: is not formatted, and cannot be for a read-only mount`,
    );
    expect(statSync(image()).blocks).toBe(0);
  });
});

describe.skipIf(unmet)('options', () => {
  it.each([
    'with space',
    `quotes "double" and 'single'`,
    '<angles> & more',
    'back\\slash \\u0041 \\\\ \\"',
    'snowman ☃, umlaut ä, face 😀',
    'line\u2028separator\u2029s',
    '$(touch nope) `touch nope` $HOME * ? [a]',
    'colon","volume":"other',
    '-n',
  ])('take a directory named %j', async (subdirectory) => {
    const dir = join(directory, subdirectory);
    mkdirSync(dir);
    const device = await attach(volume({ dir }));
    expect(backingFile(device)).toBe(join(dir, `${name}.img`));
    expect(await call('mountdevice', join(dir, 'mount'), device, volume({ dir }))).toEqual(success);
    expect(await call('unmountdevice', join(dir, 'mount'))).toEqual(success);
    expect(await call('detach', name, 'node')).toEqual(success);
    expect(devicesBelow(directory)).toEqual([]);
  });

  it('are told apart from what only looks like them', async () => {
    const device = await attach(
      volume({
        a: '"dir":"/nowhere","size":"1"',
        'a/dir': '/nowhere',
        'com.example/dir': '/nowhere',
        'dir"': '/nowhere',
        DIR: '/nowhere',
        note: '\\","dir":"/nowhere\\',
        zdir: '\n\t\u0001}{",:',
      }),
    );
    expect(backingFile(device)).toBe(image());
    expect(statSync(image()).size).toBe(64 * MIB);
  });

  it('may be large', async () => {
    const device = await attach(volume({ note: '"'.repeat(60_000) }));
    expect(backingFile(device)).toBe(image());
  });

  it.each([
    ['4096', 4096],
    ['1000', 4096],
    ['100K', 102_400],
    ['64Ki', 65_536],
    ['1M', 1_003_520],
    ['1G', 1_000_001_536],
    ['2Ti', 2 * 1024 ** 4],
  ])('size %s makes an image of %i bytes', async (size, bytes) => {
    await attach(volume({ size }));
    expect(statSync(image()).size).toBe(bytes);
  });

  it.each([
    [{ 'kubernetes.io/pvOrVolumeName': '' }, "volume name '': must consist of"],
    [{ 'kubernetes.io/pvOrVolumeName': 'a/b' }, "volume name 'a/b': must consist of"],
    [{ volume: '../up' }, "option volume '../up': must consist of"],
    [{ volume: '.hidden' }, "option volume '.hidden': must consist of"],
    [{ volume: 'a\nb' }, "option volume 'a b': must consist of"],
    [{ volume: 'x'.repeat(300) }, 'File name too long'],
    [{ dir: 'relative' }, "option dir 'relative': must be an absolute path"],
    [{ dir: '/line\nbreak' }, 'must be an absolute path'],
    [{ dir: '/does/"not"\\exist' }, `option dir: '/does/"not"\\exist/`],
    [{ size: '' }, 'no such image; the option size would let it be created'],
    [{ size: '0' }, "option size '0': must be like"],
    [{ size: '-1' }, "option size '-1': must be like"],
    [{ size: '64MiB' }, "option size '64MiB': must be like"],
    [{ size: '1; true' }, "option size '1; true': must be like"],
    [{ size: '99999999999999999999T' }, 'too large'],
    [{ 'kubernetes.io/fsType': 'vfat' }, "fsType 'vfat': must be"],
    [{ 'kubernetes.io/fsType': 'ext4 -o x' }, "fsType 'ext4 -o x': must be"],
  ] as [Record<string, string>, string][])('%j are refused', async (options, message) => {
    const answer = await call('attach', volume(options), 'node');
    expect(answer).toMatchObject({ status: 'Failure', message: expect.stringContaining(message) });
    expect(devicesBelow(directory)).toEqual([]);
    expect(readdirSync(directory).filter((entry) => lstatSync(join(directory, entry)).size > 0)).toEqual([]);
  });

  it('of a volume that is not a file are refused', async () => {
    mkdirSync(image());
    expect((await call('attach', volume(), 'node')).message).toBe(`${image()}: no such image`);
  });

  it.each(['', '-5', '1.5', '64Mi'])('an expansion to %j is refused', async (bytes) => {
    await attach(volume());
    expect((await call('expandvolume', volume(), '/x', bytes, '1')).message).toContain(
      'must be a number of bytes',
    );
  });

  it("come with the tool's own words when a tool fails", async () => {
    const json = volume({ size: '4Ki' });
    const device = await attach(json);
    const answer = await call('mountdevice', join(directory, 'mount'), device, json);
    expect(answer.message).toMatch(new RegExp(`^${image()}: mkfs.ext4: /dev/loop.*`));
  });
});
