import { closeSync, existsSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { describe, expect, it, vi } from 'vitest';
import { Failure } from '../../src/errors.ts';
import { Driver, type DriverSettings } from '../../src/flex/driver.ts';
import * as verbs from '../../src/flex/verbs.ts';
import { silentLogger } from '../../src/log.ts';
import { createRun } from '../../src/process.ts';
import { createMask } from '../../src/secrets.ts';
import { isRunning } from '../support/processes.ts';
import { temporaryDirectory, writeScript } from './drivers.ts';

const run = createRun();

function settingsFor(file: string, more: Partial<DriverSettings> = {}): DriverSettings {
  return { file, name: 'example.com/golden', run, log: silentLogger(), timeoutMs: 20_000, ...more };
}

/** An initialised driver: `init` succeeds, any other verb does what the text says. */
function driver(text: string, more: Partial<DriverSettings> = {}): Promise<Driver> {
  const file = writeScript(
    join(temporaryDirectory(), 'golden'),
    `if [ "$1" = init ]; then echo '{"status":"Success"}'; exit; fi\n${text}`,
  );
  return Driver.initialise(settingsFor(file, more));
}

async function failureOf(call: Promise<unknown>): Promise<Failure> {
  const failure = await call.catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(Failure);
  const { message } = failure as Failure;
  expect(message).not.toMatch(/\n/);
  expect(message).toMatch(/^driver example\.com\/golden: /);
  return failure as Failure;
}

describe('Driver.initialise', () => {
  it('reads the capabilities', async () => {
    const file = writeScript(
      join(temporaryDirectory(), 'golden'),
      `echo '{"status":"Success","capabilities":{"attach":false,"provision":true}}'`,
    );
    const { capabilities, name, file: path } = await Driver.initialise(settingsFor(file));
    expect({ name, path }).toEqual({ name: 'example.com/golden', path: file });
    expect(capabilities).toMatchObject({ attach: false, fsGroup: true });
    expect(capabilities.extensions).toMatchObject({ provision: true, snapshot: false });
  });

  it.each([
    [
      `echo '{"status":"Failure","message":"no license"}'; exit 1`,
      'init command failed, status: Failure, reason: no license',
    ],
    [`echo '{"status":"Not supported"}'`, 'init answers "Not supported"'],
    [`echo '{"status":"Success"}'; exit 1`, 'init failed: exit status 1, though its answer says Success'],
    ['echo out; echo err >&2', 'init failed: exit status 0, no JSON object in the output: out | err'],
    ['sleep 60', 'init did not end within 0.3 s'],
  ])('fails when init does: %s', async (text, words) => {
    const file = writeScript(join(temporaryDirectory(), 'golden'), text);
    const timeoutMs = text.startsWith('sleep') ? 300 : 20_000;
    const failure = await failureOf(Driver.initialise(settingsFor(file, { timeoutMs })));
    expect(failure.kind).toBe('driver-unusable');
    expect(failure.message).toContain(words);
  });

  it('fails when there is nothing to start', async () => {
    const failure = await failureOf(Driver.initialise(settingsFor('/no/such/driver')));
    expect(failure.kind).toBe('driver-unusable');
    expect(failure.message).toContain('init was not started: /no/such/driver does not exist');
  });
});

describe('Driver.call', () => {
  it('passes the arguments as they are and returns the answer', async () => {
    const directory = temporaryDirectory();
    const subject = await driver(
      `printf '%s\\n' "$0" "$@" > ${directory}/argv; pwd >> ${directory}/argv; echo '{"status":"Success","device":"/dev/x"}'`,
    );
    const result = await subject.call(verbs.mountDevice('/a b', '', { k: '<é😀>' }));
    expect(result).toMatchObject({ supported: true, answer: { device: '/dev/x' } });
    expect(readFileSync(`${directory}/argv`, 'utf8').split('\n')).toEqual([
      subject.file,
      'mountdevice',
      '/a b',
      '',
      '{"k":"\\u003cé😀\\u003e"}',
      '/',
      '',
    ]);
  });

  it('gives drivers the environment of the settings, or else its own without what npm adds', async () => {
    const show = `printf '{"status":"Success","message":"%s"}' "$MARK $npm_execpath"`;
    vi.stubEnv('MARK', 'own');
    vi.stubEnv('npm_execpath', '/npm');
    try {
      const own = await driver(show);
      expect(await own.call(verbs.unmount('/t'))).toMatchObject({ answer: { message: 'own ' } });
      const given = await driver(show, { env: { MARK: 'given' } });
      expect(await given.call(verbs.unmount('/t'))).toMatchObject({ answer: { message: 'given ' } });
    } finally {
      vi.unstubAllEnvs();
    }
  });

  it('does not ask again for a verb that is not supported, and asks for the others', async () => {
    const directory = temporaryDirectory();
    const subject = await driver(
      `echo "$1" >> ${directory}/calls; [ "$1" = mount ] && exec echo '{"status":"Success"}'; echo '{"status":"Not supported"}'; exit 1`,
    );
    expect(await subject.call(verbs.detach('v', 'n'))).toEqual({ supported: false });
    expect(await subject.call(verbs.detach('w', 'n'))).toEqual({ supported: false });
    expect(await subject.call(verbs.mount('/t', {}))).toMatchObject({ supported: true });
    expect(readFileSync(`${directory}/calls`, 'utf8')).toBe('detach\nmount\n');
  });

  it.each([
    [
      `echo '{"status":"Failure","message":"disk on fire"}'; exit 1`,
      'unmount command failed, status: Failure, reason: disk on fire',
    ],
    [
      `printf '%s' '{"status":"Failure","message":"a\\nb"}' >&2`,
      'unmount command failed, status: Failure, reason: a | b',
    ],
    [
      `echo '{"status":"Failure"}'`,
      'unmount command failed, status: Failure, reason: (the driver gives none)',
    ],
    [`echo '{"status":"Success"}'; exit 3`, 'unmount failed: exit status 3, though its answer says Success'],
    [
      `echo '{"status":"Success"}'; kill -9 $$`,
      'unmount failed: killed by SIGKILL, though its answer says Success',
    ],
    ['no-such-command', 'unmount failed: exit status 127, no JSON object in the output: '],
    ['exec 2>&-; no-such-command', 'exit status 127, no output (a command of the script is not installed'],
    ['exit 126', 'exit status 126, no output (a command of the script could not be executed?)'],
    ['kill -9 $$', 'killed by SIGKILL, no output (out of memory?)'],
    ['exit 0', 'exit status 0, no output (a driver must print a JSON object for every verb)'],
    [`printf '\\033[31mred\\033[0m\\n\\nnext'; exit 1`, 'no JSON object in the output: red | next'],
    [
      `echo '{"status":"Success","attached":1}'`,
      `the answer's "attached" must be true or false, but is the number 1`,
    ],
  ])('fails after %s', async (text, words) => {
    const subject = await driver(text);
    const failure = await failureOf(subject.call(verbs.unmount('/t')));
    // Only a driver that says so has failed for sure.
    expect(failure.kind).toBe(words.includes('status: Failure') ? 'driver-failed' : 'driver-unclear');
    expect(failure.message).toContain(words);
  });

  it('masks secrets in words and output, also where they are cut off', async () => {
    const secret = `pass-${'x'.repeat(400)}`;
    const mask = createMask([secret]);
    const base64 = Buffer.from(secret).toString('base64');
    for (const text of [
      `echo '{"status":"Failure","message":"login ${secret} refused"}'`,
      `echo 'login ${secret} refused'`,
      `echo "+ mount $3"`,
    ]) {
      const subject = await driver(text);
      const options = { 'kubernetes.io/secret/p': base64 };
      const failure = await failureOf(subject.call(verbs.mount('/t', options), { mask }));
      expect(failure.message).not.toMatch(/pass-|xxxx/);
      expect(failure.message).not.toContain(base64.slice(0, 8));
      expect(failure.message).toContain('***');
    }
  });

  it('bounds what it repeats of a driver', async () => {
    const line = 'é'.repeat(3000);
    const words = await failureOf(
      (await driver(`echo '{"status":"Failure","message":"${line}"}'`)).call(verbs.unmount('/t')),
    );
    expect(Buffer.byteLength(words.message)).toBeLessThan(1200);
    const output = await failureOf((await driver(`echo '${line}'`)).call(verbs.unmount('/t')));
    expect(Buffer.byteLength(output.message)).toBeLessThan(500);
  });

  it('refuses more output than it reads, whatever the exit status', async () => {
    const subject = await driver(`echo '{"status":"Success"}'; head -c 2000000 /dev/zero; exit 0`);
    const failure = await failureOf(subject.call(verbs.unmount('/t')));
    expect(failure).toMatchObject({
      kind: 'driver-unclear',
      message: expect.stringContaining('more output than'),
    });
  });

  it('ends a driver at the time limit, with its children', async () => {
    const directory = temporaryDirectory();
    const subject = await driver(`sleep 77 & echo $! > ${directory}/child; echo waiting; wait`, {
      timeoutMs: 1000,
    });
    const failure = await failureOf(subject.call(verbs.unmount('/t')));
    expect(failure.kind).toBe('driver-timeout');
    expect(failure.message).toContain(
      'unmount did not end within 1 s and was ended (killed by SIGTERM): what it did is not known: waiting',
    );
    const child = Number(readFileSync(`${directory}/child`, 'utf8'));
    await vi.waitFor(() => expect(isRunning(child)).toBe(false));
  });

  it.each([
    [`echo '{"status":"Success"}'`, { supported: true }],
    [`echo '{"status":"Not supported"}'`, { supported: false }],
  ])('takes the answer of a driver that outlives the time limit: %s', async (answer, expected) => {
    const subject = await driver(`trap '' TERM; sleep 1 & wait; sleep 1; ${answer}`, { timeoutMs: 500 });
    expect(await subject.call(verbs.unmount('/t'))).toMatchObject(expected);
  });

  it.each([
    `echo '{"status":"Failure","message":"interrupted"}'`,
    `echo '{"status":"Not supported"}'; exit 1`,
    `echo '{"status":"Success"}'; exit 1`,
  ])('does not trust any other answer after the time limit: %s', async (answer) => {
    const subject = await driver(`trap '' TERM; sleep 1 & wait; sleep 1; ${answer}`, { timeoutMs: 500 });
    const failure = await failureOf(subject.call(verbs.unmount('/t')));
    expect(failure.kind).toBe('driver-timeout');
  });

  it('passes an argument of 131071 bytes and refuses a longer one before the start', async () => {
    const directory = temporaryDirectory();
    const subject = await driver(
      `echo "$1" >> ${directory}/calls; printf '{"status":"Success","message":"%s"}' \${#2}`,
    );
    const fitting = { a: 'x'.repeat(131_071 - '{"a":""}'.length) };
    expect(await subject.call(verbs.attach(fitting, 'n'))).toMatchObject({ answer: { message: '131071' } });
    const failure = await failureOf(subject.call(verbs.attach({ a: `${fitting.a}x` }, 'n')));
    expect(failure.kind).toBe('invalid-request');
    expect(failure.message).toContain(
      'attach was not started: the JSON of the options has 131072 bytes, but Linux passes at most 131071',
    );
    expect(await failureOf(subject.call(verbs.unmount('/t\0')))).toMatchObject({ kind: 'invalid-request' });
    expect(readFileSync(`${directory}/calls`, 'utf8')).toBe('attach\n');
  });

  it('says what is wrong when the executable is gone', async () => {
    const subject = await driver('true');
    rmSync(subject.file);
    const failure = await failureOf(subject.call(verbs.unmount('/t')));
    expect(failure.kind).toBe('driver-unusable');
    expect(failure.message).toContain(`unmount was not started: ${subject.file} does not exist`);
  });

  it('waits for somebody who is writing the executable, and gives up at last', async () => {
    const subject = await driver(`echo '{"status":"Success"}'`);
    const writer = openSync(subject.file, 'r+');
    const call = subject.call(verbs.unmount('/t'));
    await sleep(200);
    closeSync(writer);
    expect(await call).toMatchObject({ supported: true });

    const staying = openSync(subject.file, 'r+');
    const failure = await failureOf(subject.call(verbs.unmount('/t')));
    closeSync(staying);
    expect(failure).toMatchObject({ kind: 'driver-unusable', message: expect.stringContaining('ETXTBSY') });
  });

  it('never runs a file through a shell that the kernel refuses', async () => {
    const directory = temporaryDirectory();
    const subject = await driver(`echo '{"status":"Success"}'`);
    writeFileSync(subject.file, `touch ${directory}/ran; echo '{"status":"Success"}'\n`);
    const failure = await failureOf(subject.call(verbs.unmount('/t')));
    expect(failure.kind).toBe('driver-unusable');
    expect(existsSync(`${directory}/ran`)).toBe(false);
  });

  it('logs each call at debug without secrets, and no arguments above that', async () => {
    const lines: Record<string, unknown>[] = [];
    const sink = new Writable({
      write(chunk, _, done) {
        lines.push(JSON.parse(String(chunk)));
        done();
      },
    });
    const log = pino({ level: 'debug' }, sink);
    const subject = await driver(
      `echo "{\\"status\\":\\"Success\\",\\"message\\":\\"$3\\"}" | tr -d '\\\\'; echo "$3" >&2; exit 1`,
      { log },
    );
    const options = { 'kubernetes.io/secret/p': 'aHVudGVyMjI=', 'csi/mountOptions': 'password=hidden' };
    const mask = createMask(['hunter22', 'password=hidden']);
    await expect(subject.call(verbs.mount('/t', options), { mask })).rejects.toThrow();
    const line = lines.at(-1);
    expect(line).toMatchObject({
      level: 20,
      driver: 'example.com/golden',
      verb: 'mount',
      exit: 'exit status 1',
      durationMs: expect.any(Number),
      args: ['/t', '{"csi/mountOptions":"***","kubernetes.io/secret/p":"***"}'],
    });
    expect(JSON.stringify(lines)).not.toMatch(/aHVudGVyMjI=|hidden/);
    expect(lines.filter(({ level, args }) => Number(level) > 20 && args !== undefined)).toEqual([]);
  });
});
