import { lstatSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makePrivateDirectory } from '../../src/state/directory.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'flexcsi-directory-'));
});

afterEach(() => rmSync(directory, { recursive: true }));

describe('makePrivateDirectory', () => {
  it('makes what is missing for its owner only, and leaves what is there', async () => {
    mkdirSync(join(directory, 'there'), 0o755);
    await makePrivateDirectory(join(directory, 'there/a/b'));
    await makePrivateDirectory(join(directory, 'there/a/b'));
    const modes = ['there', 'there/a', 'there/a/b'].map(
      (name) => lstatSync(join(directory, name)).mode & 0o777,
    );
    expect(modes).toEqual([0o755, 0o700, 0o700]);
  });

  it('makes one for many at once, though all miss the directories above', async () => {
    for (let round = 0; round < 20; round++) {
      const paths = Array.from({ length: 20 }, (_, index) =>
        join(directory, `${round}/state/${index % 5}/volumes`),
      );
      await Promise.all(paths.map((path) => makePrivateDirectory(path)));
      for (const path of paths) expect(lstatSync(path).isDirectory()).toBe(true);
    }
  });

  it('says what is in the way', async () => {
    writeFileSync(join(directory, 'file'), '');
    await expect(makePrivateDirectory(join(directory, 'file'))).rejects.toThrow('EEXIST');
    await expect(makePrivateDirectory(join(directory, 'file/a'))).rejects.toThrow('ENOTDIR');
    await expect(makePrivateDirectory('/proc/nowhere')).rejects.toThrow('ENOENT');
    await expect(makePrivateDirectory('/proc/nowhere/a')).rejects.toThrow('ENOENT');
  });
});
