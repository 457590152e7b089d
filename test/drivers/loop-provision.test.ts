/** The verbs of the loop driver that kubelet does not have: volumes and snapshots that it makes and deletes. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { lacks } from '../support/requirements.ts';
import { type Answer, bundled, createCall, optionsText } from './support/driver.ts';

const MIB = 1024 * 1024;
const file = bundled('flexcsi~loop');

interface Described {
  readonly volume?: string;
  readonly capacityBytes?: number;
  readonly options?: Readonly<Record<string, string>>;
  readonly nodes?: readonly string[];
  readonly snapshot?: string;
  readonly sizeBytes?: number;
  readonly creationTime?: number;
  readonly availableBytes?: number;
  readonly maxVolumeBytes?: number;
}

type Extended = Answer &
  Described & {
    readonly code?: string;
    readonly volumes?: readonly Described[];
    readonly snapshots?: readonly Described[];
  };

/** A directory of this test's own, and the driver's default directory in it. */
let directory: string;
let store: string;
/** Names of this test's own: the links of attached volumes are shared by all that runs on the machine. */
let name: string;
let tests = 0;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'flexcsi-loop-'));
  store = join(directory, 'store');
  name = `provision-${process.pid}-${++tests}`;
});

afterEach(() => {
  for (const target of mountsBelow(directory)) {
    if (!target.endsWith('/disk')) execFileSync('umount', [target]);
  }
  for (const device of devicesBelow(directory)) execFileSync('losetup', ['--detach', device]);
  for (const target of mountsBelow(directory)) execFileSync('umount', [target]);
  for (const link of linksOfTest()) unlinkSync(link);
  rmSync(directory, { recursive: true });
});

function linksOfTest(): string[] {
  const links = '/run/flexcsi-loop';
  if (!existsSync(links)) return [];
  return readdirSync(links)
    .filter((link) => link.startsWith(name))
    .map((link) => join(links, link));
}

function mountsBelow(path: string): string[] {
  const targets = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '');
  return targets.filter((target) => target.startsWith(`${path}/`)).reverse();
}

function devicesBelow(path: string): string[] {
  return execFileSync('losetup', ['--list', '--noheadings', '--output', 'NAME,BACK-FILE'], {
    encoding: 'utf8',
  })
    .split('\n')
    .map((line) => line.trim().split(/ +/))
    .filter(([, backing]) => backing?.startsWith(`${path}/`))
    .map(([device]) => device as string);
}

type Environment = Readonly<Record<string, string>>;

function environment(extra: Environment = {}): Environment {
  return { FLEXCSI_LOOP_DIR: store, NODE_NAME: 'node-1', ...extra };
}

async function call(verb: string, ...args: readonly string[]): Promise<Extended> {
  return await createCall(file, environment())(verb, ...args);
}

async function callWith(extra: Environment, ...args: readonly string[]): Promise<Extended> {
  return await createCall(file, environment(extra))(...args);
}

const volumeText = (volume: string, options: Readonly<Record<string, string>> = {}) =>
  optionsText({ 'kubernetes.io/pvOrVolumeName': volume, ...options });

const requestText = (volume: string, bytes: number, options: Readonly<Record<string, string>> = {}) =>
  volumeText(volume, { 'csi/accessType': 'mount', requestBytes: String(bytes), ...options });

const snapshotText = (snapshot: string, volume: string) =>
  volumeText(volume, { 'csi/snapshotName': snapshot });

async function provision(
  volume: string,
  bytes: number,
  options: Readonly<Record<string, string>> = {},
): Promise<Extended> {
  const answer = await call('provision', requestText(volume, bytes, options));
  expect(answer).toMatchObject({ status: 'Success' });
  return answer;
}

/** The options with which a volume is attached and mounted: those that `provision` has answered. */
function useText(volume: string, { options }: Described, fsType = 'ext4'): string {
  return volumeText(volume, {
    'kubernetes.io/fsType': fsType,
    'kubernetes.io/readwrite': 'rw',
    ...options,
  });
}

async function attach(json: string): Promise<string> {
  const answer = await call('attach', json, 'node-1');
  expect(answer).toEqual({ status: 'Success', device: expect.stringMatching(/^\/dev\/loop\d+$/) });
  return answer.device as string;
}

/** Attaches and mounts a volume, and answers where. */
async function stage(volume: string, described: Described, fsType = 'ext4'): Promise<string> {
  const json = useText(volume, described, fsType);
  const target = join(directory, `mount-${volume}`);
  const device = await attach(json);
  expect(await call('mountdevice', target, device, json)).toEqual({ status: 'Success' });
  return target;
}

async function unstage(volume: string): Promise<void> {
  expect(await call('unmountdevice', join(directory, `mount-${volume}`))).toEqual({ status: 'Success' });
  expect(await call('detach', volume, 'node-1')).toEqual({ status: 'Success' });
}

const success = { status: 'Success' };
const deleteVolume = async (volume: string) => await call('delete', volumeText(volume));
const getVolume = async (volume: string) => await call('getvolume', volumeText(volume));

/** What a call leaves behind only when it was interrupted. */
function leftovers(place = store): string[] {
  return [
    ...readdirSync(place).filter((entry) => entry.startsWith('.')),
    ...readdirSync(join(store, 'pending')),
    ...readdirSync(join(store, 'locks')).filter((entry) => entry !== 'room'),
    ...readdirSync(place)
      .filter((entry) => /\.(volume|snapshot)$/.test(entry))
      .flatMap((entry) => readdirSync(join(place, entry)))
      .filter((entry) => !/^(data\.img|data\.snapshot|record)$/.test(entry)),
  ];
}

/** A file system of this size, as a place for images. */
function disk(bytes: number): string {
  const path = join(directory, 'disk');
  mkdirSync(path);
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'disk', path]);
  return path;
}

/** Puts a script in the place of a tool. `$real` is the tool itself. */
function replaceTool(tool: string, script: string): Environment {
  const tools = join(directory, 'tools');
  const real = execFileSync('sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).trim();
  mkdirSync(tools, { recursive: true });
  writeFileSync(join(tools, tool), `#!/bin/sh\nreal=${real}\n${script}\n`);
  chmodSync(join(tools, tool), 0o755);
  return { PATH: `${tools}:${process.env.PATH}` };
}

/** Starts a call in a process group of its own. */
function start(extra: Environment, ...args: readonly string[]) {
  const child = spawn(file, args, {
    detached: true,
    stdio: 'ignore',
    env: { ...process.env, ...environment(extra) },
  });
  const ended = once(child, 'exit');
  return { pid: child.pid as number, ended };
}

/** Whether a process waits for the lock of the file: the kernel lists it under the one that is held. */
function waitsFor(path: string): boolean {
  const { ino } = statSync(path);
  const locks = readFileSync('/proc/locks', 'utf8').split('\n');
  return locks.some((lock) => lock.includes('->') && lock.includes(`:${ino} `));
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended already.
  }
}

const unmet = lacks('root', 'loop', 'bash', 'losetup', 'mkfs.ext4');

describe.skipIf(unmet)('init', () => {
  it('says what the driver can do, and where it is', async () => {
    expect((await call('init')).capabilities).toEqual({
      attach: true,
      fsGroup: true,
      requiresFSResize: true,
      supportsMetrics: true,
      provision: true,
      clone: true,
      snapshot: true,
      getvolume: true,
      listvolumes: true,
      publishednodes: true,
      listsnapshots: true,
      getcapacity: true,
      modifyvolume: 'readAheadKiB',
      topology: { 'loop.flexcsi/node': 'node-1' },
    });
  });

  it('names no place where all nodes have the directory', async () => {
    const { capabilities } = await callWith({ FLEXCSI_LOOP_SHARED: 'true' }, 'init');
    expect(capabilities).not.toHaveProperty('topology');
  });

  it('makes a long name of the node fit', async () => {
    const { capabilities } = await callWith({ NODE_NAME: `${'x'.repeat(200)}-1` }, 'init');
    const other = await callWith({ NODE_NAME: `${'x'.repeat(200)}-2` }, 'init');
    const placeOf = (all: unknown) =>
      (all as { topology: Record<string, string> }).topology['loop.flexcsi/node'];
    expect(placeOf(capabilities)).toMatch(/^x{52}-\d{1,10}$/);
    expect(placeOf(capabilities)).not.toBe(placeOf(other.capabilities));
  });

  it('works from a copy of the directory, through a link', async () => {
    const copy = join(directory, 'copy');
    execFileSync('cp', ['-r', join(file, '..'), copy]);
    symlinkSync(join(copy, 'loop'), join(directory, 'link'));
    expect((await createCall(join(directory, 'link'))('init')).status).toBe('Success');
  });
});

