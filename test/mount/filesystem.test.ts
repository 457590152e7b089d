import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type DeviceContent, growFileSystem, mountDevice, probeDevice } from '../../src/mount/filesystem.ts';
import type { Host } from '../../src/mount/host.ts';
import { fileSystemUsage } from '../../src/mount/usage.ts';
import { createMask } from '../../src/secrets.ts';
import { lacks } from '../support/requirements.ts';
import { host, noting, run, useSandbox } from './support/sandbox.ts';

const MIB = 1024 * 1024;
const sandbox = useSandbox();

function write(device: string, data: string | Buffer, byte: number): void {
  const fd = openSync(device, 'r+');
  writeSync(fd, Buffer.from(data), 0, undefined, byte);
  closeSync(fd);
}

/** A DOS partition table with one Linux partition. */
function writePartitionTable(device: string): void {
  const sector = Buffer.alloc(512);
  sector.set([0x80, 0, 2, 0, 0x83, 0, 0, 0], 446);
  sector.writeUInt32LE(2048, 454);
  sector.writeUInt32LE(8192, 458);
  sector.set([0x55, 0xaa], 510);
  write(device, sector, 0);
}

/** A checksum of all bytes: whether anything at all was written. */
function checksum(device: string): string {
  run('blockdev', '--flushbufs', device);
  return execFileSync('sha256sum', [device], { encoding: 'utf8' });
}

/** The host with one program replaced by a shell script. */
function replacing(program: string, script: string): Host {
  return {
    mounts: host.mounts,
    run: (file, args, limit) =>
      file === program
        ? host.run('sh', ['-c', script, program, ...args], limit)
        : host.run(file, args, limit),
  };
}

/** The commands that kubelet itself ran in a recorded step, with our paths. */
function recorded(scenario: string, step: string, device: string, target: string): string[][] {
  const lines = readFileSync(join(import.meta.dirname, '../golden/attach.jsonl'), 'utf8')
    .trim()
    .split('\n');
  const records = lines.map((line) => JSON.parse(line));
  const record = records.find((r) => r.scenario === scenario && r.step === step);
  const names = new Map([
    [record.given.device, device],
    [record.given.deviceMountPath, target],
  ]);
  return record.host_commands.map((command: string[]) => command.map((word) => names.get(word) ?? word));
}

const kubeletsPrograms = /^(blkid|fsck|mkfs|mount|resize2fs|xfs_growfs|btrfs)/;

describe.skipIf(lacks('root', 'loop'))('probeDevice', () => {
  it.each<[what: string, prepare: (device: string) => void, content: DeviceContent]>([
    ['a blank device', () => {}, { kind: 'blank' }],
    ['data that it does not know', (device) => write(device, 'precious', 4096), { kind: 'blank' }],
    ['ext4', (device) => run('mkfs.ext4', '-q', device), { kind: 'file-system', type: 'ext4' }],
    ['swap', (device) => run('mkswap', device), { kind: 'file-system', type: 'swap' }],
    ['a partition table', writePartitionTable, { kind: 'partitions', table: 'dos' }],
  ])('sees %s', async (_, prepare, content) => {
    const device = sandbox().device(16);
    prepare(device);
    expect(await probeDevice(host, device)).toEqual(content);
  });

  it('does not choose between the marks of two file systems', async () => {
    const device = sandbox().device(16);
    run('mkfs.ext4', '-q', device);
    run('mkswap', '--force', device);
    write(device, Buffer.from([0x53, 0xef]), 1024 + 56); // the ext magic that mkswap wiped
    await expect(probeDevice(host, device)).rejects.toMatchObject({
      kind: 'host-failed',
      message: expect.stringContaining('the marks of several file systems'),
    });
  });

  it.each([
    ['echo "blkid: cannot open"; exit 2', 'failed with exit code 2: blkid: cannot open'],
    ['exit 4', 'failed with exit code 4'],
    ['echo what', 'blkid printed what it should not for /dev/x: what'],
  ])('fails when blkid does %j', async (script, message) => {
    await expect(probeDevice(replacing('blkid', script), '/dev/x')).rejects.toMatchObject({
      kind: 'host-failed',
      message: expect.stringContaining(message),
    });
  });

  it('takes a blank partition for blank', async () => {
    expect(await probeDevice(replacing('blkid', 'echo DEVNAME=/dev/x1'), '/dev/x1')).toEqual({
      kind: 'blank',
    });
  });
});

