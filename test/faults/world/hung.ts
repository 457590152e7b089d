/**
 * A mount whose server does not answer: whoever touches it sleeps in the kernel, not even to be killed. All calls of
 * this fault happen at once, each on a volume of its own, since each takes as long as flexcsi waits for an answer.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Cell, Fault } from '../fault.ts';
import { demand, expectCode } from '../support/answers.ts';
import { onSite, type Site, until } from '../support/site.ts';
import { NO_HURRY, type Volume } from '../support/volume.ts';
import { type HungServer, hangAt } from './fuse.ts';

/** Other volumes that come and go while the hung calls run. */
const OTHERS = 50;

interface HungCall {
  readonly call: string;
  /** Where the mount hangs. */
  readonly at: 'target' | 'staging' | 'parent';
  readonly send: (volume: Volume, path: string) => Promise<unknown>;
  readonly code: string;
}

const calls: readonly HungCall[] = [
  { call: 'publish', at: 'target', send: (v) => v.publish(), code: 'DEADLINE_EXCEEDED' },
  {
    call: 'publish, second target',
    at: 'staging',
    send: (v) => v.publish(second(v)),
    code: 'DEADLINE_EXCEEDED',
  },
  { call: 'stage', at: 'staging', send: (v) => v.stage(), code: 'DEADLINE_EXCEEDED' },
  { call: 'stats', at: 'target', send: (v) => v.stats(), code: 'DEADLINE_EXCEEDED' },
  { call: 'stats, staging path', at: 'staging', send: (v) => v.stats(v.staging), code: 'DEADLINE_EXCEEDED' },
  { call: 'expand', at: 'target', send: (v) => v.expandHere(), code: 'DEADLINE_EXCEEDED' },
  { call: 'publish below it', at: 'parent', send: (v, path) => v.publish(path), code: 'DEADLINE_EXCEEDED' },
  {
    call: 'unpublish below it',
    at: 'parent',
    send: (v, path) => v.unpublish(path),
    code: 'DEADLINE_EXCEEDED',
  },
  { call: 'stage below it', at: 'parent', send: stageAt, code: 'DEADLINE_EXCEEDED' },
  { call: 'unstage below it', at: 'parent', send: unstageAt, code: 'DEADLINE_EXCEEDED' },
  // The mount table is enough for these: they do not touch it.
  { call: 'stats below it', at: 'parent', send: (v, path) => v.stats(path), code: 'NOT_FOUND' },
  { call: 'unpublish', at: 'target', send: (v) => v.unpublish(), code: 'OK' },
  { call: 'unstage', at: 'staging', send: unpublishAndUnstage, code: 'OK' },
  { call: 'delete', at: 'target', send: (v) => v.delete(), code: 'FAILED_PRECONDITION' },
  // Of a volume without a device, which was not created here, the size is not known.
  { call: 'expand, controller', at: 'target', send: (v) => v.expand(), code: 'INTERNAL' },
];

const STATS_AGAIN = 'stats, 20 times';
const BUSY = 'unpublish, stats pending';
const OTHERS_SERVED = `${OTHERS} other volumes`;

type Outcomes = ReadonlyMap<string, string | Error>;

let running: Promise<Outcomes> | undefined;

/** The part of the one run that a cell tells of. */
function cell(call: string): Cell {
  return {
    call,
    run: async () => {
      running ??= runAll();
      const outcome = (await running).get(call);
      if (outcome instanceof Error) throw outcome;
      demand(outcome !== undefined, 'it was not tried');
      return outcome;
    },
  };
}

async function runAll(): Promise<Outcomes> {
  const outcomes = new Map<string, string | Error>();
  try {
    await onSite({ attaches: true }, (site) => hangAndServe(site, outcomes));
  } catch (error) {
    // What is left behind is everybody's: none of them has passed.
    const failure = error instanceof Error ? error : new Error(String(error));
    for (const { call } of cells) if (!(outcomes.get(call) instanceof Error)) outcomes.set(call, failure);
  }
  return outcomes;
}

