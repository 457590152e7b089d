/** The recordings as data: read strictly, so that a field that nobody compares is an error. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';

const bytes = z.string();
const strings = z.array(z.string());

/** What is at a path. `mounted` is false or, for example, `tmpfs (rw)`; `error` is what stat says of a dead mount. */
const pathStateSchema = z.strictObject({
  exists: z.boolean().optional(),
  mode: z.string().optional(),
  mounted: z.union([z.literal(false), z.string()]).optional(),
  uid: z.number().optional(),
  gid: z.number().optional(),
  entries: z.record(z.string(), z.string()).optional(),
  error: z.string().optional(),
});

const printSchema = z.strictObject({
  stdout: bytes.optional(),
  stderr: bytes.optional(),
  stdout_base64: bytes.optional(),
  stderr_base64: bytes.optional(),
});

const driverAnswerSchema = printSchema.extend({
  exit: z.number().optional(),
  killed_by_signal: z.number().optional(),
  writes: z.array(printSchema).optional(),
  driver_does: strings.optional(),
  runs_seconds: z.number().optional(),
  ignores_sigterm: z.boolean().optional(),
  leaves_background_child_with_stdout_open_seconds: z.number().optional(),
  waits_for_child_with_stdout_open_seconds: z.number().optional(),
});

const callSchema = z.strictObject({ exec: z.string(), argv: strings, driver_answer: driverAnswerSchema });

const podSchema = z.strictObject({
  uid: z.string(),
  name: z.string().optional(),
  namespace: z.string().optional(),
  serviceAccountName: z.string().optional(),
});

const optionSchema = z.union([
  z.string(),
  z.strictObject({ repeat: z.string(), times: z.number() }).transform((blob) => ({ ...blob })),
]);

const pairsSchema = z.array(z.tuple([z.string(), z.string()]));

const givenSchema = z.strictObject({
  kind: z.enum(['inline', 'persistentVolume']).optional(),
  driver: z.string().optional(),
  volumeName: z.string().optional(),
  pvName: z.string().optional(),
  fsType: z.string().optional(),
  readOnly: z.boolean().optional(),
  options: z.record(z.string(), optionSchema).optional(),
  options_base64: pairsSchema.optional(),
  secret: z
    .strictObject({
      name: z.string(),
      namespace: z.string(),
      type: z.string(),
      data_base64: z.record(z.string(), z.string()),
      exists: z.boolean().optional(),
    })
    .optional(),
  pod: podSchema.optional(),
  fsGroup: z.number().optional(),
  fsGroupChangePolicy: z.enum(['Always', 'OnRootMismatch']).optional(),
  mountOptions: strings.optional(),
  node: z.string().optional(),
  device: z.string().optional(),
  device_holds: z.string().optional(),
  deviceMountPath: z.string().optional(),
  newSize: z.string().optional(),
  oldSize: z.string().optional(),
  pv_capacity: z.string().optional(),
  pvc_status_capacity: z.string().optional(),
  /** Kubelet does not look at it. Under CSI the pod's reference decides as well: it is what `readOnly` says. */
  pv_flexVolume_readOnly: z.boolean().optional(),
  timeout_seconds: z.number().optional(),
  init_answer: z.string().optional(),
  before: pathStateSchema.optional(),
  change: z.string().optional(),
  find: strings.optional(),
});

const outcomeSchema = z.strictObject({
  ok: z.boolean().optional(),
  error: z.string().optional(),
  error_base64: z.string().optional(),
  /** Kubelet's own crashes. */
  panic: z.string().optional(),
  crash: z.string().optional(),
  kubelet_crashes: z.boolean().optional(),
  device: z.string().optional(),
  attached: z.boolean().nullable().optional(),
  path: z.string().optional(),
  volume_name: z.string().optional(),
  /** Kubelet's name for its own lists; nothing of it reaches a driver. */
  unique_volume_name: z.string().optional(),
  size_bytes: z.number().optional(),
  file_system_bytes: z.number().optional(),
  resized: z.boolean().optional(),
  verb_asked_again_next_time: z.boolean().optional(),
  took_seconds: z.number().optional(),
  usable: z.boolean().optional(),
  driver_name: z.string().optional(),
  capabilities: z
    .strictObject({
      attachable: z.boolean(),
      device_mountable: z.boolean(),
      managed_when_writable: z.boolean(),
      metrics: z.boolean(),
      requires_fs_resize: z.boolean(),
      selinux_relabel: z.boolean(),
    })
    .optional(),
  capacity_bytes: z.number().optional(),
  available_bytes: z.number().optional(),
  used_bytes: z.number().optional(),
  found: z
    .record(
      z.string(),
      z.union([z.string(), z.strictObject({ found: z.literal(true), attachable: z.boolean() })]),
    )
    .optional(),
  seen_by_driver: z
    .strictObject({
      argv0_is_the_path: z.boolean(),
      cwd: z.string(),
      env_names: strings,
      same_process_group_as_kubelet: z.boolean(),
      stdin: z.string(),
      stdout: z.string(),
      umask: z.string().optional(),
    })
    .optional(),
});

