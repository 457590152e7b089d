/** A driver that does what the case says: for each verb one answer of a prepared list, and something beside it. */
import { chmodSync, mkdirSync, renameSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { answerText } from '../support/answer-model.ts';
import { anyBytes } from '../support/bytes.ts';
import { recordedOutputs } from '../support/golden.ts';

/**
 * What a driver does before it answers. `tell`: prints all that it was told, secrets in plain and in base64 as well,
 * as a careless one does with `set -x`.
 */
export type Act = 'nothing' | 'mount' | 'unmount' | 'tell' | 'file';

export interface Plan {
  readonly act: Act;
  readonly exit: number;
  /** Which answer, by its number. */
  readonly answer: number;
}

export type Plans = Readonly<Record<string, Plan>>;

/** All verbs that flexcsi calls, but `init`. */
export const verbs = [
  ...['attach', 'isattached', 'waitforattach', 'mountdevice', 'mount', 'unmount', 'unmountdevice', 'detach'],
  ...['expandvolume', 'expandfs', 'provision', 'delete', 'getvolume', 'listvolumes', 'getcapacity'],
  ...['modifyvolume', 'snapshot', 'deletesnapshot', 'listsnapshots'],
];

const success = (fields: object = {}): string => JSON.stringify({ status: 'Success', ...fields });
const failure = (code: string): string =>
  JSON.stringify({ status: 'Failure', code, message: `says ${code}\nin two lines \u0007` });

const volume = { volume: 'vol-1', capacityBytes: 1_048_576, options: { size: '1' }, nodes: ['node-1'] };
const snapshot = { snapshot: 'snap-1', sourceVolume: 'vol-1', creationTime: 1_790_000_000, sizeBytes: 4096 };

/** Answers that fit, to any verb at once where possible: only with them the calls get far. */
const good = [
  success(),
  success({ ...volume, attached: true, device: 'd' }),
  success({
    ...volume,
    device: '',
    volumes: [volume, { volume: 'vol-2' }],
    snapshots: [snapshot],
    availableBytes: 9,
  }),
  success({ ...snapshot, ...volume, sourceVolume: 'vol-2', topology: { zone: 'a' }, attached: false }),
  success({ ...snapshot, snapshots: [], volumes: [], availableBytes: 0, device: 'DEVICE' }),
  success({ ...snapshot, ready: false, creationTime: 99_999_999_999_999 }),
  '{"status":"Not supported"}',
  '{"status":"Failure","message":"no"}',
  ...['NOT_FOUND', 'ALREADY_EXISTS', 'RESOURCE_EXHAUSTED', 'ABORTED', 'OUT_OF_RANGE', 'OK', 'nonsense'].map(
    failure,
  ),
];

const long = 'x'.repeat(5_000);
const bad = [
  '',
  'lvs: command not found',
  '{"status":"Success"',
  '{"status":"Success"}{"status":"Success"}',
  success({ device: long, capacityBytes: -1 }),
  success({
    device: '/dev/zero\n\u0000',
    options: { [long]: long },
    capacityBytes: 9_007_199_254_740_993n.toString(),
  }),
  success({ volumes: [{}], snapshots: [{}], options: { __proto__: null, 'kubernetes.io/secret/x': 'y' } }),
  success({
    volumes: Array.from({ length: 3_000 }, (_, at) => ({
      volume: `volume-${at}`,
      options: { o: 'x'.repeat(900) },
    })),
  }),
  success({
    snapshots: Array.from({ length: 300 }, (_, at) => ({
      ...snapshot,
      snapshot: `s${at}`,
      topology: [{}, { a: 'b' }],
    })),
  }),
  success({ volumes: [{ volume: long }], snapshot: long, sourceVolume: long, creationTime: 0 }),
  success({ topology: { 'a b': '' }, nodes: [1], creationTime: '1' }),
  '{"status":"Success","capacityBytes":9223372036854775807,"availableBytes":9223372036854775807,"creationTime":9223372036854775807,"sizeBytes":9223372036854775807}',
  '{"status":"Failure","message":"\\ud800 \\u0000 half"}',
  `{"status":"Failure","message":"${'y'.repeat(100_000)}"}`,
  'z'.repeat(2_000_000),
];

const more = [
  ...recordedOutputs(),
  ...fc.sample(answerText, { numRuns: 60, seed: 1 }).map(({ bytes }) => bytes),
  ...fc.sample(anyBytes, { numRuns: 20, seed: 1 }),
];

/** Of drivers that do all there is. */
const everything = {
  ...{
    provision: true,
    clone: true,
    snapshot: true,
    getvolume: true,
    listvolumes: true,
    publishednodes: true,
  },
  ...{
    listsnapshots: true,
    getcapacity: true,
    modifyvolume: true,
    topology: { zone: 'a' },
    maxVolumesPerNode: 2,
  },
};

/** What `init` may say. Where it is nothing that can be used, the driver stays what it was. */
const inits = [
  success({ capabilities: everything }),
  success({ capabilities: { ...everything, maxVolumesPerNode: 0, getvolume: false } }),
  success({ capabilities: { ...everything, attach: false } }),
  success({ capabilities: { ...everything, secrets: 'stdin', modifyvolume: 'iops', topology: null } }),
  success(),
  success({
    capabilities: { attach: false, fsGroup: false, requiresFSResize: false, supportsMetrics: false },
  }),
  success({ capabilities: { provision: true, listvolumes: true, snapshot: true } }),
  success({
    capabilities: { provision: 1, topology: [], maxVolumesPerNode: -1, secrets: true, modifyvolume: ',' },
  }),
  success({ capabilities: null }),
  '{"status":"Success","capabilities":{"attach":"true"}}',
  '{"status":"Not supported"}',
  'no answer',
];

export const inPlan: fc.Arbitrary<Plan> = fc.record(
  {
    act: fc.oneof(
      { weight: 6, arbitrary: fc.constant<Act>('nothing') },
      { weight: 4, arbitrary: fc.constantFrom<Act>('mount', 'unmount') },
      { weight: 2, arbitrary: fc.constant<Act>('tell') },
      { weight: 1, arbitrary: fc.constant<Act>('file') },
    ),
    exit: fc.oneof(
      { weight: 6, arbitrary: fc.constant(0) },
      { weight: 2, arbitrary: fc.constantFrom(1, 2, 127, 255) },
    ),
    answer: fc.oneof(
      { weight: 8, arbitrary: fc.nat({ max: good.length - 1 }) },
      { weight: 2, arbitrary: fc.integer({ min: good.length, max: good.length + bad.length - 1 }) },
      {
        weight: 1,
        arbitrary: fc.integer({
          min: good.length + bad.length,
          max: good.length + bad.length + more.length - 1,
        }),
      },
    ),
  },
  { noNullPrototype: true },
);

/** Undefined: `init` is not asked again. */
export const inInit: fc.Arbitrary<number | undefined> = fc.option(
  fc.oneof(fc.nat({ max: 3 }), fc.nat({ max: inits.length - 1 })),
  { freq: 2, nil: undefined },
);

/** Few programs: it runs often. What acts print is dropped, but for `tell`. */
const program = (control: string): string => `#!/bin/sh
verb= act= exit= answer=
while read -r verb act exit answer; do [ "$verb" = "$1" ] && break; done < '${control}/plan'
case $act in
  mount) case $1 in mount | mountdevice) mount -t tmpfs -o size=64k fuzz "$2" > /dev/null 2>&1 ;; esac ;;
  unmount) case $1 in unmount | unmountdevice) umount "$2" > /dev/null 2>&1 ;; esac ;;
  file) case $1 in mount | mountdevice) echo x > "$2/file" ;; esac 2> /dev/null ;;
  tell)
    json=$2
    for one; do case $one in '{'*) json=$one ;; -) json=$(cat) ;; esac; done
    printf '+ %s\\n' "$@" "$json"
    printf '%s' "$json" | grep -o '"kubernetes.io/secret/[^"]*":"[^"]*' | sed 's/.*"//' |
      while read -r secret; do
        printf '+ password %s ' "$secret"
        printf '%s' "$secret" | base64 -d
        echo
      done
    ;;
esac
cat "${control}/answers/$answer"
exit "$exit"
`;

export class FuzzDriver {
  readonly file: string;
  readonly #control: string;
  /** Of the executable: each change of it is an `init`. */
  #time = 1;

  /** @param device what drivers name as a device: a file that is none. */
  constructor(directory: string, device: string) {
    this.#control = join(directory, 'driver-control');
    this.file = join(directory, 'plugins', 'example.com~fuzz', 'fuzz');
    mkdirSync(join(this.#control, 'answers'), { recursive: true });
    mkdirSync(dirname(this.file), { recursive: true });
    [...good, ...bad, ...more].forEach((answer, at) => {
      const bytes = typeof answer === 'string' ? answer.replace('DEVICE', device) : answer;
      writeFileSync(join(this.#control, 'answers', String(at)), bytes);
    });
    inits.forEach((answer, at) => {
      writeFileSync(join(this.#control, 'answers', `init-${at}`), answer);
    });
    writeFileSync(this.file, program(this.#control));
    chmodSync(this.file, 0o755);
    this.follow({}, 0);
  }

  /** From now on it does this. */
  follow(plans: Plans, init: number | undefined): void {
    if (init !== undefined) this.#init = init;
    const lines = Object.entries(plans).map(([verb, { act, exit, answer }]) =>
      [verb, act, exit, answer].join(' '),
    );
    const aside = join(this.#control, 'plan.new');
    writeFileSync(aside, `${[`init nothing 0 init-${this.#init}`, ...lines].join('\n')}\n`);
    renameSync(aside, join(this.#control, 'plan'));
    if (init === undefined) return;
    this.#time += 1;
    utimesSync(this.file, this.#time, this.#time);
  }

  #init = 0;
}
