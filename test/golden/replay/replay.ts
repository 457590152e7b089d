/** Replays scenarios, record by record. */
import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import type { ServiceError } from '@grpc/grpc-js';
import { errorMessage } from '../../../src/errors.ts';
import { scripted } from './answers.ts';
import { stateBefore } from './before.ts';
import { differences } from './compare.ts';
import { exceptFor } from './exceptions.ts';
import { type Expectation, expectationOf, type Result, type Seen } from './expectation.ts';
import { type GoldenRecord, NotUnderstood, type Scenario } from './records.ts';
import { replayRegistry } from './registry.ts';
import { Session } from './session.ts';
import { steps } from './steps/all.ts';
import { isUnsayable, type Step } from './steps/step.ts';
import { put } from './world.ts';

export interface Replayed {
  readonly step: string;
  /** What was found to be otherwise; none: passed. */
  readonly problems: readonly string[];
  /** The exceptions by which it was compared. */
  readonly exceptions: readonly string[];
}

/** Replays all records of a scenario, in order, in an empty world. One result per record. */
export async function replay(scenario: Scenario): Promise<Replayed[]> {
  const unread = scenario.unread.map((problem) => failed('unread', `not understood: ${problem}`));
  if (scenario.records.length === 0) return unread;
  if (scenario.records.some(({ step }) => step === 'look up a driver')) {
    return [...(await replayRegistry(scenario)), ...unread];
  }
  const session = await Session.start(scenario);
  try {
    const results: Replayed[] = [];
    for (const record of scenario.records) {
      results.push(await replayed(session, record));
      session.endStep(record);
    }
    return [...results, ...unread];
  } finally {
    await session.close();
  }
}

export function failed(step: string, problem: string): Replayed {
  return { step, problems: [problem], exceptions: [] };
}

async function replayed(session: Session, record: GoldenRecord): Promise<Replayed> {
  try {
    return await replayRecord(session, record);
  } catch (error) {
    const what = error instanceof NotUnderstood ? 'not understood' : 'the replay itself failed';
    return failed(record.step, `${what}: ${error instanceof NotUnderstood ? error.message : stackOf(error)}`);
  }
}

function stackOf(error: unknown): string {
  return (error instanceof Error ? error.stack : undefined) ?? errorMessage(error);
}

async function replayRecord(session: Session, record: GoldenRecord): Promise<Replayed> {
  const step = steps.find(({ name }) => name.test(record.step));
  if (step === undefined) throw new NotUnderstood(`step "${record.step}"`);
  step.begin?.(session, record);
  const { expected, names } = exceptFor(record, session, expectationOf(record, session.translate));

  prepareWorld(session, step, record);
  // Its `init` is not flexcsi's, and not compared.
  if (step.isBelow || isUnsayable(record)) await session.flexDriver();
  await step.prepare?.(session, record);
  script(session, step, record, expected);
  prepareDriver(session, record);
  const seen = await watch(session, step, record);
  const problems = await differences(expected, seen, step.aside?.(session, record) ?? []);
  if (record.outcome.seen_by_driver !== undefined)
    problems.push(...processDifferences(session, record, seen));
  if (expected.again !== undefined) problems.push(...(await askAgain(session, step, record, expected)));
  return { step: record.step, problems, exceptions: names };
}

/** The path of the step as it was: said by the record, left by an earlier step, or told by what was left. */
function prepareWorld(session: Session, step: Step, record: GoldenRecord): void {
  if (step.path === undefined) return;
  const path = step.path(session, record);
  const isFirst = !session.earlier.some(({ after }) => path in after);
  if (record.given.before === undefined && !isFirst) return;
  put(session.translate(path), stateBefore(record, path));
}

function script(session: Session, step: Step, record: GoldenRecord, expected: Expectation): void {
  step.script?.(session, record);
  const answers = Map.groupBy(expected.calls, ({ argv }) => argv[0] as string);
  for (const [verb, calls] of answers) {
    session.driver.script(verb, ...calls.map(({ answer }) => scripted(answer, session.setting.scale)));
  }
}

/** What happened to the executable before the step: told by an `init` in its calls, or by the scenario's name. */
function prepareDriver(session: Session, record: GoldenRecord): void {
  const isStart = /^(?:Probe|kubelet starts)$/.test(record.step) && session.earlier.length === 0;
  if (!isStart && record.calls[0]?.argv[0] === 'init') session.driver.write();
  const spoiled = /\bexec-([\w-]+)/.exec(record.scenario)?.[1];
  if (spoiled !== undefined && record.calls.length === 0) spoil(session.driver.file, spoiled);
}

