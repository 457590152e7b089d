import {
  chmodSync,
  closeSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Host } from '../../src/mount/host.ts';
import { applyGroup } from '../../src/mount/ownership.ts';
import { createMask } from '../../src/secrets.ts';
import { lacks } from '../support/requirements.ts';
import { host, noting, run, useSandbox } from './support/sandbox.ts';

const GROUP = 1234;
const sandbox = useSandbox();

type Kind = 'file' | 'directory' | 'fifo' | 'device' | 'symlink';

function make(path: string, kind: Kind, mode: number, gid: number): void {
  if (kind === 'file') closeSync(openSync(path, 'w'));
  else if (kind === 'directory') mkdirSync(path);
  else if (kind === 'fifo') run('mkfifo', path);
  else if (kind === 'device') run('mknod', path, 'c', '1', '3');
  else symlinkSync('/etc/passwd', path);
  lchownSync(path, 1000, gid);
  if (kind !== 'symlink') chmodSync(path, mode);
}

function look(path: string): { mode: string; uid: number; gid: number } {
  const { mode, uid, gid } = lstatSync(path);
  return { mode: (mode & 0o7777).toString(8), uid, gid };
}

describe.skipIf(lacks('root'))('applyGroup', () => {
  // What kubelet's SetVolumeOwnership makes of each: group, ug+rw; for directories also ug+x, g+s.
  const cases: [kind: Kind, before: number, after: number][] = [
    ['file', 0o644, 0o664],
    ['file', 0o600, 0o660],
    ['file', 0o700, 0o760],
    ['file', 0o755, 0o775],
    ['file', 0o000, 0o660],
    ['file', 0o007, 0o667],
    ['file', 0o660, 0o660],
    ['directory', 0o755, 0o2775],
    ['directory', 0o700, 0o2770],
    ['directory', 0o000, 0o2770],
    ['directory', 0o1777, 0o3777],
    ['directory', 0o2770, 0o2770],
    ['fifo', 0o600, 0o660],
    ['device', 0o600, 0o660],
    ['symlink', 0o777, 0o777],
  ];
  const special: typeof cases = [
    ['file', 0o4755, 0o4775],
    ['file', 0o2755, 0o2775],
    ['file', 0o6711, 0o6771],
    ['file', 0o4600, 0o4660],
    ['file', 0o2660, 0o2660],
    ['file', 0o1644, 0o1664],
    ['directory', 0o4755, 0o6775],
  ];

  describe.each([
    { what: 'without setuid files', list: cases },
    { what: 'with setuid files', list: [...cases, ...special] },
  ])('a volume $what', ({ list }) => {
    it.each([GROUP, 0, 4_294_967_294])('is given to group %i, as kubelet does it', async (gid) => {
      const volume = sandbox().directory('volume');
      const outside = sandbox().directory('outside');
      symlinkSync(outside, join(volume, 'link to a directory'));
      writeFileSync(join(outside, 'file'), '', { mode: 0o600 });
      const expected = new Map<string, { mode: string; uid: number; gid: number }>();
      for (const [n, [kind, before, after]] of list.entries()) {
        for (const own of [999, gid]) {
          const path = join(volume, `${n}-${own}`);
          make(path, kind, before, own);
          expected.set(path, { mode: after.toString(8), uid: 1000, gid });
          if (kind !== 'directory') continue;
          // Below directories of any mode.
          make(join(path, 'below'), 'file', 0o640, 999);
          expected.set(join(path, 'below'), { mode: '660', uid: 1000, gid });
        }
      }
      expect(await applyGroup(host, volume, gid, 'Always')).toEqual({ skipped: false });
      for (const [path, state] of expected) expect({ path, ...look(path) }).toEqual({ path, ...state });
      expect(look(volume)).toMatchObject({ mode: '2775', gid });
      expect(look(join(volume, 'link to a directory')).gid).toBe(gid);
      // Nothing behind links has changed.
      expect(look(join(outside, 'file'))).toEqual({ mode: '600', uid: 0, gid: 0 });
      expect(look(outside)).toMatchObject({ mode: '755', gid: 0 });
      expect(look('/etc/passwd')).toMatchObject({ mode: '644', gid: 0 });
      // And a second time nothing changes.
      expect(await applyGroup(host, volume, gid, 'Always')).toEqual({ skipped: false });
      for (const [path, state] of expected) expect({ path, ...look(path) }).toEqual({ path, ...state });
    });

    it('manages any file name', async () => {
      const names = [
        'two words',
        '-R',
        '--reference=x',
        'line\nbreak',
        '\t',
        '*',
        '$(id)',
        "it's",
        '\\',
        'ünï',
        '{}',
        ';',
        '+1',
        '0',
      ];
      const volume = sandbox().directory("vol\nume's -x");
      for (const name of names) {
        mkdirSync(join(volume, name));
        writeFileSync(join(volume, name, name), '');
      }
      if (list.length > cases.length) make(join(volume, 'set\n-uid'), 'file', 0o4700, 1);
      expect(await applyGroup(host, volume, GROUP, 'Always')).toEqual({ skipped: false });
      for (const name of readdirSync(volume, { recursive: true, encoding: 'utf8' })) {
        expect(look(join(volume, name)).gid).toBe(GROUP);
      }
    });
  });

  it('crosses into mounts below', async () => {
    const volume = sandbox().directory('volume');
    const below = sandbox().tmpfs('volume/below');
    writeFileSync(join(below, 'file'), '');
    await applyGroup(host, volume, GROUP, 'Always');
    expect(look(join(below, 'file')).gid).toBe(GROUP);
  });

  it.each<[Kind, number, number]>([
    ['file', 0o4700, 0o4760],
    ['symlink', 0o777, 0o777],
  ])('changes a volume that is one %s', async (kind, before, after) => {
    const path = join(sandbox().path, '-x');
    make(path, kind, before, 1);
    expect(await applyGroup(host, path, GROUP, 'OnRootMismatch')).toEqual({ skipped: false });
    expect(look(path)).toEqual({ mode: after.toString(8), uid: 1000, gid: GROUP });
  });

  it.each([
    [GROUP, 0o2770, true],
    [GROUP, 0o3777, true],
    [999, 0o2770, false],
    [GROUP, 0o770, false],
    [GROUP, 0o2750, false],
    [GROUP, 0o2670, false],
  ])('with OnRootMismatch and a root of group %i and mode %o: skipped is %s', async (gid, mode, skipped) => {
    const volume = sandbox().directory('volume');
    writeFileSync(join(volume, 'file'), '');
    lchownSync(volume, 0, gid);
    chmodSync(volume, mode);
    expect(await applyGroup(host, volume, GROUP, 'OnRootMismatch')).toEqual({ skipped });
    expect(look(join(volume, 'file')).gid).toBe(skipped ? 0 : GROUP);
    expect(await applyGroup(host, volume, GROUP, 'Always')).toEqual({ skipped: false });
    expect(look(join(volume, 'file')).gid).toBe(GROUP);
  });

  it('changes ten thousand files in a few programs', async () => {
    const volume = sandbox().tmpfs('volume');
    for (let d = 0; d < 100; d++) {
      mkdirSync(join(volume, `${d}`));
      for (let f = 0; f < 100; f++) writeFileSync(join(volume, `${d}`, `${f}`), '');
    }
    const { host: noted, commands } = noting(/./);
    await applyGroup(noted, volume, GROUP, 'Always');
    expect(commands.map(([program]) => program)).toEqual(['stat', 'find', 'chgrp', 'chmod', 'find']);
    expect(statSync(join(volume, '99', '99')).gid).toBe(GROUP);
  });

  describe('tells once what it could not change, and goes on', () => {
    it.skipIf(lacks('loop', 'chattr')).each([0o755, 0o4755])('an immutable file of mode %o', async (mode) => {
      const device = sandbox().device(16);
      run('mkfs.ext4', '-q', device);
      const volume = sandbox().directory('volume');
      run('mount', device, volume);
      for (const name of ['a', 'fixed\nfile', 'z']) make(join(volume, name), 'file', mode, 0);
      run('chattr', '+i', join(volume, 'fixed\nfile'));
      try {
        expect(await applyGroup(host, volume, GROUP, 'Always')).toEqual({
          skipped: false,
          problem: `${volume}/fixed file and perhaps more could not be given to group ${GROUP}: Operation not permitted; the file system or its server refuses it (root squash?)`,
        });
        for (const name of ['a', 'z']) expect(look(join(volume, name)).gid).toBe(GROUP);
      } finally {
        run('chattr', '-i', join(volume, 'fixed\nfile'));
      }
    });

    it('a read-only volume', async () => {
      const volume = sandbox().tmpfs('volume', '-o', 'ro');
      expect(await applyGroup(host, volume, GROUP, 'Always')).toEqual({
        skipped: false,
        problem: `${volume} and perhaps more could not be given to group ${GROUP}: Read-only file system`,
      });
    });

    it('a volume that is not there', async () => {
      expect(await applyGroup(host, '/does/not/exist', GROUP, 'Always')).toEqual({
        skipped: false,
        problem: expect.stringContaining('No such file or directory'),
      });
    });

    it('with secrets masked', async () => {
      const volume = sandbox().tmpfs('hunter22', '-o', 'ro');
      const { problem } = await applyGroup(host, volume, GROUP, 'Always', { mask: createMask(['hunter22']) });
      expect(problem).toContain('/*** and perhaps more');
    });

    it('that a program is missing', async () => {
      const without: Host = {
        mounts: host.mounts,
        run: (file, args, limit) => host.run(file === 'find' ? '/does/not/exist' : file, args, limit),
      };
      expect(await applyGroup(without, sandbox().path, GROUP, 'Always')).toEqual({
        skipped: false,
        problem: expect.stringContaining('find is not installed (it comes with the package findutils)'),
      });
    });

    it('that time ran out', async () => {
      const slow: Host = {
        mounts: host.mounts,
        run: (file, args, limit) =>
          host.run(
            ...(file === 'chgrp' ? (['sleep', ['77'], limit] as const) : ([file, args, limit] as const)),
          ),
      };
      const { problem } = await applyGroup(slow, sandbox().path, GROUP, 'Always', { timeoutMs: 1000 });
      expect(problem).toMatch(/^chgrp .* did not end in time and was ended after 1 s$/);
    });
  });
});
