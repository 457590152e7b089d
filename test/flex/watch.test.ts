import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { type DriverFiles, Hold, look } from '../../src/flex/watch.ts';
import { lacks } from '../support/requirements.ts';
import { temporaryDirectory } from './drivers.ts';

function makeFiles(): { root: string; directory: string; executable: string } {
  const root = temporaryDirectory();
  const directory = join(root, 'vendor~x');
  mkdirSync(join(directory, 'lib'), { recursive: true });
  writeFileSync(join(directory, 'lib', 'part'), '1');
  const executable = join(directory, 'x');
  writeFileSync(executable, '1');
  return { root, directory, executable };
}

describe('look', () => {
  it.each<[string, (files: { directory: string; executable: string }) => void]>([
    ['a file written', ({ directory }) => writeFileSync(join(directory, 'log'), '')],
    [
      'a file in a subdirectory written',
      ({ directory }) => writeFileSync(join(directory, 'lib', 'part'), '22'),
    ],
    ['a file in a subdirectory removed', ({ directory }) => unlinkSync(join(directory, 'lib', 'part'))],
    ['a subdirectory made', ({ directory }) => mkdirSync(join(directory, 'new'))],
    ['the executable written in place, the same size', ({ executable }) => writeFileSync(executable, '2')],
    ['the executable touched', ({ executable }) => utimesSync(executable, 1, 1)],
    ['a mode changed', ({ executable }) => chmodSync(executable, 0o700)],
    ['the mode of the directory changed', ({ directory }) => chmodSync(directory, 0o700)],
    [
      'a file renamed',
      ({ directory }) => renameSync(join(directory, 'lib', 'part'), join(directory, 'lib', 'p2')),
    ],
    [
      'the executable replaced',
      ({ directory, executable }) => {
        writeFileSync(join(directory, '.tmp'), '1');
        renameSync(join(directory, '.tmp'), executable);
      },
    ],
  ])('sees %s', async (_, change) => {
    const files = makeFiles();
    const before = await look(files);
    expect(await look(files)).toEqual(before);
    // Kernels before 6.13 count file times in steps of some milliseconds.
    await sleep(20);
    change(files);
    const after = await look(files);
    expect(after.present).toBe(true);
    expect(after.fingerprint).not.toBe(before.fingerprint);
  });

  it.each<[string, (directory: string) => void]>([
    ['a file', (directory) => writeFileSync(join(directory, '.state'), '')],
    ['a file in a subdirectory', (directory) => writeFileSync(join(directory, 'lib', '.lock'), '')],
    ['a directory', (directory) => mkdirSync(join(directory, '.git', 'objects'), { recursive: true })],
  ])('passes over %s whose name starts with a dot', async (_, change) => {
    const files = makeFiles();
    const before = await look(files);
    change(files.directory);
    expect(await look(files)).toEqual(before);
  });

  it('sees the file at the end of a link change', async () => {
    const files = makeFiles();
    const target = join(files.root, 'target');
    writeFileSync(target, '1');
    unlinkSync(files.executable);
    symlinkSync(target, files.executable);
    const before = await look(files);
    await sleep(20);
    writeFileSync(target, '22');
    expect((await look(files)).fingerprint).not.toBe(before.fingerprint);
  });

  it('looks at the executable alone where there is no directory of its own', async () => {
    const { directory, executable } = makeFiles();
    const before = await look({ executable });
    writeFileSync(join(directory, 'log'), '');
    expect(await look({ executable })).toEqual(before);
    chmodSync(executable, 0o700);
    expect(await look({ executable })).not.toEqual(before);
  });

  it('says when the executable or all is missing', async () => {
    const files = makeFiles();
    unlinkSync(files.executable);
    expect(await look(files)).toMatchObject({ present: false });
    rmSync(files.directory, { recursive: true });
    expect(await look(files)).toMatchObject({ present: false });
  });

  it('bounds its work', async () => {
    const files = makeFiles();
    for (let n = 0; n < 1500; n += 1) writeFileSync(join(files.directory, 'lib', `file-${n}`), '');
    const before = await look(files);
    expect(before.fingerprint.split('\n').length).toBeLessThan(1100);
    chmodSync(files.executable, 0o700);
    expect(await look(files)).not.toEqual(before);
  });

  it.skipIf(lacks('mounts'))('does not touch what is mounted below the directory', async () => {
    const files = makeFiles();
    const mounted = join(files.directory, 'lib', 'a b');
    mkdirSync(mounted);
    execFileSync('mount', ['-t', 'tmpfs', 'none', mounted]);
    try {
      const before = await look(files);
      writeFileSync(join(mounted, 'data'), '');
      chmodSync(mounted, 0o700);
      expect(await look(files)).toEqual(before);
    } finally {
      execFileSync('umount', [mounted]);
    }
  });
});

describe('Hold', () => {
  async function isRemovedAfter(files: DriverFiles, change: () => void): Promise<boolean> {
    const hold = await Hold.on(files);
    try {
      expect(hold.isRemoved()).toBe(false);
      change();
      return hold.isRemoved();
    } finally {
      hold.release();
    }
  }

  it('tells a removed executable and directory from renamed ones', async () => {
    let files = makeFiles();
    expect(await isRemovedAfter(files, () => unlinkSync(files.executable))).toBe(true);
    files = makeFiles();
    expect(await isRemovedAfter(files, () => rmSync(files.directory, { recursive: true }))).toBe(true);
    files = makeFiles();
    expect(await isRemovedAfter(files, () => renameSync(files.executable, join(files.root, 'away')))).toBe(
      false,
    );
    files = makeFiles();
    expect(await isRemovedAfter(files, () => renameSync(files.directory, join(files.root, 'away')))).toBe(
      false,
    );
  });

  it('tells it of links, not of what they lead to', async () => {
    const files = makeFiles();
    const link = join(files.directory, 'link');
    symlinkSync('x', link);
    expect(await isRemovedAfter({ executable: link }, () => unlinkSync(files.executable))).toBe(false);
    expect(await isRemovedAfter({ executable: link }, () => unlinkSync(link))).toBe(true);
  });

  it.skipIf(lacks('mounts'))('tells it of files that come with an image', async () => {
    const root = temporaryDirectory();
    for (const name of ['lower/vendor~x', 'upper', 'work', 'merged'])
      mkdirSync(join(root, name), { recursive: true });
    writeFileSync(join(root, 'lower/vendor~x/x'), '1');
    const layers = `lowerdir=${root}/lower,upperdir=${root}/upper,workdir=${root}/work`;
    execFileSync('mount', ['-t', 'overlay', 'none', '-o', layers, join(root, 'merged')]);
    try {
      const directory = join(root, 'merged/vendor~x');
      const executable = join(directory, 'x');
      expect(await isRemovedAfter({ executable, directory }, () => unlinkSync(executable))).toBe(true);
    } finally {
      execFileSync('umount', [join(root, 'merged')]);
    }
  });

  it('refuses what is not there, and leaves nothing open', async () => {
    const { directory } = makeFiles();
    const executable = join(directory, 'x');
    await expect(Hold.on({ executable, directory: '/no/such/directory' })).rejects.toThrow('ENOENT');
    const hold = await Hold.on({ executable, directory });
    hold.release();
  });
});
