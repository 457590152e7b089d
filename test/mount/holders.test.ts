import { closeSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { describeHolders, findHolders } from '../../src/mount/holders.ts';
import type { MountEntry } from '../../src/mount/mount-table.ts';
import { lacks } from '../support/requirements.ts';
import { host, useSandbox } from './support/sandbox.ts';

async function holdersOf(path: string, limitMs?: number) {
  const table = await host.mounts();
  return findHolders(table.at(path) as MountEntry, table, limitMs === undefined ? {} : { limitMs });
}

describe.skipIf(lacks('mounts'))('findHolders', () => {
  const sandbox = useSandbox();

  it('finds nobody', async () => {
    const path = sandbox().tmpfs('volume');
    expect(await holdersOf(path)).toMatchObject({ processes: [], mounts: [], incomplete: false });
  });

  it('finds a process by its working directory, below the mount point too', async () => {
    const path = sandbox().tmpfs('volume');
    const beside = sandbox().tmpfs('volume-2');
    const below = sandbox().directory('volume/below');
    const here = sandbox().process('sleep', ['77'], path);
    const deeper = sandbox().process('sleep', ['77'], below);
    sandbox().process('sleep', ['77'], beside);
    await vi.waitFor(async () => {
      const { processes } = await holdersOf(path);
      expect(processes).toEqual(
        expect.arrayContaining([here, deeper].map(({ pid }) => ({ pid, command: 'sleep' }))),
      );
      expect(processes).toHaveLength(2);
    });
  });

  it('finds a process by an open file, removed or not', async () => {
    const path = sandbox().tmpfs('volume');
    const file = join(path, 'file');
    writeFileSync(file, '');
    const fd = openSync(file, 'r');
    try {
      expect((await holdersOf(path)).processes.map(({ pid }) => pid)).toEqual([process.pid]);
    } finally {
      closeSync(fd);
    }
  });

  it('finds mounts on it, and names them', async () => {
    const path = sandbox().tmpfs('volume');
    const below = sandbox().tmpfs('volume/below');
    const holders = await holdersOf(path);
    expect(holders.mounts).toEqual([below]);
    expect(describeHolders(holders)).toBe(`mounted on it: ${below}`);
  });

  it('finds another mount namespace that has the same', async () => {
    const path = sandbox().tmpfs('volume');
    const other = sandbox().process('unshare', ['--mount', '--propagation', 'private', 'sleep', '77']);
    await vi.waitFor(async () => {
      const holders = await holdersOf(path);
      // Other tests, at the same time, may have copied the mount table as well.
      expect(holders.namespaces).toContainEqual({ pid: other.pid, command: 'sleep' });
      expect(describeHolders(holders)).toContain('also mounted in other mount namespaces, of ');
    });
  });

  it.skipIf(lacks('root', 'fuse'))('does not touch the mount, which hangs', async () => {
    const { path } = await sandbox().hungFuse('hung');
    expect(await holdersOf(path)).toMatchObject({ processes: [], incomplete: false });
  });

  it('says when time ran out', async () => {
    const holders = await holdersOf(sandbox().tmpfs('volume'), 0);
    expect(holders.incomplete).toBe(true);
    expect(describeHolders(holders)).toContain('not all processes could be looked at');
  });
});

describe('describeHolders', () => {
  const none = { processes: [], mounts: [], namespaces: [], incomplete: false };
  const nginx = { pid: 4711, command: 'nginx' };

  it.each([
    [
      none,
      'nothing was found that holds it: either it was not unmounted, or the kernel uses it (a loop device, swap, memory)',
    ],
    [{ ...none, processes: [nginx] }, 'held by nginx (pid 4711)'],
    [{ ...none, processes: [nginx], namespaces: [nginx] }, 'held by nginx (pid 4711)'],
    [
      { ...none, processes: [nginx], mounts: ['/a', '/b\n'] },
      'held by nginx (pid 4711); mounted on it: /a, /b',
    ],
    [
      { ...none, processes: Array.from({ length: 7 }, (_, pid) => ({ pid, command: 'a' })) },
      'held by a (pid 0), a (pid 1), a (pid 2), a (pid 3), a (pid 4) and 2 more',
    ],
  ])('of %j says %s', (holders, expected) => {
    expect(describeHolders(holders)).toBe(expected);
  });
});
