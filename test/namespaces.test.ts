import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { enterHost, type Side } from '../src/namespaces.ts';
import { createRun } from '../src/process.ts';
import { OtherSide } from './support/other-side.ts';
import { lacks } from './support/requirements.ts';

const run = createRun();
const timeoutMs = 20_000;

describe.skipIf(lacks('root'))('the other side', () => {
  const directory = mkdtempSync(join(tmpdir(), 'flexcsi-side-'));
  const there = join(directory, 'there');
  let other: OtherSide;
  let side: Side;

  beforeAll(async () => {
    mkdirSync(there);
    other = await OtherSide.start(`mount -t tmpfs other ${there}; echo other > ${there}/file`);
    side = await enterHost(run, other.pid);
  });

  afterAll(async () => {
    await other.end();
    rmSync(directory, { recursive: true });
  });

  const sh = (script: string, ...args: string[]) =>
    side.run({ file: 'sh', args: ['-c', script, 'sh', ...args], timeoutMs });

  it('is where programs run, as first in their order and with all that they print', async () => {
    const ended = await sh('cat "$1"; echo error >&2; echo $$; exit 3', join(there, 'file'));
    expect(ended).toMatchObject({ exitCode: 3, timedOut: false, abandoned: false });
    expect(ended.startError).toBeUndefined();
    // A process id of the other side: there are few.
    expect(ended.output.toString()).toMatch(/^other\nerror\n\d{1,4}\n$/);
    expect(existsSync(join(there, 'file'))).toBe(false);
  });

  it('is where mounts are made', async () => {
    const path = join(there, 'mounted');
    await sh('mkdir "$1" && mount -t tmpfs mine "$1"', path);
    expect(readFileSync(side.files.mountInfo, 'utf8')).toContain(` ${path} `);
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(` ${path} `);
  });

  it('takes arguments, standard input and the directory as they are', async () => {
    const args = ['a b', '', 'q\'"\\', '$(x)', '-e', '--', 'ä\n'];
    const ended = await side.run({
      file: 'sh',
      args: ['-c', 'pwd; cat; for a in "$@"; do printf "<%s>" "$a"; done', 'sh', ...args],
      stdin: 'typed\n',
      cwd: there,
      timeoutMs,
    });
    expect(ended.output.toString()).toBe(`${there}\ntyped\n${args.map((arg) => `<${arg}>`).join('')}`);
  });

  it('has the PATH of a host and the environment that was asked for', async () => {
    const ended = await side.run({ file: 'env', args: [], env: { A: 'b', PATH: '/nowhere' }, timeoutMs });
    expect(ended.output.toString().split('\n')).toEqual(
      expect.arrayContaining(['A=b', expect.stringMatching(/^PATH=\/usr\/local\/sbin:.*:\/bin$/)]),
    );
  });

  it.each(['/no/such/program', 'no-such-program'])('says that %s is not there', async (file) => {
    expect(await side.run({ file, args: [], timeoutMs })).toMatchObject({ startError: 'ENOENT' });
  });

  it('tells by which signal a program ended', async () => {
    expect(await sh('kill -TERM $$')).toMatchObject({ signal: 'SIGTERM' });
  });

  it('ends a program with all its children at the time limit', async () => {
    const started = performance.now();
    const ended = await side.run({
      file: 'sh',
      args: ['-c', 'sleep 1000 & echo $! > "$1"; wait', 'sh', join(there, 'child')],
      timeoutMs: 500,
    });
    expect(ended).toMatchObject({ timedOut: true, abandoned: false });
    expect(performance.now() - started).toBeLessThan(15_000);
    // Nobody reaps there: what has ended may stay as a zombie.
    const state = 'cat "/proc/$(cat "$1")/stat" 2>/dev/null || echo gone';
    expect(other.sh(state, join(there, 'child'))).toMatch(/^gone|\) Z /);
  });

  it('leaves what a driver leaves running, outside of our cgroup', async () => {
    const script = 'sleep 1000 & cat /proc/self/cgroup';
    const ended = await side.runDriver({ file: 'sh', args: ['-c', script], timeoutMs });
    expect(ended.exitCode).toBe(0);
    if (side.warning === undefined) {
      expect(ended.output.toString()).toBe(other.sh('cat /proc/1/cgroup'));
    } else {
      expect(side.warning).toMatch(/ends with the container/);
    }
    expect(other.sh('pgrep -f "sleep 1000" | wc -l').trim()).not.toBe('0');
  });

  it('finds files as links mean them there', async () => {
    other.sh(
      'cd "$1"; mkdir -p a/b; echo x > a/b/c; ln -s "$1/a" absolute; ln -s a/b relative; ln -s ../absolute/b a/up; ln -s loop loop',
      there,
    );
    const found = async (path: string) => readFileSync(await side.files.follow(join(there, path)), 'utf8');
    for (const path of ['a/b/c', 'absolute/b/c', 'relative/c', 'a/up/c', 'a/../relative/./c']) {
      expect(await found(path)).toBe('x\n');
    }
    expect(await side.files.find(join(there, 'absolute'))).toBe(`/proc/${other.pid}/root${there}/absolute`);
    expect(await side.files.follow(join(there, 'absolute'))).toBe(`/proc/${other.pid}/root${there}/a`);
    await expect(side.files.follow(join(there, 'loop/x'))).rejects.toThrow('ELOOP');
    await expect(found('missing/file')).rejects.toThrow('ENOENT');
    expect(await side.files.follow('/..')).toBe(`/proc/${other.pid}/root`);
  });

  it('is refused where it cannot be entered, with what is needed', async () => {
    await expect(enterHost(run, 2 ** 22 + 1)).rejects.toThrow(
      /^--host: process 4194305 \(--host-pid\) cannot be looked at: .*hostPID/,
    );
  });
});
