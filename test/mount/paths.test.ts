import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  linkTarget,
  makeDirectory,
  makeFile,
  pathState,
  realPath,
  removeEmptyDirectory,
  removeFile,
} from '../../src/mount/paths.ts';
import { lacks } from '../support/requirements.ts';
import { host, impatient, run, useSandbox } from './support/sandbox.ts';

const sandbox = useSandbox();

function mode(path: string): string {
  return (statSync(path).mode & 0o7777).toString(8);
}

describe('pathState', () => {
  it.each([
    ['a file', (path: string) => writeFileSync(path, 'x'), 'file'],
    ['an empty file', (path: string) => writeFileSync(path, ''), 'file'],
    ['a directory', (path: string) => mkdirSync(path), 'directory'],
    ['a link to a directory', (path: string) => symlinkSync('/', path), 'symlink'],
    ['a link to nothing', (path: string) => symlinkSync('/does/not/exist', path), 'symlink'],
    ['a FIFO', (path: string) => run('mkfifo', path), 'other'],
    ['nothing', () => {}, 'missing'],
  ])('sees %s', async (_, make, kind) => {
    const path = join(sandbox().path, "odd: name's\nline");
    make(path);
    expect(await pathState(host, path)).toEqual({ kind });
  });

  it('sees nothing below a file', async () => {
    expect(await pathState(host, '/etc/passwd/x')).toEqual({ kind: 'missing' });
  });

  it('does not take an error for nothing', async () => {
    const path = join(sandbox().path, 'x'.repeat(300));
    await expect(pathState(host, path)).rejects.toMatchObject({
      kind: 'host-failed',
      message: expect.stringContaining('File name too long'),
    });
  });

  it.skipIf(lacks('root', 'loop'))('sees a block device', async () => {
    expect(await pathState(host, sandbox().device(1))).toEqual({ kind: 'block-device' });
  });

  it.skipIf(lacks('root', 'fuse'))('sees a dead mount', async () => {
    expect(await pathState(host, await sandbox().deadFuse('dead'))).toEqual({
      kind: 'dead',
      error: 'Transport endpoint is not connected',
    });
  });
});

describe.skipIf(lacks('root', 'fuse'))('on a hung mount', () => {
  it('times out, while this process goes on', async () => {
    const { path } = await sandbox().hungFuse('hung');
    // More than Node has file-system threads.
    const states = Array.from({ length: 6 }, () =>
      pathState(impatient(300), path).catch((error: unknown) => error),
    );
    const parent = realPath(impatient(300), join(path, 'a', 'b')).catch((error: unknown) => error);
    for (let n = 0; n < 20; n++) {
      expect((await host.mounts()).at(path)?.fsType).toBe('fuse');
      expect(await readFile('/etc/hostname', 'utf8')).not.toBe('');
    }
    expect(await pathState(host, sandbox().path)).toEqual({ kind: 'directory' });
    for (const failure of await Promise.all([...states, parent])) {
      expect(failure).toMatchObject({ kind: 'host-timeout' });
    }
  });

  it('answers what does not need the server', async () => {
    const { path } = await sandbox().hungFuse('hung');
    expect(await realPath(impatient(5000), path)).toBe(path);
    expect(await removeEmptyDirectory(impatient(5000), path)).toBe('busy');
  });
});

describe('realPath', () => {
  it('resolves the directory above and keeps the last component', async () => {
    const real = sandbox().directory('real/pods');
    symlinkSync(join(sandbox().path, 'real'), join(sandbox().path, 'kubelet'));
    symlinkSync('/', join(real, 'target'));
    const path = join(sandbox().path, 'kubelet', 'pods', 'target');
    expect(await realPath(host, path)).toBe(join(real, 'target'));
    expect(await realPath(host, `${path}/`)).toBe(join(real, 'target'));
  });

  it('keeps the path where the directory above is missing', async () => {
    expect(await realPath(host, '/does//not/../not/exist/')).toBe('/does/not/exist');
    expect(await realPath(host, '/etc/passwd/x/y')).toBe('/etc/passwd/x/y');
  });

  it('handles line breaks and the root directory', async () => {
    const directory = sandbox().directory('line\nbreak\n');
    expect(await realPath(host, join(directory, 'x'))).toBe(join(directory, 'x'));
    expect(await realPath(host, '/')).toBe('/');
    expect(await realPath(host, '/x')).toBe('/x');
  });
});

