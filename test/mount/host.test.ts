import { describe, expect, it } from 'vitest';
import { Failure } from '../../src/errors.ts';
import {
  createHost,
  hostEnvironment,
  hostFailure,
  mayReadTornMountInfo,
  oneLine,
  runChecked,
} from '../../src/mount/host.ts';
import { createRun, type Ended } from '../../src/process.ts';
import { createMask } from '../../src/secrets.ts';
import { host } from './support/sandbox.ts';

const ended: Ended = {
  output: Buffer.from(''),
  timedOut: false,
  tooMuchOutput: false,
  abandoned: false,
  durationMs: 3000,
};

describe('run', () => {
  it('speaks English and finds programs of the system directories', async () => {
    const { output } = await host.run('sh', ['-c', 'echo "$LC_ALL"; echo "$PATH"']);
    const [locale, path] = output.toString().split('\n');
    expect(locale).toBe('C');
    expect(path?.split(':')).toEqual(expect.arrayContaining(['/sbin', '/usr/sbin', '/usr/local/sbin']));
  });

  it.each([
    ['/bin:/sbin', '/bin:/sbin:/usr/sbin:/usr/local/sbin'],
    ['relative:./x::/bin', '/bin:/sbin:/usr/sbin:/usr/local/sbin'],
    [undefined, '/usr/local/bin:/usr/bin:/bin:/sbin:/usr/sbin:/usr/local/sbin'],
  ])('makes of the PATH %j %j', (own, expected) => {
    expect(hostEnvironment(own === undefined ? {} : { PATH: own }).PATH).toBe(expected);
  });

  it('keeps the rest of the environment', () => {
    expect(hostEnvironment({ A: 'b', LC_ALL: 'de_DE.UTF-8' })).toMatchObject({ A: 'b', LC_ALL: 'C' });
  });
});

describe('mounts', () => {
  it('says when the mount table cannot be read', async () => {
    const blind = createHost(createRun(), { mountInfo: '/does/not/exist' });
    await expect(blind.mounts()).rejects.toMatchObject({
      kind: 'host-failed',
      message: expect.stringContaining('cannot read the mount table: ENOENT'),
    });
  });

  it.each([
    ['4.18.0-553.el8_10.x86_64', true],
    ['5.4.0-150-generic', true],
    ['5.7.19', true],
    ['5.8.0', false],
    ['5.15.0', false],
    ['6.1.0-18-amd64', false],
    ['10.0', false],
  ])('reads twice on Linux %s: %s', (release, expected) => {
    expect(mayReadTornMountInfo(release)).toBe(expected);
  });
});

describe('runChecked', () => {
  it('returns what a program printed', async () => {
    expect(await runChecked(host, 'echo', ['a b'])).toBe('a b\n');
  });

  it('tells program, arguments, exit code and the first lines of a failure in one line', async () => {
    const script = 'printf "one\\n\\ntwo\\033\\nthree\\nfour\\n"; exit 7';
    await expect(runChecked(host, 'sh', ['-c', script])).rejects.toThrow(
      new Failure('host-failed', `sh -c ${script}: failed with exit code 7: one; two?; three`),
    );
  });

  it('keeps secrets out of arguments and output', async () => {
    const mask = createMask(['two\nlines', 'hunter22']);
    const failing = runChecked(host, 'sh', ['-c', 'echo pass=hunter22; exit 1', 'two\nlines'], { mask });
    await expect(failing).rejects.toThrow(
      'sh -c echo pass=***; exit 1 ***: failed with exit code 1: pass=***',
    );
  });

  it('ends a program that hangs', async () => {
    await expect(runChecked(host, 'sleep', ['77'], { timeoutMs: 100 })).rejects.toMatchObject({
      kind: 'host-timeout',
      message: expect.stringContaining('sleep 77: did not end in time'),
    });
  });

  it('takes a program that ended well for good, whatever the clock says', async () => {
    const script = "trap 'exit 0' TERM; sleep 77 & wait";
    expect(await runChecked(host, 'sh', ['-c', script], { timeoutMs: 300 })).toBe('');
  });

  it('says that a program is not installed', async () => {
    await expect(runChecked(host, 'mkfs.nothing', ['/dev/x'])).rejects.toMatchObject({
      kind: 'host-failed',
      message: 'mkfs.nothing is not installed (install it); it was needed for: mkfs.nothing /dev/x',
    });
  });
});

describe('hostFailure', () => {
  it.each<[Partial<Ended>, string, string]>([
    [{ exitCode: 32 }, 'host-failed', 'mkfs.xfs /x: failed with exit code 32'],
    [{ signal: 'SIGSEGV' }, 'host-failed', 'mkfs.xfs /x: was killed by SIGSEGV'],
    [{ startError: 'EACCES' }, 'host-failed', 'mkfs.xfs /x: could not be started (EACCES)'],
    [
      { timedOut: true, signal: 'SIGTERM' },
      'host-timeout',
      'mkfs.xfs /x: did not end in time and was ended after 3 s',
    ],
    [
      { timedOut: true, abandoned: true },
      'host-timeout',
      'mkfs.xfs /x: does not end, not even when killed (after 3 s); what it waits for does not answer',
    ],
    [
      { startError: 'ENOENT' },
      'host-failed',
      'mkfs.xfs is not installed (it comes with the package xfsprogs); it was needed for: mkfs.xfs /x',
    ],
  ])('says of %j: %s, %s', (how, kind, message) => {
    const failure = hostFailure('mkfs.xfs', ['/x'], { ...ended, ...how });
    expect({ kind: failure.kind, message: failure.message }).toEqual({ kind, message });
  });

  it('cuts long output', () => {
    const failure = hostFailure('x', [], { ...ended, exitCode: 1, output: Buffer.alloc(10_000, 'a') });
    expect(failure.message.length).toBeLessThan(500);
  });
});

describe('oneLine', () => {
  it.each([
    ['a\r\n b\t\tc ', 'a b c'],
    ['\u001b[31mred\u0000\u009b', '?[31mred??'],
  ])('makes of %j %j', (text, expected) => {
    expect(oneLine(text)).toBe(expected);
  });
});