describe.skipIf(lacks('root', 'loop'))('mountDevice', () => {
  it.each([
    ['attach.default-mountdevice-blank', 'ext4', true],
    ['attach.default-mountdevice-blank-no-fstype', '', true],
    ['attach.default-mountdevice-formatted', 'ext4', false],
  ])('runs the commands recorded in %s', async (scenario, fsType, formatted) => {
    const device = sandbox().device(16);
    if (!formatted) run('mkfs.ext4', '-q', device);
    const target = sandbox().directory('target');
    const { host: noted, commands } = noting(kubeletsPrograms);
    expect(await mountDevice(noted, device, target, { fsType })).toEqual({ formatted, notes: [] });
    expect(commands).toEqual(recorded(scenario, 'MountDevice', device, target));
    expect((await host.mounts()).at(target)).toMatchObject({ fsType: 'ext4', source: device });
    writeFileSync(join(target, 'file'), 'x');
  });

  it('does not format what is to be read only', async () => {
    const device = sandbox().device(16);
    const target = sandbox().directory('target');
    const scenario = 'attach.default-mountdevice-blank-readonly';
    const { host: noted, commands } = noting(kubeletsPrograms);
    await expect(mountDevice(noted, device, target, { readOnly: true })).rejects.toMatchObject({
      kind: 'precondition',
      message: `cannot mount unformatted disk ${device} as we are manipulating it in read-only mode`,
    });
    expect(commands).toEqual(recorded(scenario, 'MountDevice', device, target));
  });

  it.each([
    ['data at the start', (device: string) => write(device, 'precious', 0), 'data at byte 0 of'],
    ['data in the middle', (device: string) => write(device, 'precious', 8 * MIB), 'data at byte 8388608 of'],
    ['data at the end', (device: string) => write(device, 'x', 16 * MIB - 1), 'data at byte 16777215 of'],
    [
      'an ext4 whose first MiB is lost',
      (device: string) => {
        run('mkfs.ext4', '-q', '-b', '1024', device);
        write(device, Buffer.alloc(MIB), 0);
      },
      'refusing to format',
    ],
  ])('does not format a device with %s that blkid does not know', async (_, prepare, message) => {
    const device = sandbox().device(16);
    prepare(device);
    const before = checksum(device);
    await expect(mountDevice(host, device, sandbox().directory('target'))).rejects.toMatchObject({
      kind: 'precondition',
      message: expect.stringContaining(message),
    });
    expect(checksum(device)).toBe(before);
  });

  it('does not format a partition table', async () => {
    const device = sandbox().device(16);
    writePartitionTable(device);
    const before = checksum(device);
    await expect(mountDevice(host, device, sandbox().directory('target'))).rejects.toMatchObject({
      kind: 'host-failed',
      message: expect.stringMatching(
        / holds a partition table \(dos\), but ext4 was asked for: mount -t ext4 /,
      ),
    });
    expect(checksum(device)).toBe(before);
  });

  it('names both file systems when the wrong one was asked for', async () => {
    const device = sandbox().device(16);
    run('mkfs.ext4', '-q', device);
    const target = sandbox().directory('target');
    await expect(mountDevice(host, device, target, { fsType: 'squashfs' })).rejects.toMatchObject({
      kind: 'host-failed',
      message: expect.stringMatching(
        new RegExp(`^${device} holds ext4, but squashfs was asked for: mount -t`),
      ),
    });
    expect((await host.mounts()).countAt(target)).toBe(0);
  });

  it('tells that another type than asked for could be mounted', async () => {
    const device = sandbox().device(16);
    run('mkfs.ext3', '-q', device);
    const { notes } = await mountDevice(host, device, sandbox().directory('target'), { fsType: 'ext4' });
    expect(notes).toEqual([`${device} holds ext3, but was mounted as ext4, as asked for`]);
  });

  it('mounts read-only, unchecked, with flags', async () => {
    const device = sandbox().device(16);
    run('mkfs.ext4', '-q', device);
    const target = sandbox().directory('target');
    const { host: noted, commands } = noting(kubeletsPrograms);
    await mountDevice(noted, device, target, { readOnly: true, flags: ['noatime', 'nosuid'] });
    expect(commands.slice(1)).toEqual([
      ['mount', '-t', 'ext4', '-o', 'ro,defaults,noatime,nosuid', device, target],
    ]);
    expect((await host.mounts()).at(target)?.options).toEqual(
      expect.arrayContaining(['ro', 'noatime', 'nosuid']),
    );
  });

  it('takes the flag "ro" for read-only, as kubelet does', async () => {
    const device = sandbox().device(16);
    await expect(
      mountDevice(host, device, sandbox().directory('target'), { flags: ['noatime,ro'] }),
    ).rejects.toMatchObject({ kind: 'precondition' });
  });

  it('keeps secret flags out of the error', async () => {
    const device = sandbox().device(16);
    const options = { flags: ['pass=hunter22'], mask: createMask(['hunter22']) };
    await expect(mountDevice(host, device, sandbox().directory('target'), options)).rejects.toMatchObject({
      message: expect.stringMatching(/rw,defaults,pass=\*\*\* .*wrong fs type, bad option/),
    });
  });

  it('says that there is no device', async () => {
    await expect(mountDevice(host, '/dev/does-not-exist', '/mnt')).rejects.toMatchObject({
      kind: 'not-found',
      message: 'the device /dev/does-not-exist does not exist',
    });
  });

  it.each(['../x', 'a/b', '-f', 'a b', 'a,b', 'ext4\n'])(
    'refuses the file system type %j',
    async (fsType) => {
      await expect(mountDevice(host, '/dev/x', '/mnt', { fsType })).rejects.toMatchObject({
        kind: 'invalid-request',
      });
    },
  );

  it('says which package is missing for a file system type', async () => {
    const device = sandbox().device(16);
    const without: Host = {
      mounts: host.mounts,
      run: (file, args, limit) => host.run(file === 'mkfs.xfs' ? '/does/not/exist' : file, args, limit),
    };
    await expect(
      mountDevice(without, device, sandbox().directory('target'), { fsType: 'xfs' }),
    ).rejects.toThrow('mkfs.xfs is not installed (it comes with the package xfsprogs)');
  });

  it.each([
    ['exit 1', 'fsck found errors on DEVICE and corrected them'],
    [
      'echo "fsck: no fsck.ext4"; exit 8',
      'DEVICE is mounted unchecked: fsck -a DEVICE: failed with exit code 8: fsck: no fsck.ext4',
    ],
    ['exec /does/not/exist', 'DEVICE is mounted unchecked: fsck -a DEVICE: failed with exit code 127'],
  ])('mounts when fsck does %j, and tells it', async (script, note) => {
    const device = sandbox().device(16);
    run('mkfs.ext4', '-q', device);
    const { notes } = await mountDevice(replacing('fsck', script), device, sandbox().directory('target'));
    expect(notes).toEqual([expect.stringContaining(note.replaceAll('DEVICE', device))]);
  });

  it('mounts when fsck is not installed, and tells it', async () => {
    const device = sandbox().device(16);
    run('mkfs.ext4', '-q', device);
    const without: Host = {
      mounts: host.mounts,
      run: (file, args, limit) => host.run(file === 'fsck' ? '/does/not/exist' : file, args, limit),
    };
    const { notes } = await mountDevice(without, device, sandbox().directory('target'));
    expect(notes).toEqual([expect.stringContaining('fsck is not installed')]);
  });

  it.each([4, 12])('does not mount what fsck could not correct (exit code %i)', async (code) => {
    const device = sandbox().device(16);
    run('mkfs.ext4', '-q', device);
    const target = sandbox().directory('target');
    await expect(mountDevice(replacing('fsck', `exit ${code}`), device, target)).rejects.toMatchObject({
      kind: 'host-failed',
      message: expect.stringContaining(`${device} has errors that fsck does not correct by itself`),
    });
    expect((await host.mounts()).countAt(target)).toBe(0);
  });

  it('really corrects errors', async () => {
    const device = sandbox().device(16);
    run('mkfs.ext4', '-q', device);
    // A wrong count of free blocks, and the mark that the file system has errors.
    run('debugfs', '-w', '-R', 'set_super_value free_blocks_count 7', device);
    run('debugfs', '-w', '-R', 'set_super_value state 2', device);
    const { notes } = await mountDevice(host, device, sandbox().directory('target'));
    expect(notes).toEqual([`fsck found errors on ${device} and corrected them`]);
  });

  it('mounts an image file', async () => {
    const image = join(sandbox().path, 'image');
    writeFileSync(image, Buffer.alloc(16 * MIB));
    const target = sandbox().directory('target');
    expect(await mountDevice(host, image, target)).toEqual({ formatted: true, notes: [] });
    expect((await host.mounts()).at(target)?.fsType).toBe('ext4');
  });
});

