/** One trial: flexcsi, in one mode, before csi-sanity with one seed; and what both left behind. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { volumeRecords } from '../support/files.ts';
import { findCanaries, makeCanaries, secretsFile } from './canaries.ts';
import { type Flexcsi, startFlexcsi } from './flexcsi.ts';
import { loopDevicesBelow, mountsBelow, processesWith, removeLeftovers } from './leftovers.ts';
import type { Mode } from './modes.ts';
import { type Judgement, judge, readReport, type TestResult, unknownNames } from './report.ts';
import { runSuite } from './suite.ts';

const MIB = 1024 * 1024;
const NODE = 'sanity-node';
/** In the environment of every process of a trial, with its directory. */
const MARK = 'FLEXCSI_SANITY';

export interface Trial extends Judgement {
  readonly mode: Mode;
  readonly seed: number;
  readonly seconds: number;
  /** Holds the logs. It stays when something failed. */
  readonly directory: string;
  readonly logs: readonly string[];
}

export interface TrialOptions {
  /** Shows csi-sanity's own output. */
  readonly verbose: boolean;
  /** Ends csi-sanity early; everything is put away all the same. */
  readonly stop: AbortSignal;
}

/** Never throws: what goes wrong is a failed test of the trial. */
export async function runTrial(mode: Mode, seed: number, { verbose, stop }: TrialOptions): Promise<Trial> {
  const start = Date.now();
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'flexcsi-sanity-')));
  const mark = `${MARK}=${directory}`;
  const images = join(directory, 'images');
  const report = join(directory, 'report.json');
  const env = { ...process.env, [MARK]: directory, FLEXCSI_LOOP_DIR: images, NODE_NAME: NODE };
  const parts = mode.split ? (['controller', 'node'] as const) : (['all'] as const);
  const logs = parts.map((part) => join(directory, `${part}.log`));
  const states = parts.map((part) => join(directory, `state-${part}`));
  const canaries = makeCanaries();
  for (const path of [images, join(directory, 'kubelet'), ...states]) mkdirSync(path, { mode: 0o700 });

  const checks: TestResult[] = [];
  const check = (test: string, problems: readonly string[]): void => {
    const now = Date.now();
    const state = problems.length === 0 ? 'passed' : 'failed';
    checks.push({ test, state, message: problems.join('\n'), from: now, to: now });
  };

  const started: Flexcsi[] = [];
  let results: readonly TestResult[] = [];
  try {
    for (const part of parts) {
      started.push(
        await startFlexcsi({
          options: optionsOf(mode, part, directory),
          socket: socketOf(directory, part),
          env,
          log: join(directory, `${part}.log`),
        }),
      );
    }
    const problem = await runSuite({
      args: suiteArguments(mode, directory, secretsFile(canaries)),
      env: { ...process.env, [MARK]: directory },
      output: verbose ? undefined : join(directory, 'csi-sanity.log'),
      seed,
      report,
      stop,
    });
    check('csi-sanity ends by itself', problem === undefined ? [] : [problem]);
    results = readReport(readFileSync(report, 'utf8'));
    check('the expectations name tests that there are', unknownNames(results, mode.expected));
  } catch (error) {
    check('the trial can be run', [error instanceof Error ? error.message : String(error)]);
  }
  const ends = await Promise.all(started.map((one) => one.end()));
  check(
    'flexcsi is alive, and ends with 0 on SIGTERM',
    ends.filter((problem) => problem !== undefined),
  );
  check('nothing stays mounted', mountsBelow(directory));
  check(
    'no loop device stays',
    loopDevicesBelow(directory).map(({ device, file }) => `${device} (${file})`),
  );
  check(
    'no process stays',
    processesWith(mark).map(({ pid, command }) => `${pid} ${command}`),
  );
  removeLeftovers(directory, mark);
  check('no volume and no snapshot stays', storedIn(images));
  check('no record of a volume stays', states.flatMap(volumeRecords));
  check(
    'no secret in the logs, the records and the answers',
    findCanaries(canaries, [...logs, ...states, report]),
  );

  const judgement = judge(results, mode.expected);
  const passed = [...judgement.passed, ...checks.filter(({ state }) => state === 'passed')];
  const failed = [...judgement.failed, ...checks.filter(({ state }) => state === 'failed')];
  const isWanted = failed.length > 0 && !stop.aborted;
  // Removed only with nothing mounted in it: what is in a volume is not ours to delete.
  if (!isWanted && mountsBelow(directory).length === 0) rmSync(directory, { recursive: true });
  const seconds = Math.round((Date.now() - start) / 1000);
  return { mode, seed, seconds, directory, logs, passed, failed, skipped: judgement.skipped };
}

function optionsOf(mode: Mode, part: 'all' | 'controller' | 'node', directory: string): string[] {
  const options = {
    driver: join(import.meta.dirname, '../../drivers', mode.driver),
    mode: part,
    'node-id': NODE,
    'attach-on': mode.attachOn,
    'state-dir': join(directory, `state-${part}`),
    'kubelet-dir': join(directory, 'kubelet'),
    'driver-timeout': '60s',
    // csi-sanity attaches as many, and one more.
    'max-volumes-per-node': '4',
  };
  return Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
}

function suiteArguments(mode: Mode, directory: string, secrets: string): string[] {
  const file = (name: string, content: string): string => {
    const path = join(directory, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  };
  const part = mode.split ? 'node' : 'all';
  const flags = {
    endpoint: `unix://${socketOf(directory, part)}`,
    ...(mode.split ? { controllerendpoint: `unix://${socketOf(directory, 'controller')}` } : {}),
    mountdir: join(directory, 'kubelet/mount'),
    stagingdir: join(directory, 'kubelet/staging'),
    secrets: file('secrets.yaml', secrets),
    testvolumeaccesstype: mode.access,
    testvolumesize: 64 * MIB,
    testvolumeexpandsize: 128 * MIB,
    testvolumemutableparameters: file('mutable.yaml', JSON.stringify({ readAheadKiB: '256' })),
    testnodevolumeattachlimit: true,
  };
  return Object.entries(flags).map(([name, value]) => `-csi.${name}=${value}`);
}

function socketOf(directory: string, part: 'all' | 'controller' | 'node'): string {
  return join(directory, `${part}.sock`);
}

/** What the loop driver keeps of volumes and snapshots; its locks stay. */
function storedIn(images: string): string[] {
  const rooms = readdirSync(images).filter((room) => room !== 'locks');
  return rooms.flatMap((room) => readdirSync(join(images, room)).map((name) => join(room, name)));
}