describe('linkTarget', () => {
  it('follows all links, and keeps a path where nothing is', async () => {
    const file = join(sandbox().directory('real\n'), 'file');
    writeFileSync(file, '');
    symlinkSync(join(sandbox().path, 'real\n'), join(sandbox().path, 'directory'));
    symlinkSync('directory/file', join(sandbox().path, 'link'));
    symlinkSync('/does/not/exist', join(sandbox().path, 'dangling'));
    expect(await linkTarget(host, join(sandbox().path, 'link'))).toBe(file);
    expect(await linkTarget(host, join(sandbox().path, 'dangling'))).toBe(join(sandbox().path, 'dangling'));
    expect(await linkTarget(host, '/does//not/exist')).toBe('/does//not/exist');
  });
});

describe('makeDirectory', () => {
  let umask: number;
  beforeEach(() => {
    umask = process.umask(0o077);
  });
  afterEach(() => {
    process.umask(umask);
  });

  it('makes missing directories with mode 0750, whatever the umask, and leaves the others alone', async () => {
    const existing = sandbox().directory('existing');
    chmodSync(existing, 0o711);
    await makeDirectory(host, join(existing, 'a', '-b', 'c d\n', ''));
    expect(mode(existing)).toBe('711');
    for (const path of ['a', 'a/-b', 'a/-b/c d\n']) expect(mode(join(existing, path))).toBe('750');
  });

  it('is content with a directory that is there', async () => {
    const existing = sandbox().directory('existing');
    chmodSync(existing, 0o1777);
    await makeDirectory(host, existing);
    expect(mode(existing)).toBe('1777');
  });

  it('makes directories below a link to a directory', async () => {
    symlinkSync(sandbox().directory('disk'), join(sandbox().path, 'link'));
    await makeDirectory(host, join(sandbox().path, 'link', 'a', 'b'));
    expect(mode(join(sandbox().path, 'disk', 'a', 'b'))).toBe('750');
  });

  it('is content when another makes the same directory at the same time', async () => {
    const path = join(sandbox().path, 'a', 'b', 'c');
    await Promise.all(Array.from({ length: 8 }, () => makeDirectory(host, path)));
    expect(mode(path)).toBe('750');
  });

  it.each([
    ['a file', (path: string) => writeFileSync(path, 'x'), 'a file'],
    ['a link to a directory', (path: string) => symlinkSync('/tmp', path), 'a symlink'],
  ])('refuses %s as the directory', async (_, make, what) => {
    const path = join(sandbox().path, 'x');
    make(path);
    await expect(makeDirectory(host, path)).rejects.toMatchObject({
      kind: 'precondition',
      message: `${path} must be a directory, but is ${what}: remove it`,
    });
  });

  it('names the file that stands in the way', async () => {
    const file = join(sandbox().path, 'file');
    writeFileSync(file, '');
    await expect(makeDirectory(host, join(file, 'a', 'b'))).rejects.toMatchObject({
      kind: 'precondition',
      message: `${file} must be a directory, but is a file: remove it`,
    });
  });

  it.skipIf(lacks('root', 'fuse'))('refuses a dead mount', async () => {
    const dead = await sandbox().deadFuse('dead');
    await expect(makeDirectory(host, dead)).rejects.toMatchObject({
      kind: 'precondition',
      message: expect.stringContaining('a dead mount (Transport endpoint is not connected)'),
    });
  });
});