describe.skipIf(unmet)('a volume', () => {
  it('is made, found by its name, and deleted', async () => {
    // Whatever else the caller may say one day is no parameter.
    const made = await provision(name, 64 * MIB, { 'csi/later': 'x' });
    expect(made).toEqual({
      status: 'Success',
      capacityBytes: 64 * MIB,
      options: { dir: join(store, `${name}.volume`), volume: 'data' },
      topology: { 'loop.flexcsi/node': 'node-1' },
    });
    expect(statSync(join(store, `${name}.volume/data.img`))).toMatchObject({
      size: 64 * MIB,
      blocks: 0,
      mode: 0o100600,
    });
    expect(await getVolume(name)).toEqual({ ...made, nodes: [] });
    const { status, ...fields } = made;
    expect(await call('listvolumes', '{}')).toEqual({
      status,
      volumes: [{ volume: name, ...fields, nodes: [] }],
    });

    expect(await deleteVolume(name)).toEqual(success);
    expect(await getVolume(name)).toMatchObject({ status: 'Failure', code: 'NOT_FOUND' });
    expect(await call('listvolumes', '{}')).toEqual({ ...success, volumes: [] });
    expect(await deleteVolume(name)).toEqual(success);
    expect(leftovers()).toEqual([]);
    expect(readdirSync(store).filter((entry) => entry.includes(name))).toEqual([]);
  });

  it('may be in another directory, and is found by its name all the same', async () => {
    const dir = join(directory, 'other "place" \\ ä');
    mkdirSync(dir);
    const made = await provision(name, 64 * MIB, { dir });
    expect(made.options).toEqual({ dir: join(dir, `${name}.volume`), volume: 'data' });
    const target = await stage(name, made);
    writeFileSync(join(target, 'data'), 'kept');
    const [listed] = (await call('listvolumes', '{}')).volumes ?? [];
    expect(listed).toMatchObject({ volume: name, options: made.options, nodes: ['node-1'] });
    expect(await getVolume(name)).toMatchObject({ options: made.options, nodes: ['node-1'] });

    expect(await deleteVolume(name)).toMatchObject({ status: 'Failure', code: 'FAILED_PRECONDITION' });
    await unstage(name);
    expect(await deleteVolume(name)).toEqual(success);
    expect(readdirSync(dir)).toEqual([]);
  });

  it('is attached and detached by its name when its options are lost', async () => {
    const made = await provision(name, 64 * MIB);
    await attach(volumeText(name, { 'kubernetes.io/readwrite': 'rw' }));
    expect(devicesBelow(made.options?.dir ?? '')).toHaveLength(1);
    for (const link of linksOfTest()) unlinkSync(link);
    expect(await call('detach', name, 'node-1')).toEqual(success);
    expect(devicesBelow(directory)).toEqual([]);
  });

  it('may be raw block: then nothing is written to it, nor to its copies', async () => {
    const block = { 'csi/accessType': 'block' };
    const made = await provision(name, 5000, block);
    expect(made.capacityBytes).toBe(8192);
    const device = await attach(useText(name, made, ''));
    const descriptor = openSync(device, 'r+');
    writeSync(descriptor, 'raw data', 4096);
    // Not written back: what is in the device's cache belongs to the copy.
    expect(await call('snapshot', snapshotText(`${name}-s`, name))).toMatchObject(success);
    for (const source of [{ 'csi/sourceVolume': name }, { 'csi/sourceSnapshot': `${name}-s` }]) {
      const copy = `${name}-${Object.keys(source)[0]?.slice(4)}`;
      const { options } = await provision(copy, 5000, { ...block, ...source });
      expect(readFileSync(join(options?.dir ?? '', 'data.img')).toString('utf8', 4096, 4104)).toBe(
        'raw data',
      );
    }
  });

  it.each([
    [{ requestBytes: String(64 * MIB), 'csi/limitBytes': String(64 * MIB) }, 64 * MIB],
    [{ requestBytes: String(64 * MIB + 1) }, 64 * MIB + 4096],
    [{ requestBytes: '1' }, 4 * MIB],
    [{ requestBytes: '1', 'csi/accessType': 'block' }, 4096],
    [{ requestBytes: '1', 'kubernetes.io/fsType': 'xfs' }, 300 * MIB],
    [{ requestBytes: '1', 'kubernetes.io/fsType': 'btrfs' }, 256 * MIB],
    [{}, 1024 * MIB],
    [{ 'csi/limitBytes': String(10 * MIB + 5) }, 10 * MIB],
  ] as [Record<string, string>, number][])('asked for with %j has %i bytes', async (options, bytes) => {
    expect(await call('provision', volumeText(name, options))).toMatchObject({
      ...success,
      capacityBytes: bytes,
    });
  });

  it('takes names of 128 characters, and what Kubernetes adds', async () => {
    const long = `${name}.${'x'.repeat(126 - name.length)}_`;
    const added = {
      'csi.storage.k8s.io/pvc/name': 'data',
      'kubernetes.io/secret/key': 'eA==',
      'csi/accessModes': 'SINGLE_NODE_WRITER',
      'csi/mountOptions': 'noatime',
      requestMiB: '64',
      requestGiB: '1',
    };
    expect(await provision(long, 64 * MIB, added)).toMatchObject(success);
    expect(await call('snapshot', snapshotText(long, long))).toMatchObject({ ...success, snapshot: long });
    expect(await call('deletesnapshot', optionsText({ 'csi/snapshot': long }))).toEqual(success);
    expect(await deleteVolume(long)).toEqual(success);
  });

  it.each([
    [{ 'kubernetes.io/pvOrVolumeName': 'x'.repeat(129) }, 'INVALID_ARGUMENT', 'at most 128'],
    [{ 'kubernetes.io/pvOrVolumeName': '../up' }, 'INVALID_ARGUMENT', 'must consist of'],
    [{ 'kubernetes.io/pvOrVolumeName': '' }, 'INVALID_ARGUMENT', 'must consist of'],
    [{ pool: 'fast' }, 'INVALID_ARGUMENT', "parameter 'pool': is not known"],
    [{ size: '1Gi' }, 'INVALID_ARGUMENT', "parameter 'size': is not known"],
    [{ '': 'x' }, 'INVALID_ARGUMENT', "parameter '': is not known"],
    [{ dir: 'relative' }, 'INVALID_ARGUMENT', 'must be an absolute path'],
    [{ dir: '/not/there' }, 'RESOURCE_EXHAUSTED', 'no directory /not/there on this node'],
    [{ readAheadKiB: '-1' }, 'INVALID_ARGUMENT', "readAheadKiB '-1'"],
    [{ readAheadKiB: '010' }, 'INVALID_ARGUMENT', "readAheadKiB '010'"],
    [{ readAheadKiB: '9999999' }, 'INVALID_ARGUMENT', 'from 0 to 1048576'],
    [{ 'kubernetes.io/fsType': 'vfat' }, 'INVALID_ARGUMENT', "fsType 'vfat'"],
    [{ 'csi/accessType': 'other' }, 'INVALID_ARGUMENT', 'must be mount or block'],
    [{ requestBytes: '1x' }, 'INVALID_ARGUMENT', 'must be a number of bytes'],
    [{ requestBytes: '4097', 'csi/limitBytes': '4097', 'csi/accessType': 'block' }, 'OUT_OF_RANGE', '8192'],
    [{ requestBytes: '4096', 'csi/limitBytes': '4096' }, 'OUT_OF_RANGE', 'more than the limit of 4096'],
    [{ requestBytes: '9223372036854775807' }, 'OUT_OF_RANGE', 'no volume can have'],
    [{ requestBytes: '900000000000000000' }, '(OUT_OF_RANGE|RESOURCE_EXHAUSTED)', ''],
    [{ 'csi/sourceVolume': 'none' }, 'NOT_FOUND', 'no volume none'],
    [{ 'csi/sourceSnapshot': 'none' }, 'NOT_FOUND', 'no snapshot none'],
    [{ 'csi/sourceSnapshot': '../x' }, 'NOT_FOUND', 'no snapshot ../x'],
    [{ 'csi/topology': 'loop.flexcsi/node=node-2' }, 'RESOURCE_EXHAUSTED', 'on node node-1 only'],
    [{ 'csi/topology': 'zone=a' }, 'RESOURCE_EXHAUSTED', 'on node node-1 only'],
  ] as [Record<string, string>, string, string][])(
    'asked for with %j is %s',
    async (options, code, message) => {
      const answer = await call('provision', requestText(name, 64 * MIB, options));
      expect(answer).toMatchObject({
        status: 'Failure',
        code: expect.stringMatching(new RegExp(`^${code}$`)),
        message: expect.stringContaining(message),
      });
      expect(existsSync(store) ? readdirSync(join(store, 'volumes')) : []).toEqual([]);
      if (existsSync(store)) expect(leftovers()).toEqual([]);
    },
  );

  it.each([
    [{ requestBytes: String(65 * MIB) }, '67108864 bytes, not the 68157440'],
    [{ requestBytes: String(MIB), 'csi/limitBytes': String(63 * MIB) }, 'more than the limit'],
    [{ 'csi/sourceVolume': 'other' }, 'made from nothing'],
    [{ 'csi/sourceSnapshot': 'other' }, 'made from nothing'],
    [{ dir: '/tmp' }, 'is there in directory'],
  ] as [Record<string, string>, string][])('that is there is not one with %j', async (options, message) => {
    const made = await provision(name, 64 * MIB);
    expect(await provision(name, 64 * MIB)).toEqual(made);
    expect(await provision(name, 63 * MIB, { 'csi/limitBytes': String(64 * MIB) })).toEqual(made);
    expect(await call('provision', requestText(name, 64 * MIB, options))).toMatchObject({
      code: 'ALREADY_EXISTS',
      message: expect.stringContaining(message),
    });
  });

  it('grows as far as there is room', async () => {
    const dir = disk(100 * MIB);
    const made = await provision(name, 20 * MIB, { dir });
    const json = useText(name, made);
    const expand = async (bytes: number) =>
      await call('expandvolume', json, '/x', String(bytes), String(20 * MIB));
    expect(await expand(100 * MIB)).toMatchObject({ status: 'Failure', code: 'OUT_OF_RANGE' });
    expect(statSync(join(dir, `${name}.volume/data.img`)).size).toBe(20 * MIB);
    expect(await expand(90 * MIB)).toEqual(success);
    expect(await expand(90 * MIB)).toEqual(success);
    expect((await getVolume(name)).capacityBytes).toBe(90 * MIB);
    const { availableBytes } = await call('getcapacity', optionsText({ dir }));
    expect(availableBytes).toBeLessThan(10 * MIB);
  });
});