describe.each([
  { fsType: 'ext3', mib: 16, grown: 32, force: ['-F', '-m0'], needs: ['mkfs.ext3'] },
  { fsType: 'ext4', mib: 16, grown: 32, force: ['-F', '-m0'], needs: ['mkfs.ext4'] },
  { fsType: 'xfs', mib: 320, grown: 400, force: ['-f'], needs: ['mkfs.xfs', 'xfs_growfs'] },
  { fsType: 'btrfs', mib: 256, grown: 384, force: [], needs: ['mkfs.btrfs', 'btrfs'] },
])('$fsType', ({ fsType, mib, grown, force, needs }) => {
  const skip = lacks('root', 'loop', ...needs);
  // The kernel grows a mounted ext only with CAP_SYS_RESOURCE; kubelet also grows it before it mounts it.
  const mountedFirst = !fsType.startsWith('ext');

  it.skipIf(skip)('is made, mounted and grown', async () => {
    const device = sandbox().device(mib);
    const target = sandbox().directory('target');
    const { host: noted, commands } = noting(kubeletsPrograms);
    await mountDevice(noted, device, target, { fsType });
    expect(commands[1]).toEqual([`mkfs.${fsType}`, ...force, device]);
    expect((await host.mounts()).at(target)?.fsType).toBe(fsType);
    const before = await fileSystemUsage(host, target);

    if (!mountedFirst) {
      run('umount', target);
      // resize2fs asks for it when the clock has moved on a second between mkfs and mount.
      run('e2fsck', '-f', '-p', device);
    }
    sandbox().resize(device, grown);
    expect(await growFileSystem(host, device, target)).toEqual({ grown: true });
    // A second time there is nothing to do.
    expect(await growFileSystem(host, device, target)).toEqual({ grown: true });
    if (!mountedFirst) run('mount', device, target);
    const { bytes } = await fileSystemUsage(host, target);
    const added = BigInt((grown - mib) * MIB);
    expect(bytes.total - before.bytes.total).toBeGreaterThan((added * 9n) / 10n);
  });
});

describe.skipIf(lacks('root', 'loop'))('growFileSystem', () => {
  it('runs the commands recorded for ext4', async () => {
    const device = sandbox().device(16);
    run('mkfs.ext4', '-q', device);
    const { host: noted, commands } = noting(kubeletsPrograms);
    await growFileSystem(noted, device, '/mnt');
    expect(commands).toEqual([
      ['blkid', '-p', '-s', 'TYPE', '-s', 'PTTYPE', '-o', 'export', device],
      ['resize2fs', device],
    ]);
  });

  it('does nothing for a blank device', async () => {
    expect(await growFileSystem(host, sandbox().device(16), '/mnt')).toEqual({ grown: false });
  });

  it.each([
    ['swap', (device: string) => run('mkswap', device), 'swap'],
    ['a partition table', writePartitionTable, 'a partition table (dos)'],
  ])('cannot grow %s', async (_, prepare, what) => {
    const device = sandbox().device(16);
    prepare(device);
    await expect(growFileSystem(host, device, '/mnt')).rejects.toMatchObject({
      kind: 'unsupported',
      message: `cannot grow what ${device} holds (${what}): only ext2, ext3, ext4, xfs, btrfs`,
    });
  });
});
