import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { createRun } from '../src/process.ts';
import { isRunning } from './support/processes.ts';

const run = createRun();

describe('run', () => {
  it('keeps stdout and stderr in the order in which they were written', async () => {
    const script = 'echo 1; echo 2 >&2; echo 3; echo 4 >/dev/stderr; echo 5 >/dev/stdout; exit 3';
    const ended = await run({ file: '/bin/sh', args: ['-c', script], timeoutMs: 10_000 });
    expect(ended).toMatchObject({ exitCode: 3, timedOut: false, tooMuchOutput: false });
    expect(ended.output.toString()).toBe('1\n2\n3\n4\n5\n');
  });

  it('ends at the exit of the program though a daemon holds its output, and does not kill the daemon', async () => {
    const script = '(sleep 1; echo late; echo later; sleep 5) & echo "$!"';
    const ended = await run({ file: '/bin/sh', args: ['-c', script], timeoutMs: 10_000 });
    expect(ended.durationMs).toBeLessThan(1000);
    const daemon = Number(ended.output.toString());
    await new Promise((resolve) => setTimeout(resolve, 1500));
    // Still alive after it wrote to the pipe: the reading end was not closed on it.
    expect(isRunning(daemon)).toBe(true);
    process.kill(daemon);
  });

  it('waits for an answer that comes late through a pipe, and for no more than the answer', async () => {
    const script = 'exec > >(sleep 0.7; cat; sleep 60) 2>&1; echo answer';
    const isComplete = (output: Buffer): boolean => output.includes('answer');
    const ended = await run({ file: '/bin/bash', args: ['-c', script], timeoutMs: 20_000, isComplete });
    expect(ended.output.toString()).toBe('answer\n');
    expect(ended.durationMs).toBeLessThan(10_000);
  });

  it('drops what is too much, where it may not end the program', async () => {
    const script = 'head -c 3000000 /dev/zero; exit 3';
    const ended = await run({
      file: '/bin/sh',
      args: ['-c', script],
      timeoutMs: 20_000,
      onTooMuchOutput: 'drop',
    });
    expect(ended).toMatchObject({ exitCode: 3, tooMuchOutput: true });
    expect(ended.output.length).toBe(1024 * 1024);
  });

  it('answers instead of throwing when no more files can be opened', async () => {
    const program = `
      import { createRun } from '${join(import.meta.dirname, '../src/process.ts')}';
      const run = createRun();
      const all = await Promise.all(Array.from({ length: 60 }, () => run({ file: 'true', args: [], timeoutMs: 10_000 })));
      const failed = all.filter(({ exitCode }) => exitCode !== 0);
      const after = await run({ file: 'true', args: [], timeoutMs: 10_000 });
      console.log(JSON.stringify({ failed: failed.length > 0, codes: [...new Set(failed.map((e) => e.startError))], after: after.exitCode }));
    `;
    const before = readdirSync(tmpdir()).filter((name) => /^flexcsi-\w{6}$/.test(name));
    const script = 'ulimit -n 60; exec "$0" --input-type=module -e "$1"';
    const { stdout } = spawnSync('/bin/sh', ['-c', script, process.execPath, program], { encoding: 'utf8' });
    expect(JSON.parse(stdout)).toEqual({ failed: true, codes: ['EMFILE'], after: 0 });
    const after = readdirSync(tmpdir()).filter(
      (name) => /^flexcsi-\w{6}$/.test(name) && !before.includes(name),
    );
    expect(after).toEqual([]);
  });

  it('gives output of its own to each of many programs at once', async () => {
    const numbers = Array.from({ length: 40 }, (_, index) => index);
    const outputs = await Promise.all(
      numbers.map(async (n) => {
        const ended = await run({
          file: '/bin/sh',
          args: ['-c', `sleep 0.0${n % 5}; echo ${n}`],
          timeoutMs: 20_000,
        });
        return Number(ended.output.toString());
      }),
    );
    expect(outputs).toEqual(numbers);
  });

  it('lasts until the tools of a program that crashed have done what they had begun', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'flexcsi-test-'));
    const late = join(directory, 'late');
    const script = '(sleep 1; echo done > "$1") & kill -KILL $$';
    const ended = await run({ file: '/bin/sh', args: ['-c', script, 'sh', late], timeoutMs: 20_000 });
    expect(ended).toMatchObject({ signal: 'SIGKILL', timedOut: false, abandoned: false });
    expect(readFileSync(late, 'utf8')).toBe('done\n');
    rmSync(directory, { recursive: true });
  });

  it('ends the tools of a program that crashed at the time limit', async () => {
    const script = 'sleep 1000 & echo $!; sleep 0.2; kill -KILL $$';
    const ended = await run({ file: '/bin/sh', args: ['-c', script], timeoutMs: 1_000 });
    expect(ended).toMatchObject({ signal: 'SIGKILL', timedOut: true, abandoned: false });
    expect(isRunning(Number(ended.output.toString()))).toBe(false);
  });

  it('leaves the children of a program alone that fails by itself', async () => {
    const ended = await run({
      file: '/bin/sh',
      args: ['-c', 'sleep 60 & echo $!; exit 3'],
      timeoutMs: 20_000,
    });
    const child = Number(ended.output.toString());
    expect(ended.exitCode).toBe(3);
    expect(isRunning(child)).toBe(true);
    process.kill(child);
  });

  it('ends the whole process group at the time limit', async () => {
    const ended = await run({ file: '/bin/sh', args: ['-c', 'sleep 77 & echo $!; wait'], timeoutMs: 300 });
    expect(ended).toMatchObject({ timedOut: true, signal: 'SIGTERM' });
    const child = Number(ended.output.toString());
    await vi.waitFor(() => expect(isRunning(child)).toBe(false));
  });

  it('lets a program that ignores SIGTERM end well', async () => {
    const script = "trap '' TERM; sleep 1 & wait; sleep 0.5; echo done";
    const ended = await run({ file: '/bin/sh', args: ['-c', script], timeoutMs: 200 });
    expect(ended).toMatchObject({ timedOut: true, exitCode: 0 });
    expect(ended.output.toString()).toBe('done\n');
  });

  it('ends a program that prints more than the limit', async () => {
    const ended = await run({ file: 'yes', args: [], timeoutMs: 10_000, maxOutputBytes: 1000 });
    expect(ended).toMatchObject({ tooMuchOutput: true, signal: 'SIGTERM' });
    expect(ended.output.length).toBe(1000);
  });

  it.each([
    ['/does/not/exist', [], 'ENOENT'],
    ['/etc/passwd', [], 'EACCES'],
    ['/etc', [], 'EACCES'],
    ['true', ['x'.repeat(131_072)], 'E2BIG'],
    ['true', ['nul\0byte'], 'EINVAL'],
  ])('says why %s could not be started', async (file, args, startError) => {
    const ended = await run({ file, args, timeoutMs: 10_000 });
    expect(ended.startError).toBe(startError);
    expect(ended.exitCode).toBeUndefined();
  });

  it('gives the program an empty standard input, / as directory and the named environment only', async () => {
    const ended = await run({
      file: '/bin/sh',
      args: ['-c', 'cat; pwd; env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= -e ^OLDPWD='],
      env: { A: 'b' },
      timeoutMs: 10_000,
    });
    expect(ended.output.toString()).toBe('/\nA=b\n');
  });

  it('writes the given text to standard input', async () => {
    const ended = await run({ file: 'cat', args: [], stdin: 'hello', timeoutMs: 10_000 });
    expect(ended.output.toString()).toBe('hello');
  });
});