describe.skipIf(unmet)("somebody's own image", () => {
  it('is never deleted nor replaced', async () => {
    mkdirSync(store);
    for (const dir of [store, directory]) {
      writeFileSync(join(dir, `${name}.img`), 'precious');
      truncateSync(join(dir, `${name}.img`), MIB);
      const answer = await call('delete', volumeText(name, { dir }));
      expect(answer).toMatchObject({ code: 'FAILED_PRECONDITION' });
      expect(answer.message).toContain('was not provisioned by this driver');
    }
    expect(await call('provision', requestText(name, 64 * MIB))).toMatchObject({ code: 'ALREADY_EXISTS' });
    expect(await call('modifyvolume', volumeText(name, { 'csi/parameter/readAheadKiB': '8' }))).toMatchObject(
      {
        code: 'FAILED_PRECONDITION',
      },
    );
    for (const dir of [store, directory]) {
      expect(readFileSync(join(dir, `${name}.img`)).toString('utf8', 0, 8)).toBe('precious');
    }
    expect(await call('listvolumes', '{}')).toEqual({ ...success, volumes: [] });
  });

  it('is described where its options name it, and can be copied', async () => {
    const options = { dir: directory, size: '8Mi' };
    expect(await call('getvolume', volumeText(name, options))).toMatchObject({
      capacityBytes: 8 * MIB,
      nodes: [],
    });
    await attach(volumeText(name, { ...options, 'kubernetes.io/readwrite': 'rw' }));
    expect(await call('getvolume', volumeText(name, options))).toMatchObject({
      capacityBytes: 8 * MIB,
      nodes: ['node-1'],
    });
    const taken = await call('snapshot', volumeText(name, { ...options, 'csi/snapshotName': name }));
    expect(taken).toMatchObject({ ...success, sizeBytes: 8 * MIB, sourceVolume: name });
    expect(readdirSync(directory)).toContain(`${name}.snapshot`);
    expect(await provision(`${name}-2`, 8 * MIB, { 'csi/sourceVolume': name })).toMatchObject(success);
  });

  /** Images of one name in the default directory and two others, each with a text of its own. */
  function namesakes(): Record<'store' | 'b' | 'c', string> {
    const places = { store, b: join(directory, 'b'), c: join(directory, 'c') };
    for (const [text, place] of Object.entries(places)) {
      mkdirSync(place);
      writeFileSync(join(place, `${name}.img`), text);
      truncateSync(join(place, `${name}.img`), 4 * MIB);
    }
    return places;
  }

  const textIn = (path: string) => readFileSync(path, 'latin1').replace(/\0+$/, '');

  it('is copied from where its options say, whatever else has its name', async () => {
    const { b, c } = namesakes();
    const take = async (snapshot: string, options: Environment) =>
      await call('snapshot', volumeText(name, { ...options, 'csi/snapshotName': snapshot }));
    const b1 = `${name}-b1`;
    expect(await take(b1, { dir: b })).toMatchObject(success);
    expect(textIn(join(b, `${b1}.snapshot/data.snapshot`))).toBe('b');
    // Attached, the name leads to it; but only if nothing else is said.
    await attach(volumeText(name, { dir: b }));
    expect(await take(`${name}-c1`, { dir: c })).toMatchObject(success);
    expect(textIn(join(c, `${name}-c1.snapshot/data.snapshot`))).toBe('c');
    expect(await take(`${name}-b2`, {})).toMatchObject(success);
    expect(textIn(join(b, `${name}-b2.snapshot/data.snapshot`))).toBe('b');
    expect(await take(`${name}-x`, { dir: join(directory, 'none') })).toMatchObject({ code: 'NOT_FOUND' });
    expect(await take(`${name}-x`, { volume: 'none' })).toMatchObject({ code: 'NOT_FOUND' });
  });

  it('is not copied in the place of a volume that was provisioned, nor the other way round', async () => {
    const dir = join(directory, 'b');
    mkdirSync(dir);
    writeFileSync(join(dir, `${name}.img`), 'b');
    const { options = {} } = await provision(name, 4 * MIB);
    const take = async (snapshot: string, its: Environment) =>
      await call('snapshot', volumeText(name, { ...its, 'csi/snapshotName': snapshot }));
    expect(await take(`${name}-b`, { dir })).toMatchObject({ ...success, sizeBytes: 1 });
    expect(await take(`${name}-p`, options)).toMatchObject({ ...success, sizeBytes: 4 * MIB });
    // As `provision` may have answered for an earlier volume of the name.
    const earlier = { dir: `/not/there/${name}.volume`, volume: 'data' };
    expect(await take(`${name}-e`, earlier)).toMatchObject({ ...success, sizeBytes: 4 * MIB });
  });

  it('is not copied by a link that is left over', async () => {
    const { b } = namesakes();
    const device = await attach(volumeText(name, { dir: b }));
    const clone = async (copy: string) =>
      await call('provision', requestText(copy, 4 * MIB, { 'csi/sourceVolume': name }));
    expect(await clone(`${name}-1`)).toMatchObject(success);
    expect(textIn(join(store, `${name}-1.volume/data.img`))).toBe('b');
    execFileSync('losetup', ['--detach', device]);
    // Neither the one that it leads to nor the one in the default directory: it may be any.
    expect(await clone(`${name}-2`)).toMatchObject({ code: 'NOT_FOUND' });
    expect(await call('snapshot', snapshotText(`${name}-s`, name))).toMatchObject({ code: 'NOT_FOUND' });
    expect(await call('detach', name, 'node-1')).toEqual(success);
    expect(await clone(`${name}-3`)).toMatchObject(success);
    expect(textIn(join(store, `${name}-3.volume/data.img`))).toBe('store');
  });

  it('in the place of a volume, which this driver does not know, is left alone', async () => {
    mkdirSync(join(store, `${name}.volume`), { recursive: true });
    writeFileSync(join(store, `${name}.volume/data.img`), 'precious');
    expect(await call('provision', requestText(name, 64 * MIB))).toMatchObject({ code: 'ALREADY_EXISTS' });
    expect(await deleteVolume(name)).toEqual(success);
    expect(readFileSync(join(store, `${name}.volume/data.img`), 'utf8')).toBe('precious');
    expect(leftovers()).toEqual([]);
  });

  it('is not deleted with the volume that it was put beside', async () => {
    const { options } = await provision(name, 64 * MIB);
    writeFileSync(join(options?.dir ?? '', 'note'), 'precious');
    expect(await deleteVolume(name)).toMatchObject({ status: 'Failure' });
    expect(readFileSync(join(options?.dir ?? '', 'note'), 'utf8')).toBe('precious');
    expect(await getVolume(name)).toMatchObject({ code: 'NOT_FOUND' });
    unlinkSync(join(options?.dir ?? '', 'note'));
    expect(await deleteVolume(name)).toEqual(success);
    expect(leftovers()).toEqual([]);
  });

  it('is not taken for deleted while its disk is not mounted', async () => {
    const dir = disk(100 * MIB);
    await provision(name, 20 * MIB, { dir });
    execFileSync('umount', [dir]);
    for (const verb of ['getvolume', 'delete', 'provision']) {
      expect(await call(verb, volumeText(name, verb === 'provision' ? { dir } : {}))).toMatchObject({
        code: 'UNAVAILABLE',
      });
    }
    expect((await call('listvolumes', '{}')).volumes).toEqual([{ volume: name, nodes: [] }]);
  });
});

