/**
 * Whether the kernel can start a driver, asked before each start. Kubelet execs and never runs a shell, but
 * libuv falls back to /bin/sh for what the kernel refuses (ENOEXEC): an empty file would then be a driver
 * that always succeeds in doing nothing, and a program for another machine would be read as a script.
 */
import { access, constants, lstat, open, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { errorCode, Failure } from '../errors.ts';
import { type Files, ownFiles } from '../files.ts';

/** What the kernel reads of a file before it decides how to start it (BINPRM_BUF_SIZE). */
const KERNEL_READS = 256;

/**
 * Resolves when the file can be started. Throws a `Failure` (`driver-unusable`) that names the file, says what
 * is wrong and what to do. A symbolic link is fine. What `#!/usr/bin/env NAME` looks up is not checked.
 */
export async function checkExecutable(file: string, files: Files = ownFiles): Promise<void> {
  await checkFile(files, file, file);
  const { start, size } = await readStart(files, file);
  if (size === 0) throw unusable(`${file} is empty: install the driver again`);
  if (start.subarray(0, 2).toString('latin1') === '#!') return checkInterpreter(files, file, start);
  const fault = start.subarray(0, 4).toString('latin1') === '\x7fELF' ? elfFault(start, size) : undefined;
  if (fault !== undefined) throw unusable(`${file} ${fault}`);
  if (start.subarray(0, 4).toString('latin1') !== '\x7fELF') {
    throw unusable(
      `${file} is neither a program nor a script: a script needs a first line such as #!/bin/sh, without anything before it`,
    );
  }
}

/** That there is a file that may be executed. `subject` names it in messages. */
async function checkFile(files: Files, file: string, subject: string): Promise<void> {
  let mode: number;
  let target: string;
  try {
    target = await files.follow(file);
    const found = await stat(target);
    if (!found.isFile()) {
      const what = found.isDirectory() ? 'a directory' : 'no regular file';
      throw unusable(`${subject} is ${what}: expected an executable file`);
    }
    mode = found.mode;
  } catch (error) {
    if (error instanceof Failure) throw error;
    const code = errorCode(error);
    if (code !== 'ENOENT') throw unusable(`${subject} cannot be used: ${code}`, error);
    const isLink = await lstat(await files.find(file)).then(
      () => true,
      () => false,
    );
    throw unusable(
      isLink
        ? `${subject} is a symbolic link to a file that does not exist`
        : `${subject} does not exist: install it there`,
      error,
    );
  }
  try {
    await access(target, constants.X_OK);
  } catch (error) {
    const what = (mode & 0o111) === 0 ? 'run chmod +x on it' : 'is its file system mounted noexec?';
    throw unusable(`${subject} is not executable: ${what}`, error);
  }
}

async function readStart(files: Files, file: string): Promise<{ start: Buffer; size: number }> {
  try {
    const handle = await open(await files.follow(file));
    try {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(KERNEL_READS), 0, KERNEL_READS, 0);
      return { start: buffer.subarray(0, bytesRead), size: (await handle.stat()).size };
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw unusable(`${file} cannot be read: ${errorCode(error)}`, error);
  }
}

/** The `#!` line as the kernel takes it apart: the first word is the interpreter. */
async function checkInterpreter(files: Files, file: string, start: Buffer): Promise<void> {
  const line = /^#!([^\n]*)/.exec(start.toString())?.[1] ?? '';
  if (line.endsWith('\r')) {
    throw unusable(`${file} has DOS line ends: convert it, with dos2unix or sed -i 's/\\r$//'`);
  }
  const interpreter = /^[ \t]*([^ \t\0]*)/.exec(line)?.[1] ?? '';
  if (interpreter === '') throw unusable(`${file} names no interpreter in its first line (#!)`);
  if (start.length === KERNEL_READS && start.toString().endsWith(interpreter)) {
    throw unusable(
      `${file} has a first line (#!) of more than ${KERNEL_READS} bytes: the kernel refuses that`,
    );
  }
  // Drivers are started in /: a path without a leading slash begins there.
  await checkFile(files, resolve('/', interpreter), `${file} needs the interpreter ${interpreter}, which`);
}

/** ELF's e_machine, by Node's names of machines. */
const machines: Readonly<Record<string, number>> = {
  x64: 62,
  ia32: 3,
  arm64: 183,
  arm: 40,
  ppc64: 21,
  s390x: 22,
  riscv64: 243,
  loong64: 258,
};

/** Machines whose programs a kernel for another one usually runs as well. */
const alsoRuns: Readonly<Record<string, string>> = { x64: 'ia32', arm64: 'arm' };

function elfFault(start: Buffer, size: number): string | undefined {
  const is64 = start[4] === 2;
  if (start.length < (is64 ? 64 : 52)) return 'is a truncated program: install it again';
  const little = start[5] !== 2;
  const number = (at: number, bytes: number): number =>
    little ? start.readUIntLE(at, bytes) : start.readUIntBE(at, bytes);

  const code = number(18, 2);
  const machine = Object.keys(machines).find((name) => machines[name] === code) ?? `machine type ${code}`;
  const runs = [process.arch, alsoRuns[process.arch]];
  if (machines[process.arch] !== undefined && !runs.includes(machine)) {
    return `is a program for ${machine}, but this machine is ${process.arch}: install the right build`;
  }
  // The program header table: without it the kernel refuses the file.
  const wide = (at: number): number => Number(little ? start.readBigUInt64LE(at) : start.readBigUInt64BE(at));
  const table = is64 ? wide(32) : number(28, 4);
  const entries = is64 ? number(54, 2) * number(56, 2) : number(42, 2) * number(44, 2);
  return table + entries > size ? 'is a truncated program: install it again' : undefined;
}

function unusable(message: string, cause?: unknown): Failure {
  return new Failure('driver-unusable', message, cause === undefined ? {} : { cause });
}
