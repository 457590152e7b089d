/** A batch: one workload, disturbed again and again, and taken down at the end. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { mountsBelow, processesWith, removeLeftovers } from '../sanity/leftovers.ts';
import { CsiClient } from '../support/csi-client.ts';
import { Calls } from './calls.ts';
import { checkNothingLeft, checkWorld, forgetAttached } from './check.ts';
import { History } from './history.ts';
import { Killer } from './killer.ts';
import type { Mode } from './modes.ts';
import { Pace } from './pace.ts';
import { Random } from './random.ts';
import { MARK, Server } from './server.ts';
import { noTotals, placesOf, type Setting, stagingRoot, type Totals } from './setting.ts';
import { Worker } from './worker.ts';

/** Volumes at a time. */
const WORKERS = 4;
/** How often a restart is disturbed again. */
const TWICE = 0.2;

export interface BatchOptions {
  readonly mode: Mode;
  readonly seed: number;
  readonly attachOn: 'controller' | 'node';
  /** Kills, each of which is a run. */
  readonly count: number;
  readonly onRun: (done: number) => void;
  readonly stop: AbortSignal;
}

export interface Batch {
  /** Runs that ended well. */
  readonly passed: number;
  /** What went wrong; nothing was killed any more after it. */
  readonly error: unknown;
  /** It stays when something went wrong. */
  readonly directory: string;
  readonly history: History;
  readonly totals: Totals;
  /** What ran when it went wrong. */
  readonly processes: readonly string[];
}

/** Never throws. */
export async function runBatch(options: BatchOptions): Promise<Batch> {
  const { mode, seed, attachOn, stop } = options;
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'flexcsi-crash-')));
  const places = placesOf(directory);
  for (const path of [places.images, places.kubelet, places.sockets, places.temporary]) mkdirSync(path);
  for (const path of [join(places.kubelet, 'pods'), stagingRoot(directory)])
    mkdirSync(path, { recursive: true });

  const history = new History();
  const client = new CsiClient(places.socket);
  const halt = new AbortController();
  let disturbed = Date.now();
  const setting: Setting = {
    directory,
    prefix: `crash-${basename(directory).slice(-6).toLowerCase()}`,
    attachOn,
    client,
    history,
    calls: new Calls(history, () => disturbed, halt.signal),
    pace: new Pace(WORKERS),
    lost: { states: 0 },
    done: noTotals(),
  };
  const random = new Random(seed);
  const server = new Server(setting);
  const killer = new Killer(mode, server, random.fork('killer'), history, `${MARK}=${directory}`);
  const workers = Array.from({ length: WORKERS }, (_, index) => {
    return new Worker(setting, random.fork(`worker ${index}`), `w${index}`);
  });
  const volumes = () => workers.flatMap(({ volume }) => volume ?? []);

  const strike = async (): Promise<void> => {
    if (halt.signal.aborted) return;
    const wasServer = await killer.strike();
    disturbed = Date.now();
    if (!wasServer || halt.signal.aborted) return;
    if (mode.losesState) {
      rmSync(places.state, { recursive: true, force: true });
      setting.lost.states += 1;
    }
    server.start();
  };

  let passed = 0;
  const disturb = async (): Promise<void> => {
    while (passed < options.count && !stop.aborted) {
      await killer.wait();
      await strike();
      // A driver runs only until the workers are at rest.
      const again = mode.kills !== 'driver' && passed + 1 < options.count && random.chance(TWICE);
      const rest = setting.pace.rest();
      if (again) {
        await Promise.race([killer.wait(), rest]);
        await strike();
      }
      await server.untilReady();
      await rest;
      server.requireAlive();
      await checkWorld(setting, server.pid, volumes());
      passed += again ? 2 : 1;
      options.onRun(passed);
      setting.pace.resume();
    }
  };

  let error: unknown;
  let processes: readonly string[] = [];
  try {
    server.start();
    await server.untilReady();
    const works = Promise.all(workers.map((worker) => worker.run()));
    // Whoever fails first ends the batch.
    await Promise.race([disturb(), works]);
    for (const worker of workers) worker.end();
    setting.pace.resume();
    await works;
    await checkWorld(setting, server.pid, volumes());
    await server.end();
    checkNothingLeft(setting);
  } catch (caught) {
    error = caught;
    processes = processesWith(`${MARK}=${directory}`).map(({ pid, command }) => `${pid} ${command}`);
  }
  halt.abort();
  client.close();
  await server.kill();
  removeLeftovers(directory, `${MARK}=${directory}`);
  forgetAttached(setting);
  // What is in a volume is not ours to delete.
  if (error === undefined && mountsBelow(directory).length === 0) rmSync(directory, { recursive: true });
  return { passed, error, directory, history, totals: setting.done, processes };
}