describe.skipIf(unmet)('copies', () => {
  describe.each([
    { fsType: 'ext4', size: 64 },
    { fsType: 'xfs', size: 300 },
    { fsType: 'btrfs', size: 256 },
  ])('$fsType', ({ fsType, size }) => {
    it.skipIf(lacks(`mkfs.${fsType}`))('are whole, and are mounted beside the original', async () => {
      const type = { 'kubernetes.io/fsType': fsType };
      const target = await stage(name, await provision(name, size * MIB, type), fsType);
      // Each number is written after the one before it is on disk: a copy of one moment has no gap.
      const writer = spawn('bash', [
        '-c',
        'cd "$1" && for ((i = 1; ; i++)); do echo $i >>log && sync log && echo $i >number || exit; done',
        'writer',
        target,
      ]);
      try {
        await vi.waitFor(() => expect(existsSync(join(target, 'number'))).toBe(true), { timeout: 10_000 });
        writeFileSync(join(target, 'data'), 'kept');
        const taken = await call('snapshot', snapshotText(`${name}-s`, name));
        expect(taken).toEqual({
          status: 'Success',
          snapshot: `${name}-s`,
          sourceVolume: name,
          sizeBytes: size * MIB,
          creationTime: expect.any(Number),
        });
        expect(Math.abs((taken.creationTime ?? 0) - Date.now() / 1000)).toBeLessThan(3600);
        expect(await call('snapshot', snapshotText(`${name}-s`, name))).toEqual(taken);
        const { status, ...fields } = taken;
        expect(await call('listsnapshots', '{}')).toEqual({ status, snapshots: [fields] });
        const clone = await provision(`${name}-c`, size * MIB, { ...type, 'csi/sourceVolume': name });
        expect(clone).toMatchObject({ capacityBytes: size * MIB, sourceVolume: name });
        // Frozen no longer.
        writeFileSync(join(target, 'data'), 'changed');
        const restored = await provision(`${name}-r`, 2 * size * MIB, {
          ...type,
          'csi/sourceSnapshot': `${name}-s`,
        });
        expect(restored).toMatchObject({ capacityBytes: 2 * size * MIB, sourceSnapshot: `${name}-s` });
        for (const [copy, made] of [
          [`${name}-c`, clone],
          [`${name}-r`, restored],
        ] as const) {
          const place = await stage(copy, made, fsType);
          expect(readFileSync(join(place, 'data'), 'utf8')).toBe('kept');
          const log = readFileSync(join(place, 'log'), 'utf8').split('\n').slice(0, -1);
          expect(log).toEqual(log.map((_, index) => String(index + 1)));
          writeFileSync(join(place, 'data'), 'of the copy');
        }
        const blocks = Number(execFileSync('stat', ['-f', '-c', '%b', join(directory, `mount-${name}-r`)]));
        const before = Number(execFileSync('stat', ['-f', '-c', '%b', target]));
        expect(blocks).toBeGreaterThan(1.6 * before);
        expect(readFileSync(join(target, 'data'), 'utf8')).toBe('changed');
      } finally {
        writer.kill('SIGKILL');
        await once(writer, 'exit');
      }

      // A snapshot outlives its volume.
      for (const each of [name, `${name}-c`, `${name}-r`]) {
        await unstage(each);
        expect(await deleteVolume(each)).toEqual(success);
      }
      const again = await provision(`${name}-a`, size * MIB, { ...type, 'csi/sourceSnapshot': `${name}-s` });
      expect(readFileSync(join(await stage(`${name}-a`, again, fsType), 'data'), 'utf8')).toBe('kept');
      expect(await call('deletesnapshot', optionsText({ 'csi/snapshot': `${name}-s` }))).toEqual(success);
      expect(await call('deletesnapshot', optionsText({ 'csi/snapshot': `${name}-s` }))).toEqual(success);
      expect(await call('listsnapshots', '{}')).toEqual({ ...success, snapshots: [] });
      expect(leftovers()).toEqual([]);
    });
  });

  it('are at least as large as the original', async () => {
    await provision(name, 64 * MIB);
    const source = { 'csi/sourceVolume': name };
    expect(await provision(`${name}-1`, MIB, source)).toMatchObject({ capacityBytes: 64 * MIB });
    expect(await call('provision', volumeText(`${name}-2`, source))).toMatchObject({
      capacityBytes: 64 * MIB,
    });
    const limited = { ...source, 'csi/limitBytes': String(63 * MIB) };
    expect(await call('provision', requestText(`${name}-3`, MIB, limited))).toMatchObject({
      code: 'OUT_OF_RANGE',
    });
    expect(await call('snapshot', snapshotText(name, name))).toMatchObject(success);
    const small = { 'csi/sourceSnapshot': name, 'csi/limitBytes': String(MIB) };
    expect(await call('provision', requestText(`${name}-3`, MIB, small))).toMatchObject({
      code: 'OUT_OF_RANGE',
    });
  });

  it('of an empty volume are empty, and take no room', async () => {
    await provision(name, 64 * MIB);
    const { options } = await provision(`${name}-c`, 64 * MIB, { 'csi/sourceVolume': name });
    expect(statSync(join(options?.dir ?? '', 'data.img')).blocks).toBe(0);
    await stage(`${name}-c`, { options: options ?? {} });
  });

  it.each([
    [{ 'csi/snapshotName': '../x' }, 'INVALID_ARGUMENT'],
    [{ 'csi/snapshotName': 'x'.repeat(129) }, 'INVALID_ARGUMENT'],
    [{ 'csi/snapshotName': 'x', 'csi/parameter/other': 'x' }, 'INVALID_ARGUMENT'],
    [{ 'csi/snapshotName': 'x', 'kubernetes.io/pvOrVolumeName': 'none' }, 'NOT_FOUND'],
    [{ 'csi/snapshotName': 'x', 'kubernetes.io/pvOrVolumeName': '../x' }, 'NOT_FOUND'],
    [{ 'csi/snapshotName': 'x', 'csi/topology': 'loop.flexcsi/node=other' }, 'RESOURCE_EXHAUSTED'],
  ] as [Record<string, string>, string][])('a snapshot asked for with %j is %s', async (options, code) => {
    await provision(name, 64 * MIB);
    expect(await call('snapshot', volumeText(name, options))).toMatchObject({ status: 'Failure', code });
    expect(leftovers()).toEqual([]);
  });

  it('of two volumes cannot have one name', async () => {
    await provision(name, 64 * MIB);
    await provision(`${name}-2`, 64 * MIB);
    const extra = { 'csi/parameter/csi.storage.k8s.io/volumesnapshot/name': 'x', 'csi/snapshotName': name };
    expect(await call('snapshot', volumeText(name, extra))).toMatchObject(success);
    expect(await call('snapshot', snapshotText(name, `${name}-2`))).toMatchObject({ code: 'ALREADY_EXISTS' });
  });

  it.skipIf(lacks('mkfs.btrfs'))('of a btrfs that has a log to replay are refused', async () => {
    const type = { 'kubernetes.io/fsType': 'btrfs' };
    const made = await provision(name, 256 * MIB, type);
    const target = await stage(name, made, 'btrfs');
    writeFileSync(join(target, 'data'), 'kept');
    execFileSync('sync', [join(target, 'data')]);
    // What a crash of the node would leave: an image as it is on disk just after an fsync.
    const image = join(made.options?.dir ?? '', 'data.img');
    execFileSync('cp', ['--sparse=always', image, join(directory, 'crashed.img')]);
    const log = execFileSync('btrfs', ['inspect-internal', 'dump-super', join(directory, 'crashed.img')]);
    expect(log.toString()).toMatch(/\nlog_root\s+[1-9]/);
    mkdirSync(join(directory, 'crash'));
    const options = { dir: directory, volume: 'crashed', 'csi/snapshotName': `${name}-s` };
    expect(await call('snapshot', volumeText(`${name}-x`, options))).toMatchObject(success);
    const answer = await call(
      'provision',
      requestText(`${name}-c`, 256 * MIB, { ...type, 'csi/sourceSnapshot': `${name}-s` }),
    );
    expect(answer).toMatchObject({ code: 'FAILED_PRECONDITION' });
    expect(answer.message).toContain('was not unmounted cleanly');
    expect(leftovers()).toEqual([]);
  });

  it('are not made of what was not formatted to the end', async () => {
    const made = await provision(name, 64 * MIB);
    const marker = join(made.options?.dir ?? '', 'data.img.formatting');
    const json = useText(name, made);
    await attach(json);
    const cutShort = replaceTool('mkfs.ext4', 'for disk; do :; done; echo half >$disk; kill -9 $$');
    const target = join(directory, `mount-${name}`);
    expect((await callWith(cutShort, 'mountdevice', target, 'x', json)).status).toBe('Failure');
    expect(existsSync(marker)).toBe(true);
    const clone = requestText(`${name}-c`, 64 * MIB, { 'csi/sourceVolume': name });
    for (const [verb, argument] of [
      ['snapshot', snapshotText(name, name)],
      ['provision', clone],
    ] as const) {
      const answer = await call(verb, argument);
      expect(answer).toMatchObject({ code: 'FAILED_PRECONDITION' });
      expect(answer.message).toContain('formatting it was cut short');
    }
    expect(leftovers()).toEqual(['data.img.formatting']);
    await stage(name, made);
    expect(await call('snapshot', snapshotText(name, name))).toMatchObject(success);
    await stage(`${name}-c`, await call('provision', clone));
  });

  it('are made whole before the volume is unmounted', async () => {
    const target = await stage(name, await provision(name, 64 * MIB));
    const [started, go] = [join(directory, 'started'), join(directory, 'go')];
    const waiting = `echo $$ >${started}; until [ -e ${go} ] || [ ! -e ${started} ]; do sleep 0.1; done; exec $real "$@"`;
    const { ended } = start(replaceTool('cp', waiting), 'snapshot', snapshotText(name, name));
    await vi.waitFor(() => expect(readFileSync(started, 'utf8')).toMatch(/\n$/), { timeout: 10_000 });
    const unmounted = call('unmountdevice', target);
    // Without waiting it would be done long before.
    await vi.waitFor(() => expect(waitsFor(join(store, `${name}.volume/data.img`))).toBe(true), {
      timeout: 10_000,
    });
    writeFileSync(go, '');
    expect(await unmounted).toEqual(success);
    await ended;
    expect(await call('detach', name, 'node-1')).toEqual(success);
    expect(await call('listsnapshots', '{}')).toMatchObject({ snapshots: [{ snapshot: name }] });
  });

  it('are not made of what cannot be frozen, nor when the copy fails', async () => {
    const target = await stage(name, await provision(name, 64 * MIB));
    const stuck = replaceTool('fsfreeze', 'echo "fsfreeze: no way"; exit 1');
    const refused = await callWith(stuck, 'snapshot', snapshotText(name, name));
    expect(refused).toMatchObject({ status: 'Failure', message: expect.stringContaining('no way') });
    expect(leftovers()).toEqual([]);
    unlinkSync(join(directory, 'tools/fsfreeze'));
    const full = replaceTool('cp', 'echo "cp: write error: No space left on device"; exit 1');
    expect(await callWith(full, 'snapshot', snapshotText(name, name))).toMatchObject({
      code: 'RESOURCE_EXHAUSTED',
    });
    expect(leftovers()).toEqual([]);
    writeFileSync(join(target, 'data'), 'not frozen');
  });

  it('are refused of what is mounted where the driver cannot see it', async () => {
    const json = useText(name, await provision(name, 64 * MIB));
    const device = await attach(json);
    execFileSync('mkfs.ext4', ['-q', device]);
    const script = `mount ${device} /mnt && echo mounted && cat`;
    const holder = spawn('unshare', ['--mount', 'sh', '-c', script], { stdio: ['pipe', 'pipe', 'ignore'] });
    await once(holder.stdout, 'data');
    const answer = await call('snapshot', snapshotText(name, name));
    holder.stdin.end();
    await once(holder, 'exit');
    expect(answer).toMatchObject({ code: 'FAILED_PRECONDITION' });
    expect(answer.message).toContain('cannot see it');
  });
});

