import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { blockDeviceSize, fileSystemUsage } from '../../src/mount/usage.ts';
import { lacks } from '../support/requirements.ts';
import { host, run, useSandbox } from './support/sandbox.ts';

const sandbox = useSandbox();

/** What df says, in bytes and inodes. */
function df(path: string) {
  const numbers = (columns: string) =>
    (run('df', '--block-size=1', `--output=${columns}`, path).split('\n')[1] as string)
      .trim()
      .split(/\s+/)
      .map(BigInt);
  const [total, used, available] = numbers('size,used,avail');
  const [itotal, iused, iavailable] = numbers('itotal,iused,iavail');
  return { bytes: { total, used, available }, inodes: { total: itotal, used: iused, available: iavailable } };
}

describe.skipIf(lacks('mounts'))('fileSystemUsage', () => {
  it('is what df says of a tmpfs with something in it', async () => {
    const path = sandbox().tmpfs('two words', '-o', 'size=8m,nr_inodes=100');
    writeFileSync(join(path, 'file'), Buffer.alloc(3 * 1024 * 1024));
    const usage = await fileSystemUsage(host, path);
    expect(usage).toEqual(df(path));
    expect(usage.bytes).toEqual({ total: 8_388_608n, used: 3_145_728n, available: 5_242_880n });
  });

  it.skipIf(lacks('root', 'loop'))('is what df says of an ext4 with blocks kept for root', async () => {
    const device = sandbox().device(16);
    run('mkfs.ext4', '-q', '-m', '20', device);
    const path = sandbox().directory('volume');
    run('mount', device, path);
    const usage = await fileSystemUsage(host, path);
    expect(usage).toEqual(df(path));
    expect(usage.bytes.available + usage.bytes.used).toBeLessThan(usage.bytes.total);
  });

  it.skipIf(lacks('root', 'loop'))(
    'has nothing available, rather than less, when root uses its reserve',
    async () => {
      const device = sandbox().device(16);
      run('mkfs.ext4', '-q', '-m', '50', device);
      const path = sandbox().directory('volume');
      run('mount', device, path);
      expect(() => writeFileSync(join(path, 'file'), Buffer.alloc(20 * 1024 * 1024))).toThrow('ENOSPC');
      expect((await fileSystemUsage(host, path)).bytes.available).toBe(0n);
    },
  );

  it.skipIf(lacks('root', 'fuse'))('says that a dead mount is dead', async () => {
    await expect(fileSystemUsage(host, await sandbox().deadFuse('dead'))).rejects.toMatchObject({
      kind: 'host-failed',
      message: expect.stringContaining('Transport endpoint is not connected'),
    });
  });

  it.skipIf(lacks('root', 'fuse'))('ends on a hung mount', async () => {
    const { path } = await sandbox().hungFuse('hung');
    await expect(fileSystemUsage(host, path, { timeoutMs: 200 })).rejects.toMatchObject({
      kind: 'host-timeout',
      message: expect.stringContaining('does not end, not even when killed'),
    });
  });

  it.each(['/does/not/exist', '/etc/passwd/x'])('says that nothing is at %s', async (path) => {
    await expect(fileSystemUsage(host, path)).rejects.toMatchObject({
      kind: 'not-found',
      message: `${path} does not exist`,
    });
  });
});

describe('blockDeviceSize', () => {
  it.skipIf(lacks('root', 'loop'))('is the size in bytes, after it has grown too', async () => {
    const device = sandbox().device(3);
    expect(await blockDeviceSize(host, device)).toBe(3_145_728n);
    sandbox().resize(device, 5);
    expect(await blockDeviceSize(host, device)).toBe(5_242_880n);
  });

  it.each([
    ['/dev/does-not-exist', 'not-found', 'the device /dev/does-not-exist does not exist'],
    ['/etc/passwd', 'host-failed', 'Inappropriate ioctl for device'],
  ])('of %s fails', async (device, kind, message) => {
    await expect(blockDeviceSize(host, device)).rejects.toMatchObject({
      kind,
      message: expect.stringContaining(message),
    });
  });
});
