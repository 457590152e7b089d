import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Command, createRun, type Ended } from '../src/process.ts';
import { isRunning } from './support/processes.ts';
import { lacks } from './support/requirements.ts';

const run = createRun();

function sh(script: string, stdin: string, rest: Partial<Command> = {}): Promise<Ended> {
  return run({ file: '/bin/sh', args: ['-c', script], stdin, timeoutMs: 30_000, ...rest });
}

describe('standard input', () => {
  it.each([
    ['cat', 'cat; echo end', 'a\nb\nend\n'],
    ['cat by path', 'sleep 0.1; cat /dev/stdin; echo end', 'a\nb\nend\n'],
    ['cat by the other path', 'cat /proc/self/fd/0', 'a\nb\n'],
    ['read, then cat', 'read -r line; echo "<$line>"; cat', '<a>\nb\n'],
    ['a loop', 'while read -r line; do echo "<$line>"; done </dev/stdin', '<a>\n<b>\n'],
    ['a command substitution', 'json=$(cat); echo "$json"', 'a\nb\n'],
  ])('is read to its end by %s', async (_name, script, output) => {
    expect((await sh(script, 'a\nb\n')).output.toString()).toBe(output);
  });

  it.each([
    ['reads nothing', ':'],
    ['closes it', 'exec <&-'],
    ['reads a line', 'read -r line'],
  ])('does not trouble a program that %s', async (_name, script) => {
    expect((await sh(script, 'secret\n'.repeat(100_000))).exitCode).toBe(0);
  });

  it('may be long, and read slowly', async () => {
    const text = 'x'.repeat(4 * 1024 * 1024);
    const ended = await sh('dd bs=64k count=4 status=none; sleep 0.2; cat', text, {
      maxOutputBytes: 2 ** 23,
    });
    const hash = (bytes: string | Buffer): string => createHash('sha256').update(bytes).digest('hex');
    expect(hash(ended.output)).toBe(hash(text));
  });

  it('has no name, and is for its owner alone', async () => {
    const ended = await sh('stat -Lc "%a %h %u" /dev/stdin', 'secret');
    expect(ended.output.toString()).toBe(`600 0 ${process.getuid?.()}\n`);
  });

  it("is not the next program's", async () => {
    await sh(':', 'the first secret');
    expect((await sh('cat', '')).output.toString()).toBe('');
  });

  it('stays for a child that still reads it, without holding up the call', async () => {
    const ended = await sh('exec 3<&0; sleep 30 <&3 >/dev/null 2>&1 & echo $!', 'text');
    const daemon = Number(ended.output.toString().trim());
    expect(daemon).toBeGreaterThan(1);
    expect(isRunning(daemon)).toBe(true);
    process.kill(daemon);
  });

  // In a mount namespace of its own: /dev/shm is everybody's here.
  it.skipIf(lacks('mounts')).each([
    ['a directory on a disk', 'mount --bind "$1" /dev/shm', 'not a tmpfs'],
    ['full', 'mount -t tmpfs -o size=4k none /dev/shm', 'ENOSPC'],
  ])('is not written where /dev/shm is %s', (_what, mount, problem) => {
    const directory = mkdtempSync(join(tmpdir(), 'flexcsi-input-'));
    try {
      const input = join(import.meta.dirname, '../src/input.ts');
      const program = `import { openInput } from '${input}'; openInput('secret'.repeat(10000));`;
      const { status, stderr } = spawnSync(
        'unshare',
        [
          '-m',
          'sh',
          '-c',
          `${mount} && exec "$2" --input-type=module -e "$3"`,
          'sh',
          directory,
          process.execPath,
          program,
        ],
        { encoding: 'utf8' },
      );
      expect(status).toBe(1);
      expect(stderr).toContain(
        `${problem}, from /dev/shm: a tmpfs with room for the options is needed there`,
      );
      expect(readdirSync(directory)).toEqual([]);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('leaves no descriptor open', async () => {
    await sh('cat', 'warm up');
    const descriptors = (): number => readdirSync('/proc/self/fd').length;
    const before = descriptors();
    for (let time = 0; time < 20; time += 1) {
      await sh('read -r line', 'a\nb\n');
      await run({ file: '/no/such/program', args: [], stdin: 'text', timeoutMs: 1000 });
    }
    expect(descriptors()).toBeLessThanOrEqual(before);
  });
});