describe.skipIf(unmet)('read-ahead', () => {
  const sectorsOf = (device: string) => Number(execFileSync('blockdev', ['--getra', device]));
  const change = async (changes: Record<string, string>) =>
    await call('modifyvolume', volumeText(name, changes));

  it('is set when the volume is attached, and changed while it is', async () => {
    const made = await provision(name, 64 * MIB, { readAheadKiB: '512' });
    const json = useText(name, made);
    expect(sectorsOf(await attach(json))).toBe(1024);
    expect(await change({ 'csi/parameter/readAheadKiB': '64' })).toEqual(success);
    expect(sectorsOf(await attach(json))).toBe(128);
    expect(await call('detach', name, 'node-1')).toEqual(success);
    expect(await change({ 'csi/parameter/readAheadKiB': '0' })).toEqual(success);
    expect(await change({ 'csi/parameter/readAheadKiB': '0' })).toEqual(success);
    const device = (await call('waitforattach', '', json)).device as string;
    expect(sectorsOf(device)).toBe(0);
    execFileSync('losetup', ['--detach', device]);

    // Nothing is changed by a call that fails.
    const wrong = { 'csi/parameter/XXX_FakeKey': 'x', 'csi/parameter/readAheadKiB': '32' };
    expect(await change(wrong)).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(await change({ 'csi/parameter/readAheadKiB': 'x' })).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(sectorsOf(await attach(json))).toBe(0);
    expect(await change({})).toEqual(success);
    expect(await call('modifyvolume', volumeText('none'))).toMatchObject({ code: 'NOT_FOUND' });
    expect(leftovers()).toEqual([]);
  });
});

