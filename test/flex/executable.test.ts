import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Failure } from '../../src/errors.ts';
import { checkExecutable } from '../../src/flex/executable.ts';
import { createRun } from '../../src/process.ts';
import { lacks } from '../support/requirements.ts';
import { temporaryDirectory } from './drivers.ts';

const program = readFileSync(process.execPath).subarray(0, 4096);

function write(content: string | Uint8Array, mode = 0o755): string {
  const file = join(temporaryDirectory(), 'driver');
  writeFileSync(file, content);
  chmodSync(file, mode);
  return file;
}

function makePipe(): string {
  const pipe = join(temporaryDirectory(), 'driver');
  execFileSync('mkfifo', ['-m', '0755', pipe]);
  return pipe;
}

/** The first bytes of a program with some replaced. */
function patched(at: number, bytes: readonly number[]): Buffer {
  const copy = Buffer.from(program);
  copy.set(bytes, at);
  return copy;
}

describe('checkExecutable', () => {
  it.each([
    ['#!/bin/sh\n'],
    ['#! /bin/sh -e\n'],
    ['#!/usr/bin/env no-such-program\n'],
    ['#!/bin/sh'],
    ['#!bin/sh\n'],
    [`#!/bin/sh ${'x'.repeat(300)}\n`],
  ])('accepts a script that begins with %j', async (text) => {
    await expect(checkExecutable(write(text))).resolves.toBeUndefined();
  });

  it('accepts a program and a symbolic link to one, and both start', async () => {
    const directory = temporaryDirectory();
    copyFileSync('/bin/true', join(directory, 'program'));
    symlinkSync('program', join(directory, 'link'));
    for (const name of ['program', 'link']) {
      const file = join(directory, name);
      await checkExecutable(file);
      expect(await createRun()({ file, args: [], timeoutMs: 10_000 })).toMatchObject({ exitCode: 0 });
    }
  });

  const little = program[5] === 1;
  const other = process.arch === 's390x' ? 62 : 22;

  it.each<[string, () => string, RegExp]>([
    ['missing', () => '/no/such/driver', /^\/no\/such\/driver does not exist/],
    ['below a file', () => join(write('x'), 'driver'), /cannot be used: ENOTDIR/],
    ['a directory', temporaryDirectory, /is a directory/],
    ['a pipe', makePipe, /is no regular file/],
    ['not executable', () => write('#!/bin/sh\n', 0o644), /is not executable: run chmod \+x/],
    ['empty', () => write(''), /is empty/],
    ['text without #!', () => write('echo\n'), /neither a program nor a script: .*#!\/bin\/sh/],
    ['#! after a byte order mark', () => write('\ufeff#!/bin/sh\n'), /without anything before it/],
    ['#! alone', () => write('#!\n'), /names no interpreter/],
    [
      'an interpreter that is missing',
      () => write('#!/no/such/sh -e\n'),
      /needs the interpreter \/no\/such\/sh, which does not exist/,
    ],
    [
      'an interpreter that is a directory',
      () => write('#!/etc\n'),
      /interpreter \/etc, which is a directory/,
    ],
    [
      'an interpreter that is not executable',
      () => write('#!/etc/passwd\n'),
      /interpreter \/etc\/passwd, which is not executable/,
    ],
    ['DOS line ends', () => write('#!/bin/sh\r\necho\r\n'), /DOS line ends/],
    ['DOS line ends after an argument', () => write('#!/bin/sh -e\r\n'), /DOS line ends/],
    ['a first line too long for the kernel', () => write(`#!/${'x'.repeat(300)}\n`), /more than 256 bytes/],
    [
      'a program for another machine',
      () => write(patched(18, little ? [other, 0] : [0, other])),
      /is a program for .*, but this machine is/,
    ],
    [
      'a program for an unknown machine',
      () => write(patched(18, [0xee, 0xee])),
      /program for machine type \d+/,
    ],
    ['the start of a program', () => write(program.subarray(0, 30)), /truncated/],
    ['a program without its header table', () => write(program.subarray(0, 70)), /truncated/],
  ])('refuses one that is %s', async (_, make, message) => {
    const failure = await checkExecutable(make()).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(Failure);
    expect(failure).toMatchObject({ kind: 'driver-unusable', message: expect.stringMatching(message) });
  });

  it('refuses a link that leads nowhere', async () => {
    const link = join(temporaryDirectory(), 'driver');
    symlinkSync('gone', link);
    await expect(checkExecutable(link)).rejects.toThrow('is a symbolic link to a file that does not exist');
  });

  it('refuses a link to a directory', async () => {
    const directory = temporaryDirectory();
    mkdirSync(join(directory, 'd'));
    symlinkSync('d', join(directory, 'driver'));
    await expect(checkExecutable(join(directory, 'driver'))).rejects.toThrow('is a directory');
  });

  it.skipIf(lacks('mounts'))('refuses one on a file system where nothing may be executed', async () => {
    const directory = temporaryDirectory();
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'noexec', 'none', directory]);
    try {
      const file = join(directory, 'driver');
      writeFileSync(file, '#!/bin/sh\n', { mode: 0o755 });
      await expect(checkExecutable(file)).rejects.toThrow('is its file system mounted noexec?');
    } finally {
      execFileSync('umount', [directory]);
    }
  });
});
