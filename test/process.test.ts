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