describe.skipIf(unmet)('nodes', () => {
  it('are told apart where the driver knows its own', async () => {
    const made = await provision(name, 64 * MIB);
    const json = useText(name, made);
    expect(await call('attach', json, 'other')).toMatchObject({ code: 'NOT_FOUND' });
    await attach(json);
    expect(await call('isattached', json, 'other')).toEqual({ ...success, attached: false });
    expect(await call('detach', name, 'other')).toEqual(success);
    expect(devicesBelow(directory)).toHaveLength(1);
    expect(await callWith({ NODE_NAME: '' }, 'detach', name, 'any')).toEqual(success);
    expect(devicesBelow(directory)).toEqual([]);
    expect(await call('attach', volumeText('none'), 'node-1')).toMatchObject({ code: 'NOT_FOUND' });
  });

  it('have a volume where one of the places is theirs', async () => {
    const places = { 'csi/topology': 'loop.flexcsi/node=a;loop.flexcsi/node=node-1' };
    expect(await provision(name, 64 * MIB, places)).toMatchObject(success);
    const room = async (place: string) =>
      (await call('getcapacity', optionsText({ 'csi/topology': place }))).availableBytes;
    expect(await room('loop.flexcsi/node=node-1')).toBeGreaterThan(0);
    expect(await room('loop.flexcsi/node=other')).toBe(0);
  });

  it('with one directory see what the others have attached', async () => {
    const shared = { FLEXCSI_LOOP_SHARED: 'true' };
    const there = { ...shared, NODE_NAME: 'node-2' };
    const places = { 'csi/topology': 'loop.flexcsi/node=other' };
    const made = await callWith(shared, 'provision', requestText(name, 64 * MIB, places));
    expect(made).toMatchObject(success);
    expect(made).not.toHaveProperty('topology');
    const many = requestText(`${name}-m`, 64 * MIB, { 'csi/accessModes': 'MULTI_NODE_MULTI_WRITER' });
    expect(await callWith(shared, 'provision', many)).toMatchObject({ code: 'INVALID_ARGUMENT' });
    const json = useText(name, made);
    const attached = await callWith(there, 'attach', json, 'node-2');
    // The machine is both nodes: without its device, only the record of the other is left.
    execFileSync('losetup', ['--detach', attached.device ?? '']);
    expect(await callWith(shared, 'getvolume', volumeText(name))).toMatchObject({ nodes: ['node-2'] });
    expect((await callWith(shared, 'listvolumes', '{}')).volumes?.[0]?.nodes).toEqual(['node-2']);
    for (const [verb, argument] of [
      ['delete', volumeText(name)],
      ['snapshot', snapshotText(name, name)],
      ['provision', requestText(`${name}-c`, 64 * MIB, { 'csi/sourceVolume': name })],
    ] as const) {
      expect(await callWith(shared, verb, argument)).toMatchObject({ code: 'FAILED_PRECONDITION' });
    }
    expect(await callWith(there, 'detach', name, 'node-2')).toEqual(success);
    expect(await callWith(shared, 'delete', volumeText(name))).toEqual(success);
  });

  it('with one directory do not write to a volume of another node, nor beside its readers', async () => {
    const shared = { FLEXCSI_LOOP_SHARED: 'true' };
    const there = { ...shared, NODE_NAME: 'node-2' };
    const made = await callWith(shared, 'provision', requestText(name, 64 * MIB));
    const writer = useText(name, made);
    const reader = writer.replace('"rw"', '"ro"');
    const target = join(directory, 'mount');
    const mark = join(store, 'attached', `${name}@node-2`);
    const refuseHere = async (json: string) => {
      for (const args of [
        ['attach', json, 'node-1'],
        ['waitforattach', '/dev/any', json],
        ['mountdevice', target, '/dev/any', json],
      ]) {
        expect(await callWith(shared, ...args)).toEqual({
          status: 'Failure',
          code: 'FAILED_PRECONDITION',
          message: `volume ${name}: is attached to node node-2; if that node is gone for good, remove ${mark}`,
        });
      }
      expect(readdirSync(join(store, 'attached'))).toEqual([`${name}@node-2`]);
    };
    const attachThere = async (json: string) => {
      const { device = '' } = await callWith(there, 'attach', json, 'node-2');
      // The machine is both nodes: without its device and link, only the record of the other is left.
      execFileSync('losetup', ['--detach', device]);
      for (const link of linksOfTest()) unlinkSync(link);
    };

    await attachThere(writer);
    await refuseHere(writer);
    // It would replay the other's journal.
    await refuseHere(reader);
    // May write until it is detached, whatever it asks for next.
    await attachThere(reader);
    await refuseHere(reader);
    expect(linksOfTest()).toEqual([]);
    expect(devicesBelow(directory)).toEqual([]);

    expect(await callWith(there, 'detach', name, 'node-2')).toEqual(success);
    await attachThere(reader);
    await refuseHere(writer);
    expect(await callWith(shared, 'attach', reader, 'node-1')).toMatchObject(success);
    expect(await callWith(shared, 'detach', name, 'node-1')).toEqual(success);
    unlinkSync(mark);
    expect(await callWith(shared, 'attach', writer, 'node-1')).toMatchObject(success);
  });
});

describe.skipIf(unmet)('room', () => {
  const capacity = async (dir: string, options: Record<string, string> = {}) =>
    await call('getcapacity', optionsText({ dir, ...options }));

  it('is what can be provisioned, and what is promised is kept', async () => {
    const dir = disk(100 * MIB);
    const { availableBytes = 0, maxVolumeBytes = 0 } = await capacity(dir);
    expect(maxVolumeBytes).toBe(availableBytes);
    expect(availableBytes).toBeGreaterThan(99 * MIB);
    const more = await call('provision', requestText(name, maxVolumeBytes + 4096, { dir }));
    expect(more).toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    expect(leftovers(dir)).toEqual([]);
    const made = await provision(name, maxVolumeBytes, { dir });
    expect((await capacity(dir)).availableBytes).toBe(0);
    expect(await call('provision', requestText(`${name}-2`, 4 * MIB, { dir }))).toMatchObject({
      code: 'RESOURCE_EXHAUSTED',
    });
    // All of it can be written.
    execFileSync(
      'dd',
      [
        'if=/dev/urandom',
        `of=${made.options?.dir}/data.img`,
        'bs=1M',
        'conv=notrunc',
        `count=${maxVolumeBytes}`,
        'iflag=count_bytes',
      ],
      { stdio: 'ignore' },
    );
    expect(statSync(join(made.options?.dir ?? '', 'data.img')).size).toBe(maxVolumeBytes);
    const copy = { dir, 'csi/sourceVolume': name };
    for (const [verb, json] of [
      ['provision', requestText(`${name}-2`, 4 * MIB, copy)],
      ['snapshot', snapshotText(name, name)],
    ] as const) {
      expect(await call(verb, json)).toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    }
    expect(leftovers(dir)).toEqual([]);
    expect(await deleteVolume(name)).toEqual(success);
    expect((await capacity(dir)).availableBytes).toBe(availableBytes);
  });

  it('of another volume is not taken by a snapshot of what is written, but not yet on disk', async () => {
    const dir = disk(200 * MIB);
    const made = await provision(name, 80 * MIB, { dir });
    await provision(`${name}-2`, 92 * MIB, { dir });
    const target = await stage(name, made);
    const { availableBytes } = await capacity(dir);
    // Written at the last moment, so that it comes to disk with the freeze.
    const writing = replaceTool(
      'fsfreeze',
      `[ "$1" != --freeze ] || head -c ${40 * MIB} /dev/zero >"$2/data"; exec $real "$@"`,
    );
    const take = async () => await callWith(writing, 'snapshot', snapshotText(`${name}-s`, name));
    expect(await take()).toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    expect(leftovers(dir)).toEqual([]);
    // Frozen no longer.
    expect(() => execFileSync('fsfreeze', ['--unfreeze', target], { stdio: 'pipe' })).toThrow(
      /Invalid argument/,
    );
    // Not to the byte: what file systems set aside for what is still to be written comes and goes.
    const { availableBytes: after = Number.NaN } = await capacity(dir);
    expect(Math.abs(after - (availableBytes ?? Number.NaN))).toBeLessThan(MIB);
    expect(await deleteVolume(`${name}-2`)).toEqual(success);
    expect(await take()).toMatchObject(success);
  });

  it('is looked for in full for the snapshot of a raw block volume that is in use', async () => {
    const dir = disk(100 * MIB);
    const block = { 'csi/accessType': 'block' };
    const made = await provision(name, 60 * MIB, { dir, ...block });
    await attach(useText(name, made, ''));
    const take = async () => await call('snapshot', snapshotText(`${name}-s`, name));
    expect(await take()).toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    expect(await call('detach', name, 'node-1')).toEqual(success);
    expect(await take()).toMatchObject(success);
  });

  it('counts images that were not provisioned, and directories of the same file system once', async () => {
    const dir = disk(100 * MIB);
    mkdirSync(join(dir, 'inner'));
    symlinkSync(join(dir, 'inner'), join(dir, 'link'));
    writeFileSync(join(dir, 'own.img'), '');
    truncateSync(join(dir, 'own.img'), 30 * MIB);
    await provision(name, 20 * MIB, { dir: join(dir, 'inner') });
    await provision(`${name}-2`, 20 * MIB, { dir: join(dir, 'link') });
    await provision(`${name}-3`, 4 * MIB, { dir });
    const { availableBytes = 0 } = await capacity(dir);
    expect(availableBytes).toBeLessThanOrEqual(26 * MIB);
    expect(availableBytes).toBeGreaterThan(25 * MIB);
  });

  it('is given once to two calls at the same time', async () => {
    const dir = disk(100 * MIB);
    const answers = await Promise.all(
      Array.from({ length: 6 }, (_, index) =>
        call('provision', requestText(`${name}-${index}`, 30 * MIB, { dir })),
      ),
    );
    expect(answers.map(({ status, code }) => code ?? status).sort()).toEqual([
      ...Array(3).fill('RESOURCE_EXHAUSTED'),
      ...Array(3).fill('Success'),
    ]);
    expect(leftovers(dir)).toEqual([]);
  });

  it('is kept in full for copies that share blocks with the original', async (context) => {
    if (lacks('mkfs.xfs')) context.skip();
    const image = join(directory, 'xfs.img');
    writeFileSync(image, '');
    truncateSync(image, 1024 * MIB);
    execFileSync('mkfs.xfs', ['-q', image]);
    const dir = join(directory, 'disk');
    mkdirSync(dir);
    execFileSync('mount', ['-o', 'loop', image, dir]);
    const made = await provision(name, 100 * MIB, { dir });
    execFileSync('fallocate', ['--length', String(100 * MIB), join(made.options?.dir ?? '', 'data.img')]);
    const { availableBytes: before = 0 } = await capacity(dir);
    await provision(`${name}-c`, 100 * MIB, { dir, 'csi/sourceVolume': name });
    const { availableBytes: after = 0 } = await capacity(dir);
    expect(before - after).toBeGreaterThanOrEqual(100 * MIB);
    expect(before - after).toBeLessThan(102 * MIB);
    expect(await call('getcapacity', optionsText({ dir, 'kubernetes.io/fsType': 'xfs' }))).toMatchObject({
      minVolumeBytes: 300 * MIB,
    });
  });

  it.each([
    [{ dir: '/not/there' }, { availableBytes: 0, maxVolumeBytes: 0 }],
    [{ pool: 'x' }, { code: 'INVALID_ARGUMENT' }],
    [{ 'csi/accessType': 'block' }, { minVolumeBytes: 4096 }],
  ] as [Record<string, string>, object][])('asked for with %j is %j', async (options, answer) => {
    expect(await call('getcapacity', optionsText(options))).toMatchObject(answer);
  });
});

