import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lacks } from '../support/requirements.ts';
import { isMounted, mountsBelow } from '../support/scenario.ts';
import { bundled, createCall, optionsText } from './support/driver.ts';

describe('the dir driver', () => {
  const file = bundled('flexcsi~dir');
  const call = createCall(file);
  let directory: string;
  let data: string;
  let target: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'flexcsi-dir-'));
    data = join(directory, 'the data');
    target = join(directory, 'target');
    mkdirSync(data);
    mkdirSync(target);
  });

  afterEach(() => {
    for (const path of mountsBelow(directory)) execFileSync('umount', [path]);
    rmSync(directory, { recursive: true });
  });

  const options = (path: string, readwrite = 'rw') =>
    optionsText({ path, 'kubernetes.io/readwrite': readwrite, other: '"path":"/etc"' });

  it('needs no attach', async () => {
    expect(await call('init')).toMatchObject({ status: 'Success', capabilities: { attach: false } });
  });

  it('does not know other verbs', async () => {
    expect(await call('attach', '{}', 'node')).toMatchObject({ status: 'Not supported' });
  });

  it.skipIf(lacks('mounts'))('mounts the directory, twice is once, and unmounts it, twice too', async () => {
    writeFileSync(join(data, 'file'), 'data');
    for (const _time of [1, 2]) {
      expect(await call('mount', target, options(data))).toMatchObject({ status: 'Success' });
    }
    expect(readFileSync(join(target, 'file'), 'utf8')).toBe('data');
    for (const _time of [1, 2]) {
      expect(await call('unmount', target)).toMatchObject({ status: 'Success' });
      expect(isMounted(target)).toBe(false);
    }
  });

  it.skipIf(lacks('mounts'))('mounts read-only', async () => {
    expect(await call('mount', target, options(data, 'ro'))).toMatchObject({ status: 'Success' });
    expect(() => writeFileSync(join(target, 'file'), 'x')).toThrow(/EROFS/);
  });

  it.each([
    ['relative/path', 'option path: an absolute path without quotes and backslashes is required'],
    ['', 'option path: an absolute path without quotes and backslashes is required'],
    ['/a"b', 'option path: an absolute path without quotes and backslashes is required'],
    ['/does/not/exist', 'option path: there is no such directory on this node'],
  ])('refuses the path %j', async (path, message) => {
    expect(await call('mount', target, options(path))).toMatchObject({ status: 'Failure', message });
    expect(isMounted(target)).toBe(false);
  });

  it.skipIf(lacks('shellcheck'))('is clean to shellcheck', () => {
    execFileSync('shellcheck', [file]);
  });
});
