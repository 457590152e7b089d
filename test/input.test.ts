import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmdirSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { type Command, createRun, type Ended } from '../src/process.ts';
import { isRunning } from './support/processes.ts';

const MIB = 1024 * 1024;
/** The most that a pipe takes without a reader. */
const PIPE_BYTES = 65_536;
const run = createRun();

function sh(script: string, stdin: string, rest: Partial<Command> = {}): Promise<Ended> {
  return run({ file: '/bin/sh', args: ['-c', script], stdin, timeoutMs: 30_000, ...rest });
}

/** So many bytes in lines of 64; the lines of two texts differ. */
function lines(bytes: number): string {
  return randomBytes(bytes / 2)
    .toString('hex')
    .replace(/.{64}/g, (line) => `${line.slice(1)}\n`);
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** Leaves a child behind that holds standard input and nothing else, and prints its process id. */
const leaveHolder = 'exec 3<&0; sleep 60 <&3 3<&- >/dev/null 2>&1 & echo "$!"';

describe('standard input', () => {
  it.each([
    ['cat', 'cat; echo end', 'a\nb\nend\n'],
    ['cat by path', 'cat /dev/stdin; echo end', 'a\nb\nend\n'],
    ['cat by path, when everything was written long ago', 'sleep 0.3; cat /dev/stdin', 'a\nb\n'],
    ['cat by the other path', 'sleep 0.3; cat /proc/self/fd/0', 'a\nb\n'],
    ['cat by path, when everything was read', 'cat; cat /dev/stdin; cat /dev/stdin; echo end', 'a\nb\nend\n'],
    ['read, then cat by path', 'read -r line; echo "<$line>"; cat /dev/stdin', '<a>\nb\n'],
    ['a loop over it', 'while read -r line; do echo "<$line>"; done </dev/stdin', '<a>\n<b>\n'],
    [
      'a loop that opens it each time',
      'while read -r line </dev/stdin; do echo "<$line>"; done',
      '<a>\n<b>\n',
    ],
    ['a test for a pipe', '[ -p /dev/stdin ] && cat', 'a\nb\n'],
  ])('is read to its end by %s', async (_name, script, output) => {
    const ended = await sh(script, 'a\nb\n');
    expect({ timedOut: ended.timedOut, output: ended.output.toString() }).toEqual({
      timedOut: false,
      output,
    });
  });

  it('is a pipe without a name that only its owner can open', async () => {
    const ended = await sh('stat -Lc "%a %F %u" /dev/stdin; readlink /proc/self/fd/0', 'secret');
    expect(ended.output.toString()).toMatch(
      new RegExp(`^600 fifo ${process.getuid?.()}\\npipe:\\[\\d+\\]\\n$`),
    );
  });

  it.each([
    ['nothing', 0, 'sha256sum'],
    ['as much as a pipe takes', PIPE_BYTES, 'sha256sum'],
    ['a line more', PIPE_BYTES + 64, 'sha256sum'],
    ['4 MiB', 4 * MIB, 'sha256sum'],
    ['4 MiB, by path', 4 * MIB, 'sha256sum </dev/stdin'],
    [
      '1 MiB, slowly',
      MIB,
      'sleep 0.3; { head -c 100000; sleep 0.3; head -c 300000; sleep 0.3; cat; } | sha256sum',
    ],
  ])('may be %s', async (_name, bytes, script) => {
    const stdin = lines(bytes);
    const ended = await sh(script, stdin);
    expect(ended.output.toString()).toBe(`${sha256(stdin)}  -\n`);
  });

  it.each([
    ['reads the first line', 'read -r line; echo "$line" | tail -c 10; exit 3', 3],
    ['reads nothing', 'exit 3', 3],
    ['closes it', 'exec <&-; sleep 0.2; exit 3', 3],
    ['closes it after a line', 'read -r line; exec <&-; sleep 0.2; exit 3', 3],
  ])('is of no importance to a program that %s', async (_name, script, exitCode) => {
    expect(await sh(script, lines(4 * MIB))).toMatchObject({ exitCode, timedOut: false });
  });

  it('holds up nothing else while nobody reads it', async () => {
    const unread = sh('sleep 3', lines(4 * MIB)).then(() => 'unread');
    const other = sh('cat', 'x').then(() => 'other');
    expect(await Promise.race([unread, other])).toBe('other');
    await unread;
  });

  it('does not outlast the time limit', async () => {
    const slow = 'while head -c 1000 >/dev/null; do sleep 0.1; done';
    const ended = await Promise.all(
      ['sleep 77', slow].map((script) => sh(script, lines(4 * MIB), { timeoutMs: 300 })),
    );
    expect(ended).toMatchObject(Array(2).fill({ timedOut: true, signal: 'SIGTERM' }));
  });

  it('may be held by a daemon, which is neither waited for nor ended', async () => {
    const ended = await sh(leaveHolder, lines(MIB));
    const daemon = Number(ended.output.toString());
    expect(ended).toMatchObject({ exitCode: 0, timedOut: false });
    expect(isRunning(daemon)).toBe(true);
    process.kill(daemon);
  });

  it.each([
    ['/does/not/exist', [], 'ENOENT'],
    ['/etc', [], 'EACCES'],
    ['true', ['nul\0byte'], 'EINVAL'],
  ])('changes nothing about %s, which cannot be started', async (file, args, startError) => {
    const ended = await run({ file, args, stdin: lines(MIB), timeoutMs: 10_000 });
    expect(ended.startError).toBe(startError);
  });
});

describe('what is left in standard input', () => {
  it('is read by no later program', async () => {
    await sh('read -r line', lines(1024));
    await sh('exit 0', lines(MIB));
    expect((await sh('cat', 'mine')).output.toString()).toBe('mine');
    const without = await run({ file: 'cat', args: [], timeoutMs: 10_000 });
    expect(without).toMatchObject({ exitCode: 0, output: Buffer.alloc(0) });
  });

  it("is its program's own daemon's, which gets nothing of later programs", async () => {
    const directory = mkdtempSync(join(tmpdir(), 'flexcsi-input-'));
    const file = join(directory, 'read');
    const stdin = lines(PIPE_BYTES);
    await sh(`exec 3<&0; { sleep 1; cat <&3 >'${file}'; echo end >>'${file}'; } >/dev/null 2>&1 &`, stdin);
    await sh('exit 0', lines(MIB));
    await sh('sleep 1.5', lines(MIB));
    await vi.waitFor(() => expect(readFileSync(file, 'utf8')).toMatch(/end\n$/), 10_000);
    expect(sha256(readFileSync(file, 'utf8'))).toBe(sha256(`${stdin}end\n`));
    unlinkSync(file);
    rmdirSync(directory);
  });
});

describe('50 programs with a standard input of 1 MiB leave no descriptor open', () => {
  const descriptors = (): number => readdirSync('/proc/self/fd').length;
  const stdin = lines(MIB);

  it.each<[string, Partial<Command>]>([
    ['that read it', { file: 'sha256sum', args: [] }],
    ['that read it by path', { file: 'sha256sum', args: ['/dev/stdin'] }],
    ['that read a line', { args: ['-c', 'read -r line'] }],
    ['that read nothing', { args: ['-c', 'exit 0'] }],
    ['that close it', { args: ['-c', 'exec <&-; sleep 0.01'] }],
    ['that leave a child with it', { args: ['-c', leaveHolder] }],
    ['that cannot be started', { file: '/does/not/exist', args: [] }],
    ['with arguments that cannot be passed', { args: ['nul\0byte'] }],
    ['that are ended at the time limit', { args: ['-c', 'sleep 77'], timeoutMs: 20 }],
  ])('%s', { timeout: 60_000 }, async (_name, command) => {
    const daemons: number[] = [];
    const once = async (): Promise<void> => {
      const { output } = await sh('', stdin, command);
      if (command.args?.includes(leaveHolder)) daemons.push(Number(output.toString()));
    };
    await once();
    const before = descriptors();
    for (let count = 0; count < 50; count++) await once();
    // Some may come and go with the test runner; what leaks, leaks 50 times.
    await vi.waitFor(() => expect(descriptors()).toBeLessThan(before + 10));
    for (const daemon of daemons) process.kill(daemon);
  });
});