describe.skipIf(unmet)('at the same time', () => {
  it('one volume is made once, by many calls', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => provision(name, 64 * MIB)));
    for (const answer of answers) expect(answer).toEqual(answers[0]);
    const taken = await Promise.all(
      Array.from({ length: 8 }, () => call('snapshot', snapshotText(name, name))),
    );
    for (const answer of taken) expect(answer).toEqual(taken[0]);
    expect(taken[0]).toMatchObject(success);
    const deleted = await Promise.all(Array.from({ length: 8 }, () => deleteVolume(name)));
    expect(deleted).toEqual(deleted.map(() => success));
    expect(leftovers()).toEqual([]);
  });

  it('a volume is deleted and copied, or only deleted', async () => {
    for (let round = 0; round < 5; round++) {
      await provision(name, 64 * MIB);
      const [copied, deleted] = await Promise.all([
        call('provision', requestText(`${name}-c`, 64 * MIB, { 'csi/sourceVolume': name })),
        deleteVolume(name),
      ]);
      expect(deleted).toEqual(success);
      expect(['Success', 'NOT_FOUND', 'ABORTED']).toContain(copied.code ?? copied.status);
      expect((await getVolume(`${name}-c`)).status).toBe(copied.status);
      expect(await deleteVolume(`${name}-c`)).toEqual(success);
      expect(leftovers()).toEqual([]);
    }
  });

  it('a copy that takes long keeps nobody from other volumes', async () => {
    await provision(name, 64 * MIB);
    const started = join(directory, 'started');
    const go = join(directory, 'go');
    const slow = replaceTool(
      'cp',
      `echo $$ >${started}; until [ -e ${go} ]; do sleep 0.05; done; exec $real "$@"`,
    );
    const copying = callWith(
      slow,
      'provision',
      requestText(`${name}-c`, 64 * MIB, { 'csi/sourceVolume': name }),
    );
    await vi.waitFor(() => expect(existsSync(started)).toBe(true), { timeout: 10_000 });
    expect(await getVolume(`${name}-c`)).toMatchObject({ code: 'NOT_FOUND' });
    expect(await provision(`${name}-2`, 64 * MIB)).toMatchObject(success);
    expect((await call('listvolumes', '{}')).volumes).toHaveLength(2);
    writeFileSync(go, '');
    expect(await copying).toMatchObject(success);
  });
});

