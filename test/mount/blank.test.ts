import { closeSync, openSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { requireEmpty, signatureAreas } from '../../src/mount/blank.ts';
import type { Host } from '../../src/mount/host.ts';
import { lacks } from '../support/requirements.ts';
import { host, run, useSandbox } from './support/sandbox.ts';

const MIB = 1024n * 1024n;

function isLookedAt(size: bigint, byte: bigint): boolean {
  return signatureAreas(size).some(({ offset, length }) => byte >= offset && byte < offset + length);
}

describe('signatureAreas', () => {
  it('stay inside the device, and hold its first and last byte', () => {
    fc.assert(
      fc.property(fc.bigInt(1n, 2n ** 60n), (size) => {
        const areas = signatureAreas(size);
        expect(areas.every(({ offset, length }) => length > 0n && offset + length <= size)).toBe(true);
        expect(isLookedAt(size, 0n) && isLookedAt(size, size - 1n)).toBe(true);
        expect(areas.reduce((sum, { length }) => sum + length, 0n)).toBeLessThanOrEqual(6n * MIB);
      }),
    );
  });

  it.each([
    ['the first superblock of ext4', 1024n],
    ['the first superblock of btrfs', 64n * 1024n],
    ['the copies of ext2 with blocks of 1, 2 and 4 KiB', 8193n * 1024n],
    ['', 16384n * 2048n],
    ['', 32768n * 4096n],
    ['the copies of btrfs', 64n * MIB],
    ['', 256n * 1024n * MIB],
    ['the second header of LUKS2', 4n * MIB],
    ['the second GPT', 2n ** 40n - 512n],
    ['RAID metadata 0.90', 2n ** 40n - 64n * 1024n],
    ['the third label of ZFS', 2n ** 40n - 512n * 1024n],
  ])('of 1 TiB hold %s (byte %i)', (_, byte) => {
    expect(isLookedAt(2n ** 40n, byte)).toBe(true);
  });
});

describe('requireEmpty', () => {
  const sandbox = useSandbox();

  function image(mib: number): string {
    const path = join(sandbox().path, "image: '1 differ: byte 7'");
    closeSync(openSync(path, 'w'));
    truncateSync(path, mib * 1024 * 1024);
    return path;
  }

  function write(path: string, byte: number): void {
    const fd = openSync(path, 'r+');
    writeSync(fd, 'x', byte);
    closeSync(fd);
  }

  it.each([1, 2, 3, 100])('is content with %i MiB of zeros', async (mib) => {
    await requireEmpty(host, image(mib));
  });

  it.each([
    [100, 0],
    [100, 1024 * 1024 - 1],
    [100, 8193 * 1024],
    [100, 64 * 1024 * 1024],
    [100, 100 * 1024 * 1024 - 1],
    [1, 700_000],
    [2, 1_500_000],
  ])('of %i MiB refuses data at byte %i', async (mib, byte) => {
    const path = image(mib);
    write(path, byte);
    await expect(requireEmpty(host, path)).rejects.toMatchObject({
      kind: 'precondition',
      message: expect.stringContaining(
        `refusing to format ${path}: blkid recognises nothing on it, but it is not empty (data at byte ${byte} of ${mib * 1024 * 1024})`,
      ),
    });
  });

  it.skipIf(lacks('root', 'loop'))('looks through a link to a device', async () => {
    const device = sandbox().device(3);
    const link = join(sandbox().path, 'by-id');
    run('ln', '-s', device, link);
    await requireEmpty(host, link);
    write(device, 3 * 1024 * 1024 - 5);
    await expect(requireEmpty(host, link)).rejects.toThrow('data at byte 3145723 of 3145728');
  });

  it('does not take a device that cannot be read for an empty one', async () => {
    const script = 'echo "cmp: $1: Input/output error"; exit 2';
    const failing: Host = {
      mounts: host.mounts,
      run: (file, args) =>
        file === 'cmp' ? host.run('sh', ['-c', script, 'sh', '/x']) : host.run(file, args),
    };
    await expect(requireEmpty(failing, image(1))).rejects.toMatchObject({
      kind: 'host-failed',
      message: expect.stringContaining('failed with exit code 2: cmp: /x: Input/output error'),
    });
  });

  it.each([
    ['/dev/does-not-exist', 'not-found', 'does not exist'],
    ['/dev/null', 'host-failed', 'Inappropriate ioctl'],
    ['/', 'host-failed', 'blockdev'],
  ])('refuses %s', async (device, kind, message) => {
    await expect(requireEmpty(host, device)).rejects.toMatchObject({
      kind,
      message: expect.stringContaining(message),
    });
  });

  it('refuses a device without a medium', async () => {
    await expect(requireEmpty(host, image(0))).rejects.toMatchObject({ kind: 'precondition' });
  });
});
