/** What must hold when all has been taken down, and what must not have grown on the way. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { loopDevicesBelow, mountsBelow, processesWith } from '../sanity/leftovers.ts';
import { volumeRecords } from '../support/files.ts';
import type { Inspector } from './inspector.ts';
import type { Window } from './monitor.ts';
import { MARK, type Places } from './places.ts';
import type { Problems } from './problems.ts';
import { descriptorsOf, isPipe, takeSample } from './sample.ts';
import { MIB, SECRET } from './setting.ts';
import { growthOf, median, type Tolerance } from './trend.ts';

/** What an idle server holds. */
export interface Idle {
  /** Bytes in use after a collection. */
  readonly heap: number;
  /** What its descriptors are, sorted. */
  readonly descriptors: readonly string[];
  readonly threads: number;
}

/** Hanging drivers have to reach their time limit, and their children their end. */
const SETTLE_MS = 60_000;
/** Pipes that flexcsi keeps for the next programs: 32, and those that Node has for itself, a dozen. */
const KEPT_PIPES = 48;
const HEAP: Tolerance = { part: 0.15, amount: 8 * MIB };

/** Waits until nothing runs any more, and answers what the server still holds. */
export async function settle(pid: number, places: Places, inspector: Inspector): Promise<Idle> {
  const isBusy = () => processesWith(`${MARK}=${places.root}`).length > 1 || pipesOf(pid) > KEPT_PIPES;
  for (const start = Date.now(); isBusy() && Date.now() - start < SETTLE_MS; ) await sleep(500);
  // Connections that the client has closed are let go in their own time.
  await sleep(2_000);
  const heap = await inspector.memoryInUse();
  return {
    heap,
    descriptors: descriptorsOf(pid)
      .filter((target) => !isPipe(target))
      // The number differs with every socket.
      .map((target) => target.replace(/\[\d+\]|\d+/g, 'N'))
      .sort(),
    threads: takeSample(pid, places).threads,
  };
}

function pipesOf(pid: number): number {
  return descriptorsOf(pid).filter(isPipe).length;
}

/** All volumes have been taken down: nothing may be left of them. */
export function checkNothingLeft(pid: number, places: Places, problems: Problems, when: string): void {
  const check = (rule: string, found: readonly string[]): void => {
    problems.expect(rule);
    problems.add(rule, ...found.map((one) => `${when}: ${one}`));
  };
  const others = processesWith(`${MARK}=${places.root}`).filter((one) => one.pid !== pid);
  check('nothing stays mounted', mountsBelow(places.root));
  check(
    'no loop device stays',
    loopDevicesBelow(places.root).map(({ device, file }) => `${device} (${file})`),
  );
  check(
    'no process stays',
    others.map((one) => `${one.pid} ${one.command}`),
  );
  check('no record of a volume stays', volumeRecords(places.state));
  check('no temporary file stays', readdirSync(places.temporary));
  check('no directory of a pod or a stage stays', [
    ...namesIn(join(places.kubelet, 'pods')),
    ...namesIn(join(places.kubelet, 'plugins/kubernetes.io/csi/soak.flexcsi')),
    ...namesIn(join(places.kubelet, 'plugins/soak.flexcsi/ephemeral')),
  ]);
  check('the driver has no volume and no snapshot left', [
    ...namesIn(join(places.world, 'volumes')),
    ...namesIn(join(places.world, 'snapshots')),
  ]);
  const pipes = pipesOf(pid);
  check(`at most ${KEPT_PIPES} pipes are kept`, pipes > KEPT_PIPES ? [`${pipes}`] : []);
}

/** An idle server holds what it held when it was idle before. */
export function compareIdle(before: Idle, after: Idle, problems: Problems): void {
  const descriptors = 'idle again, the descriptors are those of before';
  const threads = 'idle again, the threads are as many as before';
  const heap = 'idle again, the memory in use is that of before';
  problems.expect(descriptors, threads, heap);
  const rest = [...before.descriptors];
  const added = after.descriptors.filter((one) => {
    const at = rest.indexOf(one);
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
  if (added.length > 0) problems.add(descriptors, `more: ${counted(added)}`);
  if (rest.length > 0) problems.add(descriptors, `fewer: ${counted(rest)}`);
  if (after.threads > before.threads) problems.add(threads, `${before.threads} → ${after.threads}`);
  if (after.heap - before.heap > HEAP.amount && after.heap > before.heap * (1 + HEAP.part)) {
    problems.add(heap, `${before.heap / MIB} → ${after.heap / MIB} MiB`);
  }
}

/** `2 × socket:[N], 1 × /dev/null`. */
function counted(names: readonly string[]): string {
  const counts = [...new Set(names)].map((name) => `${names.filter((one) => one === name).length} × ${name}`);
  return counts.join(', ');
}

/**
 * Nothing grows from the second to the last third of the work. Mounts and records go up and down with the volumes: none
 * of them is left at the end, which says more.
 */
export function checkTrends(windows: readonly Window[], problems: Problems): void {
  const trends: readonly (readonly [string, (window: Window) => number, Tolerance])[] = [
    ['resident memory, bytes', ({ rss }) => rss, { part: 0.15, amount: 20 * MIB }],
    ['memory in use, bytes', ({ heap }) => heap, HEAP],
    [
      'descriptors',
      ({ samples }) => median(samples.map((one) => one.descriptors)),
      { part: 0.15, amount: 10 },
    ],
    ['pipes', ({ samples }) => median(samples.map((one) => one.pipes)), { part: 0.5, amount: 64 }],
    ['threads', ({ samples }) => median(samples.map((one) => one.threads)), { part: 0, amount: 2 }],
    ['children', ({ samples }) => median(samples.map((one) => one.children)), { part: 0.5, amount: 32 }],
    [
      'temporary files',
      ({ samples }) => median(samples.map((one) => one.temporary)),
      { part: 0.5, amount: 5 },
    ],
  ];
  for (const [what, of, tolerance] of trends) {
    const rule = `no trend: ${what}`;
    problems.expect(rule);
    const growth = growthOf(windows.map(of), tolerance);
    if (growth !== undefined) problems.add(rule, `${Math.round(growth.from)} → ${Math.round(growth.to)}`);
  }
}

/** What even a short and slow soak gets done: one that does nothing proves nothing. */
const WORK = [
  'CreateVolume',
  'ControllerPublishVolume',
  'NodeStageVolume',
  'NodePublishVolume',
  'NodeGetVolumeStats',
  'NodeUnpublishVolume',
  'NodeUnstageVolume',
  'ControllerUnpublishVolume',
  'DeleteVolume',
  'ListVolumes',
];

export function checkWork(succeeded: ReadonlySet<string>, problems: Problems): void {
  const rule = 'calls of every kind have succeeded';
  problems.expect(rule);
  problems.add(rule, ...WORK.filter((rpc) => !succeeded.has(rpc)).map((rpc) => `never: ${rpc}`));
}

/** No secret of a request is in the log. */
export function checkLog({ log }: Places, problems: Problems): void {
  const rule = 'no secret is logged, and no bug of flexcsi';
  problems.expect(rule);
  const lines = readFileSync(log, 'utf8').split('\n');
  const encoded = Buffer.from(SECRET).toString('base64');
  const isBad = (line: string) => line.includes(SECRET) || line.includes(encoded) || line.includes('"stack"');
  problems.add(rule, ...lines.filter(isBad).map((line) => line.slice(0, 500)));
}

function namesIn(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory).map((name) => join(directory, name)) : [];
}
