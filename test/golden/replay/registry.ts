/**
 * Scenarios about a plugin directory: "kubelet starts" is the start of a `Registry`, "look up a driver" a look
 * at each name. Real directories, real drivers.
 */
import { mkdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Registry } from '../../../src/flex/registry.ts';
import { silentLogger } from '../../../src/log.ts';
import type { DriverCall } from '../../support/scripted-driver.ts';
import { scripted } from './answers.ts';
import { change, DriverFiles, fileOf } from './changes.ts';
import { callDifferences } from './compare.ts';
import { recordedRun } from './recorded-run.ts';
import { type GoldenRecord, NotUnderstood, type RecordedCall, type Scenario } from './records.ts';
import { failed, type Replayed } from './replay.ts';
import { cleanWorld, pluginDir } from './world.ts';

const QUIET_MS = 40;

export async function replayRegistry({ records }: Scenario): Promise<Replayed[]> {
  mkdirSync(pluginDir, { recursive: true });
  const files = new DriverFiles();
  const { run, idle } = recordedRun(
    (file) => file.startsWith(`${pluginDir}/`),
    () => false,
  );
  const log = silentLogger();
  const registry = new Registry({ directory: pluginDir, run, log, timeoutMs: 30_000 });
  /** Waits for looks that nobody else waits for: those at the start, and of drivers beside the one asked for. */
  const settle = async (calls: number): Promise<void> => {
    const count = (): number => files.all().flatMap((driver) => driver.calls()).length;
    for (let waited = 0; count() < calls && waited < 3000; waited += 10) await sleep(10);
    // As long again as an unexpected one needs to show.
    await sleep(QUIET_MS);
    await idle();
  };
  try {
    const results: Replayed[] = [];
    for (const record of records) {
      try {
        results.push(await replayRecord(record, records, registry, files, settle));
      } catch (error) {
        const what = error instanceof NotUnderstood ? 'not understood' : 'the replay itself failed';
        results.push(failed(record.step, `${what}: ${String((error as Error).stack)}`));
      }
    }
    return results;
  } finally {
    await settle(0);
    registry.release();
    for (const driver of files.all()) driver.remove();
    cleanWorld();
  }
}

async function replayRecord(
  record: GoldenRecord,
  records: readonly GoldenRecord[],
  registry: Registry,
  files: DriverFiles,
  settle: (calls: number) => Promise<void>,
): Promise<Replayed> {
  const isStart = record.step === 'kubelet starts';
  if (isStart) putDrivers(records, files);
  else if (record.step !== 'look up a driver')
    throw new NotUnderstood(`step "${record.step}" of a plugin directory`);
  else change(files, record.given.change ?? 'nothing', subjectOf(record));
  scriptInit(record, files);
  for (const driver of files.all()) driver.forget();

  const problems: string[] = [];
  if (record.outcome.ok === false) throw new NotUnderstood('a start that fails');
  if (isStart) await registry.start();
  for (const name of record.given.find ?? []) {
    problems.push(...foundDifferences(record, name, await registry.find(name)));
  }
  await settle(record.calls.length);
  problems.push(
    ...initDifferences(
      record.calls,
      files.all().flatMap((driver) => driver.calls()),
    ),
  );
  return { step: record.step, problems, exceptions: [] };
}

/** The executable that the record is about: the one that was called, or else the first that is looked up. */
function subjectOf({ calls, given }: GoldenRecord): string {
  return calls[0]?.exec ?? fileOf(given.find?.[0] ?? '');
}

/**
 * What was there at the start: the drivers whose `init` ran; beside them those that the first look-up does not
 * find, broken; in a directory whose name starts with a dot a working one.
 */
function putDrivers(records: readonly GoldenRecord[], files: DriverFiles): void {
  const [start, first] = records;
  const started = (start?.calls ?? []).map(({ exec }) => exec);
  for (const exec of started) files.install(exec);
  if (started.length === 0 || !first?.given.change?.startsWith('nothing')) return;
  const missing = Object.entries(first.outcome.found ?? {}).filter(([, found]) => typeof found === 'string');
  const hidden = missing.map(([name]) => name).filter((name) => name.startsWith('.'));
  for (const name of hidden) files.install(fileOf(name));
  for (const [name] of missing) {
    const isOther = started.includes(fileOf(name)) || hidden.some((one) => one.endsWith(name));
    if (!isOther) files.putBroken(name);
  }
}

/** Each driver's `init` answers what was recorded, in order. */
function scriptInit(record: GoldenRecord, files: DriverFiles): void {
  for (const [exec, calls] of Map.groupBy(record.calls, ({ exec }) => exec)) {
    const answers = calls.map((call) => scripted(call.driver_answer, (seconds) => seconds));
    files.at(exec)?.script('init', ...answers);
  }
}

function foundDifferences(
  { outcome }: GoldenRecord,
  name: string,
  driver: Awaited<ReturnType<Registry['find']>>,
): string[] {
  const want = outcome.found?.[name];
  if (want === undefined) throw new NotUnderstood(`nothing about ${name}, which is looked up`);
  const text = (attachable: boolean | undefined): string =>
    attachable === undefined ? 'not found' : `found, attachable ${attachable}`;
  const wanted = text(typeof want === 'string' ? undefined : want.attachable);
  const got = text(driver?.capabilities.attach);
  return wanted === got ? [] : [`${name}: ${wanted} expected, was ${got}`];
}

/** Of several drivers any may be initialised first. */
function initDifferences(expected: readonly RecordedCall[], seen: readonly DriverCall[]): string[] {
  const byFile = (a: { file: string }, b: { file: string }): number =>
    a.file < b.file ? -1 : Number(a.file > b.file);
  const wanted = expected.map(({ exec, argv, driver_answer }) => ({
    file: exec,
    argv,
    answer: driver_answer,
  }));
  return callDifferences(wanted.sort(byFile), [...seen].sort(byFile));
}
