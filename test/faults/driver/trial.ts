/** One misdeed at one station: the strike, what the client sees, how it is repaired, and that nothing is left. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Aftermath } from './aftermath.ts';
import type { Misdeed } from './misdeeds.ts';
import { type Outcome, outcomeOf } from './outcome.ts';
import type { Station } from './stations.ts';
import { attached, created, otherStats, otherSteps, type Rpc } from './steps.ts';
import { World } from './world.ts';

const GENEROUS_MS = 120_000;
/** A client's deadline that passes while the driver waits; the driver has to be running by then. */
const CLIENT_MS = 3_000;

/** Codes that tell a client that the call may still be running, or must be undone. All others are final. */
const pendingCodes = new Set([
  'CANCELLED',
  'DEADLINE_EXCEEDED',
  'UNAVAILABLE',
  'RESOURCE_EXHAUSTED',
  'ABORTED',
]);

/** Resolves with what the table shows. @throws {Error} when something that is promised does not hold. */
export async function tryMisdeed(misdeed: Misdeed, station: Station): Promise<string> {
  const { driverTimeout = GENEROUS_MS } = misdeed;
  const world = new World({ driverTimeout, attachOn: station.attachOn });
  try {
    const text = await perform(world, misdeed, station);
    requireNone(await world.leftovers());
    return text;
  } finally {
    await world.end();
  }
}

async function perform(world: World, misdeed: Misdeed, station: Station): Promise<string> {
  if (station.rpc === created.up || station.before.includes(created)) world.forgetVolume('victim');
  if (station.atStart) world.driver.inflict(station.verb, misdeed.script);
  await world.start();
  for (const { up } of station.before) await mustBe('OK', 'before the fault', up(world));
  const before = stateOf(world);

  const outcome = await strike(world, misdeed, station);
  checkOutcome(misdeed, station, outcome);
  requireNone(world.violations());
  if (outcome.code !== 'OK') requireUndone(world, misdeed, station, outcome, before);
  repair(world, misdeed);
  if (misdeed.toFile) await otherLife(world, station);

  const { well = 'OK' } = station.codes ?? {};
  const blocks = misdeed.aftermath?.blocks;
  await mustBe(blocks === undefined ? well : 'UNAVAILABLE', 'the next call', station.rpc(world), blocks);
  await takeBack(world, misdeed.aftermath, station);
  const hasFailed = outcome.code !== well;
  if (hasFailed && station.undo && !misdeed.toFile) {
    // The same once more, and the client takes it back instead of repeating it.
    await strikeAlone(world, misdeed, station);
    repair(world, misdeed);
    await takeBack(world, misdeed.aftermath, station);
  }

  const rest = station.isDown ? station.before.slice(0, -1) : station.before;
  for (const { down } of rest.toReversed()) await mustBe('OK', 'afterwards', down(world));
  world.endLeftRunning();
  return textOf(misdeed, station, outcome);
}

/** The call that meets the fault, while another volume lives its life. */
async function strike(world: World, misdeed: Misdeed, station: Station): Promise<Outcome> {
  const earlier = station.atStart ? 0 : world.driver.count(station.verb);
  if (!station.atStart) inflict(world, misdeed, station);
  if (misdeed.outlastsClient) return await outlastClient(world, station, earlier);
  if (misdeed.toFile) return await meddle(world, misdeed, station, earlier);
  // A driver whose first init has not succeeded serves nobody.
  const other = station.atStart ? undefined : otherLife(world, station);
  const [outcome] = await Promise.all([outcomeOf(station.rpc(world)), other]);
  return outcome;
}

async function strikeAlone(world: World, misdeed: Misdeed, station: Station): Promise<void> {
  inflict(world, misdeed, station);
  checkOutcome(misdeed, station, await outcomeOf(station.rpc(world)));
}

function inflict(world: World, { script }: Misdeed, { verb }: Station): void {
  world.driver.inflict(verb, script);
  if (verb === 'init') world.driver.touch();
}

/** The client gives up; its repetition joins the call that still runs, and gets its result. */
async function outlastClient(world: World, station: Station, earlier: number): Promise<Outcome> {
  await mustBe(
    'DEADLINE_EXCEEDED',
    'the call that outlasts the client',
    station.rpc(world, { deadlineMs: CLIENT_MS }),
  );
  await world.driver.untilCalled(station.verb, earlier + 1);
  // While the driver waits. Where that is init, all who need the driver wait for it.
  if (station.verb !== 'init') await otherLife(world, station);
  const repeated = outcomeOf(station.rpc(world));
  // Time for the repetition to arrive; where it does not, it finds the work done.
  await sleep(500);
  world.driver.go();
  const outcome = await repeated;
  const times = world.driver.count(station.verb) - earlier;
  if (times !== 1 && !station.reads) throw new Error(`${station.verb} was called ${times} times, not once`);
  return outcome;
}

/** Something happens to the driver's file while it runs. */
async function meddle(world: World, misdeed: Misdeed, station: Station, earlier: number): Promise<Outcome> {
  const running = outcomeOf(station.rpc(world));
  await world.driver.untilCalled(station.verb, earlier + 1);
  misdeed.toFile?.(world);
  world.driver.go();
  const outcome = await running;
  if (misdeed.isGone) {
    const [first] = otherStepsAt(station);
    await mustBe(
      'INTERNAL',
      'a call of the driver that is gone',
      first?.up(world),
      new RegExp(world.driver.file),
    );
  }
  return outcome;
}