function spoil(file: string, how: string): void {
  rmSync(file);
  if (/missing|removed/.test(how) && !/interpreter/.test(how)) return;
  if (/directory/.test(how)) mkdirSync(file);
  else if (/dangling|link/.test(how)) symlinkSync('/nonexistent/driver', file);
  else if (/empty/.test(how)) writeFileSync(file, '', { mode: 0o755 });
  else if (/not-executable|permission/.test(how)) writeFileSync(file, '#!/bin/sh\necho {}\n');
  else if (/no-shebang|script-without/.test(how)) writeFileSync(file, 'echo {}\n', { mode: 0o755 });
  else if (/interpreter/.test(how)) writeFileSync(file, '#!/nonexistent/sh\necho {}\n', { mode: 0o755 });
  else if (/crlf|carriage|dos/.test(how)) writeFileSync(file, '#!/bin/sh\r\necho {}\r\n', { mode: 0o755 });
  else throw new NotUnderstood(`scenario exec-${how}`);
  if (/not-executable|permission/.test(how)) chmodSync(file, 0o644);
}

async function watch(session: Session, step: Step, record: GoldenRecord): Promise<Seen> {
  const isStart = /^(?:Probe|kubelet starts)$/.test(record.step) && session.earlier.length === 0;
  session.driver.forget();
  session.run.take();
  const before = environmentFor(record);
  let result: Result = {};
  let error: Seen['error'];
  try {
    result = await step.act(session, record);
  } catch (thrown) {
    if (thrown instanceof NotUnderstood) throw thrown;
    error = errorOf(thrown);
  } finally {
    for (const name of before) delete process.env[name];
  }
  const { commands, strange } = session.run.take();
  // The first start has happened already, `init` with it.
  const calls = isStart ? session.startCalls : session.driver.calls();
  return { calls, hostCommands: commands, strange, error, result };
}

function errorOf(thrown: unknown): Seen['error'] {
  const { code, details } = thrown as Partial<ServiceError>;
  return typeof code === 'number' ? { code, message: details ?? '' } : { message: errorMessage(thrown) };
}

/** Sets the variables of kubelet's environment that are not set, and answers which. */
function environmentFor({ outcome }: GoldenRecord): string[] {
  const names = (outcome.seen_by_driver?.env_names ?? []).filter((name) => process.env[name] === undefined);
  for (const name of names) process.env[name] = 'golden';
  return names;
}

/** What the driver saw of its process: as under kubelet, flexcsi's own environment in the place of kubelet's. */
function processDifferences(session: Session, { outcome }: GoldenRecord, { calls }: Seen): string[] {
  const want = outcome.seen_by_driver;
  const got = calls.at(-1);
  if (want === undefined || got === undefined) return ['no call to look at'];
  const [stdin, stdout, stderr] = got.streams;
  const found: string[] = [];
  const expect = (holds: boolean, problem: string): void => {
    if (!holds) found.push(problem);
  };
  expect(got.cwd === want.cwd, `working directory ${want.cwd} expected, was ${got.cwd}`);
  expect(want.argv0_is_the_path === (got.file === session.driver.file), `argv[0] was ${got.file}`);
  expect(stdin === '/dev/null' && got.stdin.length === 0, `stdin was ${stdin}`);
  expect(/^\/dev\/null, 0 bytes/.test(want.stdin), `not understood: stdin "${want.stdin}"`);
  expect(/same pipe/.test(want.stdout), `not understood: stdout "${want.stdout}"`);
  expect(stdout === stderr && !stdout.startsWith('socket:'), `stdout ${stdout}, stderr ${stderr}`);
  const octal = (text: string): number => Number.parseInt(text, 8);
  if (want.umask !== undefined) {
    expect(octal(got.umask) === process.umask(), `umask was ${got.umask}, not flexcsi's own`);
  }
  for (const name of want.env_names) expect(got.env.has(name), `variable ${name} is missing`);
  // NODE_NAME: see the rule about it.
  const own = new Set([...Object.keys(process.env), ...want.env_names, 'NODE_NAME']);
  // dash adds nothing to what it was given; PWD and the like would be flexcsi's.
  for (const name of got.env.keys()) expect(own.has(name), `variable ${name} was added`);
  return found;
}

/** `verb_asked_again_next_time`: the same once more, on a path that is as before. */
async function askAgain(
  session: Session,
  step: Step,
  record: GoldenRecord,
  expected: Expectation,
): Promise<string[]> {
  const verb = expected.calls.at(-1)?.argv[0] ?? record.calls.at(-1)?.argv[0];
  if (verb === undefined) return ['no verb that could be asked again'];
  prepareWorld(session, step, record);
  await step.prepare?.(session, record);
  await watch(session, step, record);
  const again = session.driver.calls().some((call) => call.verb === verb);
  return again === expected.again ? [] : [`${verb} asked again: ${expected.again} expected, was ${again}`];
}