describe.skipIf(unmet)('after a crash', () => {
  /** Runs a call that is killed, with all its processes, after a random time. */
  async function interrupted(...args: readonly string[]): Promise<void> {
    const { pid, ended } = start({}, ...args);
    const timer = setTimeout(() => killGroup(pid), Math.random() * 120);
    await ended;
    clearTimeout(timer);
    killGroup(pid);
  }

  it('at any moment, the same call finishes what was begun', async () => {
    const source = await provision(name, 64 * MIB);
    const target = await stage(name, source);
    writeFileSync(join(target, 'data'), 'kept');
    const clone = requestText(`${name}-c`, 64 * MIB, { 'csi/sourceVolume': name });
    for (let round = 0; round < 20; round++) {
      await interrupted('provision', clone);
      const seen = await getVolume(`${name}-c`);
      const made = await call('provision', clone);
      expect(made).toMatchObject({ ...success, capacityBytes: 64 * MIB, sourceVolume: name });
      if (seen.status === 'Success') expect(seen).toEqual({ ...made, nodes: [] });
      const content = execFileSync(
        'debugfs',
        ['-R', 'cat /data', join(made.options?.dir ?? '', 'data.img')],
        {
          stdio: ['ignore', 'pipe', 'ignore'],
        },
      );
      expect(content.toString()).toBe('kept');

      await interrupted('snapshot', snapshotText(`${name}-s`, name));
      expect(await call('snapshot', snapshotText(`${name}-s`, name))).toMatchObject(success);
      // Not frozen.
      writeFileSync(join(target, 'round'), String(round));

      await interrupted('deletesnapshot', optionsText({ 'csi/snapshot': `${name}-s` }));
      expect(await call('deletesnapshot', optionsText({ 'csi/snapshot': `${name}-s` }))).toEqual(success);
      await interrupted('delete', volumeText(`${name}-c`));
      expect(['Success', 'NOT_FOUND']).toContain(
        await getVolume(`${name}-c`).then((v) => v.code ?? v.status),
      );
      expect(await deleteVolume(`${name}-c`)).toEqual(success);
      expect(leftovers()).toEqual([]);
      expect(readdirSync(store).filter((entry) => /\.(volume|snapshot)$/.test(entry))).toEqual([
        `${name}.volume`,
      ]);
    }
  }, 180_000);

  /** Every tool that is killed in turn, with the driver: the moments in between, which chance may miss. */
  it.each([
    ['provision', 'mkdir'],
    ['provision', 'truncate'],
    ['provision', 'ln'],
    ['provision', 'mv'],
    ['provision', 'sync'],
    ['delete', 'mv'],
    ['delete', 'rm'],
    ['delete', 'rmdir'],
    ['delete', 'sync'],
  ])('of %s, before or after any %s', async (verb, tool) => {
    for (let moment = 1; moment <= 12; moment++) {
      if (verb === 'delete') await provision(name, 64 * MIB);
      const count = join(directory, 'count');
      writeFileSync(count, '');
      // The n-th use of the tool, before (odd) or after (even) it has done its work.
      const crash = replaceTool(
        tool,
        `echo >>${count}; n=$(wc -l <${count})
        [ $((n * 2 - 1)) != ${moment} ] || kill -9 $PPID $$
        $real "$@"; status=$?
        [ $((n * 2)) != ${moment} ] || kill -9 $PPID $$
        exit $status`,
      );
      const argument = verb === 'delete' ? volumeText(name) : requestText(name, 64 * MIB);
      await start(crash, verb, argument).ended;
      const seen = await getVolume(name);
      if (seen.status === 'Success') expect(seen.capacityBytes).toBe(64 * MIB);
      else expect(seen.code).toBe('NOT_FOUND');
      expect(await call(verb, argument)).toMatchObject(success);
      expect(await deleteVolume(name)).toEqual(success);
      expect(leftovers()).toEqual([]);
      expect(readdirSync(store).filter((entry) => entry.includes(name))).toEqual([]);
    }
  });

  it('what was begun is removed by a call for another volume, or by the deletion', async () => {
    await provision(name, 64 * MIB);
    const crash = replaceTool('cp', 'kill -9 $PPID; exec $real "$@"');
    for (const clean of [
      async () => await provision(`${name}-2`, 64 * MIB),
      async () => await call('provision', requestText(`${name}-c`, 64 * MIB)),
    ]) {
      const clone = requestText(`${name}-c`, 64 * MIB, { 'csi/sourceVolume': name });
      await start(crash, 'provision', clone).ended;
      await vi.waitFor(async () => {
        expect(await clean()).toMatchObject(success);
        expect(readdirSync(store).filter((entry) => entry.startsWith('.'))).toEqual([]);
      });
    }
  });

  it.each([
    ['the driver', false],
    ['the driver and the process that would thaw', true],
  ])('of %s, a frozen file system is thawed', async (_, freezerToo) => {
    const target = await stage(name, await provision(name, 64 * MIB));
    const started = join(directory, 'started');
    const hanging = replaceTool('cp', `echo $$ >${started}; sleep 600 & wait`);
    const { pid, ended } = start(hanging, 'snapshot', snapshotText(name, name));
    await vi.waitFor(() => expect(readFileSync(started, 'utf8')).toMatch(/\n$/), { timeout: 10_000 });
    // A write would hang for good if something went wrong here: it is left to a process that may hang.
    const writer = spawn('touch', [join(target, 'written')]);
    const written = once(writer, 'exit');
    const freezer = freezerOf(pid);
    if (freezerToo) process.kill(freezer, 'SIGKILL');
    killGroup(pid);
    await ended;
    if (freezerToo) {
      expect(existsSync(join(store, `${name}.volume/data.img.frozen`))).toBe(true);
      expect(existsSync(join(target, 'written'))).toBe(false);
    } else {
      await written;
    }
    expect(await call('snapshot', snapshotText(name, name))).toMatchObject(success);
    await written;
    writeFileSync(join(target, 'data'), 'writable');
    expect(leftovers()).toEqual([]);
  });

  it('of the driver and the process that would thaw, what is frozen can be unmounted and detached', async () => {
    const target = await stage(name, await provision(name, 64 * MIB));
    const started = join(directory, 'started');
    const hanging = replaceTool('cp', `echo $$ >${started}; sleep 600 & wait`);
    const { pid, ended } = start(hanging, 'snapshot', snapshotText(name, name));
    await vi.waitFor(() => expect(readFileSync(started, 'utf8')).toMatch(/\n$/), { timeout: 10_000 });
    process.kill(freezerOf(pid), 'SIGKILL');
    killGroup(pid);
    await ended;
    expect(await call('unmountdevice', target)).toEqual(success);
    expect(await call('detach', name, 'node-1')).toEqual(success);
    expect(devicesBelow(directory)).toEqual([]);
    expect(await call('snapshot', snapshotText(name, name))).toMatchObject(success);
  });

  describe.each([
    { fsType: 'ext4', size: 64 },
    { fsType: 'xfs', size: 300 },
    { fsType: 'btrfs', size: 256 },
  ])('what is unmounted by others while it is frozen ($fsType)', ({ fsType, size }) => {
    /** The volume as a snapshot leaves it that is killed with its freezer. */
    async function leave(): Promise<{ made: Described; target: string; marker: string }> {
      const made = await provision(name, size * MIB, { 'kubernetes.io/fsType': fsType });
      const target = await stage(name, made, fsType);
      writeFileSync(join(target, 'data'), 'kept');
      const marker = join(made.options?.dir ?? '', 'data.img.frozen');
      writeFileSync(marker, '');
      execFileSync('fsfreeze', ['--freeze', target]);
      execFileSync('umount', [target]);
      return { made, target, marker };
    }

    it.skipIf(lacks(`mkfs.${fsType}`))('is thawed before it is detached', async () => {
      const { made, marker } = await leave();
      expect(await call('detach', name, 'node-1')).toEqual(success);
      expect(existsSync(marker)).toBe(false);
      expect(readFileSync(join(await stage(name, made, fsType), 'data'), 'utf8')).toBe('kept');
    });

    it.skipIf(lacks(`mkfs.${fsType}`))('is thawed when it is mounted again', async () => {
      const { made, target, marker } = await leave();
      // Where no mount namespace can be had, nothing is thawed before.
      const alone = replaceTool('unshare', 'exit 1');
      const json = useText(name, made, fsType);
      expect(await callWith(alone, 'attach', json, 'node-1')).toMatchObject(success);
      expect(existsSync(marker)).toBe(true);
      expect(await callWith(alone, 'mountdevice', target, 'x', json)).toEqual(success);
      expect(existsSync(marker)).toBe(false);
      // A write might hang for good.
      expect(() => execFileSync('fsfreeze', ['--unfreeze', target], { stdio: 'pipe' })).toThrow(
        /Invalid argument/,
      );
      expect(readFileSync(join(target, 'data'), 'utf8')).toBe('kept');
    });
  });

  it('what cannot be thawed stays marked until it can', async () => {
    const target = await stage(name, await provision(name, 64 * MIB));
    const marker = join(store, `${name}.volume/data.img.frozen`);
    writeFileSync(marker, '');
    execFileSync('fsfreeze', ['--freeze', target]);
    const stuck = replaceTool('fsfreeze', 'echo "fsfreeze: unfreeze failed: Input/output error"; exit 1');
    const answer = await callWith(stuck, 'snapshot', snapshotText(name, name));
    expect(answer).toMatchObject({
      status: 'Failure',
      message: expect.stringContaining('cannot be unfrozen'),
    });
    expect(existsSync(marker)).toBe(true);
    expect(await call('snapshot', snapshotText(name, name))).toMatchObject(success);
    expect(leftovers()).toEqual([]);
    writeFileSync(join(target, 'data'), 'writable');
  });

  /** The child of the driver that is in a session of its own. */
  function freezerOf(driver: number): number {
    const children = readFileSync(`/proc/${driver}/task/${driver}/children`, 'utf8')
      .trim()
      .split(' ')
      .map(Number);
    const own = children.find((child) => {
      const fields = readFileSync(`/proc/${child}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .split(' ');
      return Number(fields[3]) === child;
    });
    expect(own).toBeDefined();
    return own as number;
  }
});

describe.skipIf(unmet)('a list', () => {
  it('of 500 volumes takes a few programs', async () => {
    await provision(name, MIB, { 'csi/accessType': 'block' });
    const record = readFileSync(join(store, `${name}.volume/record`));
    for (let index = 0; index < 500; index++) {
      const home = join(store, `more-${index}.volume`);
      mkdirSync(home);
      writeFileSync(join(home, 'record'), record);
      writeFileSync(join(home, 'data.img'), '');
      truncateSync(join(home, 'data.img'), 4096 * (index + 1));
      symlinkSync(home, join(store, 'volumes', `more-${index}`));
    }
    const count = join(directory, 'count');
    writeFileSync(count, '');
    let environment: Environment = {};
    for (const tool of ['stat', 'losetup', 'realpath', 'readlink', 'cat', 'sort', 'cut']) {
      environment = replaceTool(tool, `echo ${tool} >>${count}; exec $real "$@"`);
    }
    const { volumes = [] } = await callWith(environment, 'listvolumes', '{}');
    expect(volumes).toHaveLength(501);
    expect(volumes.find(({ volume }) => volume === 'more-6')).toMatchObject({
      capacityBytes: 7 * 4096,
      options: { dir: join(store, 'more-6.volume'), volume: 'data' },
    });
    expect(readFileSync(count, 'utf8').trim().split('\n').length).toBeLessThan(6);
  });
});