function repair(world: World, misdeed: Misdeed): void {
  world.driver.heal();
  if (misdeed.toFile) world.driver.install();
}

function otherStepsAt({ attachOn }: Station) {
  return attachOn === 'node' ? otherSteps.slice(1) : otherSteps;
}

/** Another volume, from attach to detach: nothing may go wrong. */
async function otherLife(world: World, station: Station): Promise<void> {
  const steps = otherStepsAt(station);
  for (const { up } of steps) await mustBe('OK', 'the other volume', up(world));
  await mustBe('OK', "the other volume's numbers", otherStats(world));
  for (const { down } of steps.toReversed()) await mustBe('OK', 'the other volume', down(world));
}

/** Undoes what the call made; twice, since a client that got no answer asks again. */
async function takeBack(world: World, aftermath: Aftermath | undefined, station: Station): Promise<void> {
  if (station.isDown) {
    await mustBe('OK', 'the second call', station.rpc(world));
    return;
  }
  const { undo, directory } = station;
  if (undo === undefined) return;
  const path = directory?.(world) ?? 'no directory';
  if (aftermath?.refusal !== undefined) {
    await mustBe('INTERNAL', 'undoing it', undo(world), aftermath.refusal);
  } else {
    await mustBe('OK', 'undoing it', undo(world));
  }
  if (aftermath !== undefined) {
    if (!aftermath.isThere(world, path))
      throw new Error('what the driver left behind was taken away or changed');
    aftermath.clear(world, path);
  }
  await mustBe('OK', 'undoing it again', undo(world));
  const left = world.mounts('victim').filter((mount) => mount.startsWith(path));
  requireNone(left.map((mount) => `a mount at ${mount}`));
}

interface State {
  readonly mounts: readonly string[];
  readonly isAttached: boolean;
}

function stateOf(world: World): State {
  return { mounts: world.mounts('victim'), isAttached: world.isAttached('victim') };
}

/**
 * After a final error nothing that the call mounted or attached is left. After one that is not final nothing is
 * left at the directory, as far as it can be unmounted, and the rest is the client's: it repeats the call, or takes
 * it back. So is what the controller attached.
 */
function requireUndone(
  world: World,
  misdeed: Misdeed,
  station: Station,
  { code }: Outcome,
  before: State,
): void {
  if (station.isDown || station.undo === undefined || code === 'UNAVAILABLE') return;
  const now = stateOf(world);
  if (misdeed.aftermath?.keepsDevice?.(station)) {
    if (!now.isAttached) throw new Error(`after ${code} the volume is detached, though it is mounted`);
    return;
  }
  const isPending = pendingCodes.has(code);
  const directory = station.directory?.(world);
  if (isPending && now.mounts.some((path) => path === directory)) {
    throw new Error(`after ${code} something is mounted at ${directory}`);
  }
  if (!isPending && now.mounts.join() !== before.mounts.join()) {
    throw new Error(`after ${code} mounted: ${now.mounts.join(', ')}; before: ${before.mounts.join(', ')}`);
  }
  if (!isPending && station.rpc !== attached.up && now.isAttached !== before.isAttached) {
    throw new Error(`after ${code} the volume is ${now.isAttached ? 'attached' : 'detached'}`);
  }
}

function checkOutcome(misdeed: Misdeed, station: Station, outcome: Outcome): void {
  const expected = codeOf(misdeed, station);
  if (outcome.code !== expected)
    throw new Error(`expected ${expected}, got ${outcome.code}: ${outcome.details}`);
  const { well = 'OK' } = station.codes ?? {};
  if (expected === well || misdeed.says?.test(outcome.details)) return;
  if (misdeed.says !== undefined || !outcome.details.includes('driver example.com/faulty: ')) {
    throw new Error(`the message does not say what happened: ${outcome.code}: ${outcome.details}`);
  }
}

function codeOf({ ends, code }: Misdeed, station: Station): string {
  const { well = 'OK', final = 'INTERNAL', pending = 'DEADLINE_EXCEEDED' } = station.codes ?? {};
  return code?.(station) ?? { well, final, pending }[ends];
}

function textOf({ aftermath }: Misdeed, station: Station, { code }: Outcome): string {
  const { well = 'OK' } = station.codes ?? {};
  const parts = [code];
  if (code !== well && station.undo && !station.isDown && code !== 'UNAVAILABLE') {
    parts.push(pendingCodes.has(code) ? 'nothing mounted' : 'nothing left');
  }
  if (aftermath !== undefined) parts.push(aftermath.text);
  return parts.join(', ');
}

async function mustBe(
  code: string,
  what: string,
  call: ReturnType<Rpc> | undefined,
  says: RegExp = /(?:)/,
): Promise<void> {
  if (call === undefined) throw new Error(`${what}: no call`);
  const outcome = await outcomeOf(call);
  if (outcome.code !== code)
    throw new Error(`${what}: expected ${code}, got ${outcome.code}: ${outcome.details}`);
  if (!says.test(outcome.details))
    throw new Error(`${what}: the message does not say what happened: ${outcome.details}`);
}

function requireNone(problems: readonly string[]): void {
  if (problems.length > 0) throw new Error(`left: ${problems.join('; ')}`);
}
