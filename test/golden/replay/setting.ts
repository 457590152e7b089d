/** What a scenario runs in, read from its records: the driver and its `init`, time limits, foreign devices. */
import type { DriverAnswer, GoldenRecord, Scenario } from './records.ts';

export interface Setting {
  /** FlexVolume's name. */
  readonly driverName: string;
  readonly init: DriverAnswer;
  /** Whether `init` says so; kubelet's default is true. */
  readonly attaches: boolean;
  readonly node: string;
  readonly timeoutMs: number;
  readonly groupPolicy: 'Always' | 'OnRootMismatch' | undefined;
  /** Seconds as recorded to seconds as replayed: shorter, with the same relations to the time limit. */
  readonly scale: (seconds: number) => number;
  /** Paths under /dev that the records name. None of them is meant to be a device of this machine. */
  readonly foreignDevices: readonly string[];
}

/** Between SIGTERM and SIGKILL, in kubelet and in flexcsi. Not shortened. */
const KILL_AFTER_SECONDS = 10;
const SCALE = 0.5;

export function settingOf({ records }: Scenario): Setting {
  const answers = records.flatMap(({ calls }) => calls.map((call) => call.driver_answer));
  const init = initOf(records);
  const isTimed = answers.some(({ runs_seconds, waits_for_child_with_stdout_open_seconds: waits }) =>
    [runs_seconds, waits].some((seconds) => seconds !== undefined),
  );
  const limit = isTimed
    ? records.find(({ given }) => given.timeout_seconds)?.given.timeout_seconds
    : undefined;
  const groupPolicy = records.find(({ given }) => given.fsGroupChangePolicy)?.given.fsGroupChangePolicy;
  return {
    driverName: driverNameOf(records),
    init,
    attaches: saysTrue(init, 'attach'),
    node: records.find(({ given }) => given.node)?.given.node ?? 'node-1',
    timeoutMs: limit === undefined ? 60_000 : limit * SCALE * 1000,
    groupPolicy,
    scale: (seconds) =>
      limit !== undefined && seconds > limit + KILL_AFTER_SECONDS ? seconds : seconds * SCALE,
    foreignDevices: devicesIn(records),
  };
}

function driverNameOf(records: readonly GoldenRecord[]): string {
  const given = records.find((record) => record.given.driver !== undefined)?.given.driver;
  const entry = records
    .flatMap(({ calls }) => calls)[0]
    ?.exec.split('/')
    .at(-2);
  return given ?? entry?.replaceAll('~', '/') ?? 'example.com/golden';
}

/**
 * The answer to `init`. Where the records do not say it, one that fits: an in-line volume was recorded with
 * `mount` alone, so of a driver that does not attach (under CSI an attaching one does all of it in one call);
 * metrics as they were found. Else kubelet's defaults.
 */
function initOf(records: readonly GoldenRecord[]): DriverAnswer {
  const said = records.find(({ given }) => given.init_answer !== undefined)?.given.init_answer;
  if (said !== undefined) return { exit: 0, stdout: said };
  const [first] = records;
  const recorded = first?.calls.find(({ argv }) => argv[0] === 'init');
  if (recorded !== undefined && isStart(first as GoldenRecord)) return recorded.driver_answer;
  const capabilities: Record<string, boolean> = {};
  if (!records.some(isAttaching)) capabilities.attach = false;
  const metrics = records.find(({ step }) => step === 'GetMetrics');
  if (metrics !== undefined) capabilities.supportsMetrics = metrics.outcome.ok === true;
  return { exit: 0, stdout: JSON.stringify({ status: 'Success', capabilities }) };
}

function isStart({ step }: GoldenRecord): boolean {
  return step === 'Probe' || step === 'kubelet starts';
}

/** Whether this step is one of a driver that attaches, or may be: all but those of in-line volumes' mounts. */
function isAttaching({ step, given }: GoldenRecord): boolean {
  if (step === 'SetUp' || step === 'GetMetrics') return given.kind !== 'inline';
  return step !== 'TearDown';
}

/** A capability in the answer to `init`, with kubelet's default: true. */
function saysTrue(init: DriverAnswer, name: string): boolean {
  try {
    const { capabilities } = JSON.parse(init.stdout ?? '') as { capabilities?: Record<string, unknown> };
    return capabilities?.[name] !== false;
  } catch {
    return true;
  }
}

function devicesIn(records: readonly GoldenRecord[]): string[] {
  const texts = records.flatMap(({ given, calls }) => [
    given.device ?? '',
    ...calls.map((call) => /"device"\s*:\s*"([^"]*)"/.exec(call.driver_answer.stdout ?? '')?.[1] ?? ''),
  ]);
  return [...new Set(texts.filter((text) => text.startsWith('/dev/')))];
}