describe('makeFile', () => {
  it('makes an empty file with mode 0640 and the directories above', async () => {
    const path = join(sandbox().path, 'a', 'b', 'dev=x');
    await makeFile(host, path);
    expect(readFileSync(path, 'utf8')).toBe('');
    expect(mode(path)).toBe('640');
    expect(mode(join(sandbox().path, 'a', 'b'))).toBe('750');
  });

  it('leaves a file that is there alone', async () => {
    const path = join(sandbox().path, 'file');
    writeFileSync(path, 'data', { mode: 0o604 });
    await makeFile(host, path);
    expect(readFileSync(path, 'utf8')).toBe('data');
    expect(mode(path)).toBe('604');
  });

  it.each([
    ['a directory', (path: string) => mkdirSync(path)],
    ['a symlink', (path: string) => symlinkSync('/does/not/exist', path)],
  ])('refuses %s', async (what, make) => {
    const path = join(sandbox().path, 'x');
    make(path);
    await expect(makeFile(host, path)).rejects.toMatchObject({
      kind: 'precondition',
      message: `${path} must be a file, but is ${what}: remove it`,
    });
  });
});

describe('removeEmptyDirectory', () => {
  it('removes an empty directory, and says when there is none', async () => {
    const path = sandbox().directory('-x\ny');
    expect(await removeEmptyDirectory(host, path)).toBe('removed');
    expect(await removeEmptyDirectory(host, path)).toBe('missing');
    expect(await removeEmptyDirectory(host, '/etc/passwd/x')).toBe('missing');
  });

  it('leaves what is in a directory alone', async () => {
    const path = sandbox().directory('full');
    writeFileSync(join(path, 'data'), 'precious');
    expect(await removeEmptyDirectory(host, path)).toBe('not-empty');
    expect(readFileSync(join(path, 'data'), 'utf8')).toBe('precious');
  });

  it.skipIf(lacks('mounts'))('leaves a mount point alone', async () => {
    expect(await removeEmptyDirectory(host, sandbox().tmpfs('mounted'))).toBe('busy');
  });

  it.each([
    ['a file', (path: string) => writeFileSync(path, '')],
    ['a symlink', (path: string) => symlinkSync('/tmp', path)],
  ])('refuses %s', async (what, make) => {
    const path = join(sandbox().path, 'x');
    make(path);
    await expect(removeEmptyDirectory(host, path)).rejects.toMatchObject({
      kind: 'precondition',
      message: `${path} is not a directory, but ${what}: remove it`,
    });
    expect(lstatSync(path).isDirectory()).toBe(false);
  });
});

describe('removeFile', () => {
  it('removes an empty file, and says when there is none', async () => {
    const path = join(sandbox().path, '-x');
    writeFileSync(path, '');
    expect(await removeFile(host, path)).toBe('removed');
    expect(await removeFile(host, path)).toBe('missing');
    expect(existsSync(path)).toBe(false);
  });

  it('leaves a file with data alone', async () => {
    const path = join(sandbox().path, 'x');
    writeFileSync(path, 'precious');
    expect(await removeFile(host, path)).toBe('not-empty');
    expect(readFileSync(path, 'utf8')).toBe('precious');
  });

  it.skipIf(lacks('root', 'loop'))('leaves a file on which a device is bound alone', async () => {
    const path = join(sandbox().path, 'target');
    writeFileSync(path, '');
    run('mount', '--bind', sandbox().device(1), path);
    expect(await removeFile(host, path)).toBe('busy');
    run('umount', path);
    expect(await removeFile(host, path)).toBe('removed');
  });

  it.skipIf(lacks('root'))('removes a device node that a driver made', async () => {
    const path = join(sandbox().path, 'node');
    execFileSync('mknod', [path, 'b', '7', '200']);
    expect(await removeFile(host, path)).toBe('removed');
  });

  it.each([
    ['directory', (path: string) => mkdirSync(path)],
    ['symlink', (path: string) => symlinkSync('/etc/passwd', path)],
  ])('refuses a %s', async (what, make) => {
    const path = join(sandbox().path, 'x');
    make(path);
    await expect(removeFile(host, path)).rejects.toMatchObject({
      kind: 'precondition',
      message: `${path} is a ${what}, not the file that was made for the device: remove it`,
    });
    expect(lstatSync(path)).toBeDefined();
  });
});