async function hangAndServe(site: Site, outcomes: Map<string, string | Error>): Promise<string> {
  const note = async (call: string, outcome: Promise<string>): Promise<void> => {
    outcomes.set(call, await outcome.catch((error: Error) => error));
  };
  const hung: { readonly one: HungCall; readonly volume: Volume; readonly path: string }[] = [];
  const servers: HungServer[] = [];
  const parents: string[] = [];
  try {
    for (const one of calls) {
      const volume = site.volume();
      await volume.up();
      const { path, mountedAt } = await hang(site, one, volume, servers);
      if (one.at === 'parent') parents.push(mountedAt);
      hung.push({ one, volume, path });
    }
    const pending = hung.map(({ one, volume, path }) =>
      note(one.call, expectCode(one.send(volume, path), one.code)),
    );
    await note(OTHERS_SERVED, serveOthers(site, Promise.all(pending), servers));
    await Promise.all(pending);
    const stats = hung.find(({ one }) => one.call === 'stats')?.volume;
    demand(stats !== undefined, 'no volume');
    await note(STATS_AGAIN, statsAgain(site, stats));
    await note(BUSY, busyMeanwhile(site, stats));
  } finally {
    await Promise.all(servers.map((server) => server.die()));
  }
  // Whoever slept on a mount wakes when its server dies.
  await until('the end of all that hung', () => site.server.children() === 0);
  for (const parent of parents) {
    execFileSync('umount', ['-c', parent]);
    rmdirSync(parent);
  }
  for (const { one, volume } of hung) {
    await volume.up();
    if (one.call === 'publish, second target') await volume.unpublish(second(volume));
    await volume.down();
  }
  return 'done';
}

/** Lets a mount of a published volume hang. */
async function hang(
  site: Site,
  { at }: HungCall,
  volume: Volume,
  servers: HungServer[],
): Promise<{ path: string; mountedAt: string }> {
  const mountedAt = at === 'parent' ? join(site.kubelet, `hung-${volume.id}`) : volume[at];
  if (at === 'parent') mkdirSync(mountedAt);
  else execFileSync('umount', ['-c', mountedAt]);
  servers.push(await hangAt(mountedAt));
  return { path: join(mountedAt, 'mount'), mountedAt };
}

/** Others are served while calls hang: while they are served there is always one that does. */
async function serveOthers(site: Site, all: Promise<unknown>, servers: HungServer[]): Promise<string> {
  let isPending = true;
  const settled = (): void => {
    isPending = false;
  };
  all.then(settled, settled);
  const more: string[] = [];
  let served = 0;
  const worker = async (): Promise<void> => {
    while (served < OTHERS) {
      if (!isPending) {
        isPending = true;
        const path = join(site.kubelet, `hung-${servers.length}`);
        mkdirSync(path);
        more.push(path);
        servers.push(await hangAt(path));
        const request = { volume_id: 'more', volume_path: path };
        site.client.node('NodeGetVolumeStats', request, NO_HURRY).then(settled, settled);
      }
      await site.round();
      if (isPending) served += 1;
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
  for (const path of more) execFileSync('umount', ['-c', '--lazy', path]);
  return `${OTHERS} came and went`;
}

/** Kubelet asks again and again: at most one process waits for each mount. */
async function statsAgain(site: Site, volume: Volume): Promise<string> {
  const before = site.server.children();
  demand(before <= calls.length, `${before} processes wait, for ${calls.length} calls`);
  const answers = Array.from({ length: 10 }, () => expectCode(volume.stats(), 'DEADLINE_EXCEEDED'));
  await Promise.all(answers);
  for (let attempt = 0; attempt < 10; attempt++) await expectCode(volume.stats(), 'DEADLINE_EXCEEDED');
  const after = site.server.children();
  demand(after <= before, `${after - before} more processes wait for the mount`);
  return 'DEADLINE_EXCEEDED, no more processes';
}

/** The process that asks keeps the mount busy, until the server answers or dies. */
async function busyMeanwhile(site: Site, volume: Volume): Promise<string> {
  const { result } = await site.meanwhile(
    expectCode(volume.unpublish(), 'INTERNAL', /still mounted.*held by|busy/),
  );
  demand(site.mountsAt(volume.target) === 1, 'it is no longer mounted');
  return result;
}

function second(volume: Volume): string {
  return join(dirname(volume.target), 'second');
}

function stageAt(volume: Volume, path: string): Promise<unknown> {
  const request = { ...volume.stageRequest(), staging_target_path: path };
  return volume.client.node('NodeStageVolume', request, NO_HURRY);
}

function unstageAt(volume: Volume, path: string): Promise<unknown> {
  return volume.client.node(
    'NodeUnstageVolume',
    { volume_id: volume.id, staging_target_path: path },
    NO_HURRY,
  );
}

async function unpublishAndUnstage(volume: Volume): Promise<unknown> {
  await volume.unpublish();
  return await volume.unstage();
}

const cells: readonly Cell[] = [...calls.map(({ call }) => call), STATS_AGAIN, BUSY, OTHERS_SERVED].map(cell);

export const faults: readonly Fault[] = [{ group: 'world', name: 'hung network mount', cells }];