const recordSchema = z.strictObject({
  scenario: z.string(),
  step: z.string(),
  given: givenSchema.default({}),
  /** README puts it here, the recordings have it in `given`. */
  options_base64: pairsSchema.optional(),
  calls: z.array(callSchema),
  host_commands: z.array(strings).default([]),
  outcome: outcomeSchema,
  after: z.record(z.string(), pathStateSchema).default({}),
  notes: z.string().optional(),
});

export type GoldenRecord = z.infer<typeof recordSchema>;
export type RecordedCall = z.infer<typeof callSchema>;
export type DriverAnswer = z.infer<typeof driverAnswerSchema>;
export type PathState = z.infer<typeof pathStateSchema>;
export type Given = z.infer<typeof givenSchema>;

/** The steps of one scenario, or of one case of it: they share a driver and its state, and nothing with others. */
export interface Scenario {
  readonly file: string;
  readonly name: string;
  readonly records: readonly GoldenRecord[];
  /** Set when a line could not be understood: then there are as many `unread` records besides. */
  readonly unread: readonly string[];
}

/** All scenarios in the `*.jsonl` files of a directory, in order. */
export function readScenarios(directory: string): Scenario[] {
  const files = readdirSync(directory)
    .filter((name) => name.endsWith('.jsonl'))
    .sort();
  if (files.length === 0) throw new Error(`no recordings (*.jsonl) in ${directory}`);
  return files.flatMap((name) =>
    scenariosOf(basename(name, '.jsonl'), readFileSync(join(directory, name), 'utf8')),
  );
}

function scenariosOf(file: string, text: string): Scenario[] {
  const scenarios: { file: string; name: string; records: GoldenRecord[]; unread: string[] }[] = [];
  for (const line of text.split('\n').filter((one) => one.trim() !== '')) {
    const json = JSON.parse(line) as { scenario?: unknown; step?: unknown };
    const name = String(json.scenario);
    let scenario = scenarios.at(-1);
    if (scenario?.name !== name) {
      scenario = { file, name, records: [], unread: [] };
      scenarios.push(scenario);
    }
    const parsed = recordSchema.safeParse(json);
    if (parsed.success) scenario.records.push(parsed.data);
    else scenario.unread.push(`${String(json.step)}: ${z.prettifyError(parsed.error)}`);
  }
  return scenarios;
}

/** The volume's name: the PersistentVolume's, or for an in-line volume its name in the pod. */
export function volumeNameOf({ given }: GoldenRecord): string {
  const name = given.pvName ?? given.volumeName;
  if (name === undefined) throw new NotUnderstood('neither pvName nor volumeName');
  return name;
}

/** The volume's options as text. A byte that is not UTF-8 stands as a lone surrogate, U+DC80 to U+DCFF. */
export function optionsOf(record: GoldenRecord): Record<string, string> {
  const pairs = record.given.options_base64 ?? record.options_base64;
  if (pairs !== undefined) {
    return Object.fromEntries(pairs.map(([key, value]) => [escaped(key), escaped(value)]));
  }
  return Object.fromEntries(
    Object.entries(record.given.options ?? {}).map(([key, value]) => [
      key,
      typeof value === 'string' ? value : value.repeat.repeat(value.times),
    ]),
  );
}

/** The arguments of a call with `<x repeated N times>` written out, where an option of that shape was given. */
export function argvOf(record: GoldenRecord, call: RecordedCall): string[] {
  const blobs = Object.values(record.given.options ?? {}).filter((value) => typeof value !== 'string');
  return call.argv.map((argument) =>
    blobs.reduce(
      (text, { repeat, times }) => text.replace(`<${repeat} repeated ${times} times>`, repeat.repeat(times)),
      argument,
    ),
  );
}

function escaped(base64: string): string {
  const raw = Buffer.from(base64, 'base64');
  let text = '';
  for (let at = 0; at < raw.length; ) {
    const length = [1, 2, 3, 4].find((size) => isCharacter(raw.subarray(at, at + size)));
    text +=
      length === undefined
        ? String.fromCharCode(0xdc00 + (raw[at] as number))
        : raw.subarray(at, at + length).toString();
    at += length ?? 1;
  }
  return text;
}

function isCharacter(raw: Buffer): boolean {
  try {
    return [...new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(raw)].length === 1;
  } catch {
    return false;
  }
}

/** Something in a record that the replay has no meaning for. Never skipped: the record counts as failed. */
export class NotUnderstood extends Error {
  override readonly name = 'NotUnderstood';
}
