/** One soak: a warm-up, a rest, the work, a rest; and what came of it. */
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../crash/random.ts';
import { mountsBelow, removeLeftovers } from '../sanity/leftovers.ts';
import { CsiClient } from '../support/csi-client.ts';
import { Calls } from './calls.ts';
import { checkLog, checkNothingLeft, checkTrends, checkWork, compareIdle, settle } from './check.ts';
import { runInline } from './inline.ts';
import { Inspector } from './inspector.ts';
import { Monitor } from './monitor.ts';
import { LISTED, runLists, runStrangers, runWrong } from './others.ts';
import { MARK, type Places, placesOf } from './places.ts';
import { Problems } from './problems.ts';
import { printRules, printWindows, progressLine } from './report.ts';
import { Server } from './server.ts';
import type { Setting } from './setting.ts';
import { VolumeLife } from './volume.ts';

export interface SoakOptions {
  readonly minutes: number;
  readonly seed: number;
  readonly inFlight: number;
  /** Whether raw block volumes are possible here. */
  readonly block: boolean;
  readonly stop: AbortSignal;
}

const VOLUMES = 100;
/** Of them, raw block volumes: loop devices are few. */
const BLOCK_VOLUMES = 4;
/** Pods with in-line volumes, two for each name. */
const INLINE = 6;
/** Driver calls of a thousand that misbehave. */
const RATE = 60;
const WINDOWS = 12;
const PROGRESS_MS = 10_000;
/** Everything is taken down without disturbances. Longer means that something is stuck. */
const TAKE_DOWN_MS = 900_000;
const ENDS = 'flexcsi serves to the end, and ends with 0 on SIGTERM';
const RUNS = 'the soak can be run';

/** Answers whether all went well. */
export async function soak(options: SoakOptions): Promise<boolean> {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'flexcsi-soak-')));
  const places = placesOf(root);
  for (const path of ['volumes', 'snapshots']) mkdirSync(join(places.world, path), { recursive: true });
  for (const path of [places.state, places.temporary, join(places.kubelet, 'pods'), dirname(places.driver)]) {
    mkdirSync(path, { recursive: true });
  }
  cpSync(join(import.meta.dirname, 'driver'), places.driver);
  setRate(places, 0);

  const problems = new Problems();
  problems.expect(RUNS, ENDS, LISTED);
  const server = new Server(places);
  const client = new CsiClient(places.socket);
  let heap: Inspector | undefined;
  try {
    heap = await Inspector.connect(await server.inspector());
    await work(options, places, problems, server, client, heap);
  } catch (error) {
    problems.add(RUNS, error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
  if (problems.count > 0 && server.isAlive) {
    await heap?.writeHeap(join(root, 'flexcsi.heapsnapshot')).catch(() => {});
  }
  heap?.close();
  client.close();
  const end = await server.end();
  if (end !== undefined) problems.add(ENDS, end);
  checkLog(places, problems);
  removeLeftovers(root, `${MARK}=${root}`);
  const failed = printRules(problems);
  // What is in a volume is not ours to delete.
  if (failed === 0 && mountsBelow(root).length === 0) rmSync(root, { recursive: true });
  else console.log(`log and files: ${root}`);
  return failed === 0;
}

async function work(
  { minutes, seed, inFlight, block, stop }: SoakOptions,
  places: Places,
  problems: Problems,
  server: Server,
  client: CsiClient,
  heap: Inspector,
): Promise<void> {
  const random = new Random(seed);
  const halt = new AbortController();
  const calls = new Calls(inFlight, random.fork('calls'), problems, halt.signal);
  await calls.until('Probe', (options) => client.identity('Probe', {}, options), {
    codes: ['OK', 'UNAVAILABLE'],
  });
  const total = minutes * 60_000;
  const warmUp = Math.min(60_000, total / 6);

  const phase = async (name: string, during: () => Promise<void>): Promise<void> => {
    const state = { isEnding: false };
    calls.calm = false;
    setRate(places, RATE);
    const callers = startCallers(
      { places, client, calls, problems, random: random.fork(name), isEnding: () => state.isEnding },
      name,
      block,
    );
    try {
      // Who fails ends it: callers do not, unless something is badly wrong.
      await Promise.race([during(), callers.then(() => Promise.reject(new Error('all callers have ended')))]);
      state.isEnding = true;
      calls.calm = true;
      setRate(places, 0);
      await Promise.race([callers, fail(TAKE_DOWN_MS, 'not everything could be taken down in time')]);
    } catch (error) {
      halt.abort(error);
      throw error;
    }
  };

  console.log(`warming up for ${warmUp / 1000} s`);
  await phase('warm', () => rest(warmUp, stop));
  const before = await settle(server.pid, places, heap);
  checkNothingLeft(server.pid, places, problems, 'after the warm-up');

  const monitor = new Monitor(server.pid, places, calls, heap, problems);
  const watching = Promise.all([monitor.sample(), monitor.probe()]);
  const progress = setInterval(() => {
    console.log(progressLine(monitor, calls.count, problems.count));
  }, PROGRESS_MS);
  try {
    await Promise.race([
      watching,
      phase('main', async () => {
        for (let window = 0; window < WINDOWS && !stop.aborted; window++) {
          await rest((total - warmUp) / WINDOWS, stop);
          await monitor.cut();
        }
      }),
    ]);
  } finally {
    clearInterval(progress);
    monitor.end();
    printWindows(monitor.windows);
    console.log([...calls.answers].map(([code, count]) => `${code} ${count}`).join(', '));
  }
  await watching;
  const after = await settle(server.pid, places, heap);
  stop.throwIfAborted();
  checkNothingLeft(server.pid, places, problems, 'at the end');
  compareIdle(before, after, problems);
  checkTrends(monitor.windows, problems);
  checkWork(calls.succeeded, problems);
}

async function startCallers(setting: Setting, phase: string, block: boolean): Promise<void> {
  const of = (label: string): Setting => ({ ...setting, random: setting.random.fork(label) });
  const lives = Array.from({ length: VOLUMES }, (_, index) => {
    const label = `soak-${phase}-${index}`;
    return new VolumeLife(of(label), label, block && index < BLOCK_VOLUMES ? 'block' : 'mount').run();
  });
  const pods = Array.from({ length: INLINE }, (_, index) => {
    const label = `pod-${phase}-${index}`;
    return runInline(of(label), label, `inline-${Math.floor(index / 2)}`);
  });
  await Promise.all([
    ...lives,
    ...pods,
    runLists(of('lists')),
    runWrong(of('wrong')),
    runWrong(of('wrong again')),
    runStrangers(of('strangers')),
  ]);
}

/** Ends early when the soak is interrupted. */
async function rest(ms: number, stop: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal: stop }).catch(() => {});
}

async function fail(ms: number, why: string): Promise<never> {
  await sleep(ms, undefined, { ref: false });
  throw new Error(why);
}

/** Tells the driver how often it is to misbehave. */
function setRate({ world }: Places, perThousand: number): void {
  const file = join(world, 'rate');
  writeFileSync(file, `${perThousand}\n`);
}
