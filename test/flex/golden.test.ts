/** The recordings of kubelet's own plugin, at the level of pure functions. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { judge, parseAnswer } from '../../src/flex/answer.ts';
import { driverOptions, encodeOptions, type MountDetails, type Options } from '../../src/flex/options.ts';
import * as verbs from '../../src/flex/verbs.ts';

interface DriverAnswer {
  readonly stdout?: string;
  readonly stderr?: string;
  readonly stdout_base64?: string;
  readonly writes?: readonly { readonly stdout?: string; readonly stderr?: string }[];
  readonly exit?: number;
  readonly killed_by_signal?: number;
}

interface GoldenCall {
  readonly argv: readonly [verbs.Verb | 'getvolumename', ...string[]];
  readonly driver_answer: DriverAnswer;
}

interface Given {
  readonly volumeName?: string;
  readonly pvName?: string;
  readonly fsType?: string;
  readonly readOnly?: boolean;
  readonly options?: Record<string, string>;
  readonly options_base64?: readonly (readonly [string, string])[];
  readonly secret?: { readonly data_base64: Record<string, string> };
  readonly pod?: { name: string; namespace: string; uid: string; serviceAccountName: string };
  readonly fsGroup?: number;
  readonly node?: string;
  readonly device?: string;
}

interface Outcome {
  readonly ok: boolean;
  readonly error?: string;
  readonly device?: string;
  readonly attached?: boolean | null;
  readonly verb_asked_again_next_time?: boolean;
  readonly capabilities?: Record<string, boolean>;
  readonly kubelet_crashes?: boolean;
}

interface GoldenRecord {
  readonly scenario: string;
  readonly step: string;
  readonly given: Given;
  readonly calls: readonly GoldenCall[];
  readonly outcome: Outcome;
}

function records(file: string): GoldenRecord[] {
  const text = readFileSync(new URL(`../golden/${file}.jsonl`, import.meta.url), 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

/** Kubelet's bytes as text: what is not UTF-8 as lone surrogates. */
function textOf(base64: string): string {
  const bytes = Buffer.from(base64, 'base64');
  let text = '';
  for (let at = 0; at < bytes.length; ) {
    const length = [1, 2, 3, 4].find((n) => at + n <= bytes.length && isText(bytes.subarray(at, at + n)));
    text +=
      length === undefined
        ? String.fromCharCode(0xdc00 + (bytes[at] ?? 0))
        : bytes.toString('utf8', at, at + length);
    at += length ?? 1;
  }
  return text;
}

function isText(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

function optionsOf({ options, options_base64 }: Given): Options {
  if (options_base64 === undefined) return options ?? {};
  return Object.fromEntries(options_base64.map(([key, value]) => [textOf(key), textOf(value)]));
}

function mountOf({ pod, secret, fsGroup }: Given): MountDetails | undefined {
  if (pod === undefined) return undefined;
  const { serviceAccountName: serviceAccount, ...rest } = pod;
  const secrets = Object.fromEntries(
    Object.entries(secret?.data_base64 ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64')]),
  );
  const group = fsGroup === undefined ? undefined : String(fsGroup);
  return { pod: { ...rest, serviceAccount }, secrets, group, groupKey: 'current' };
}

/** The JSON argument that this call should carry, from what kubelet was given. */
function expectedOptions(verb: string, given: Given): string {
  return encodeOptions(
    driverOptions({
      volumeName: given.pvName ?? given.volumeName ?? '',
      fsType: given.fsType ?? '',
      readOnly: verb !== 'expandvolume' && given.readOnly === true,
      options: optionsOf(given),
      mount: verb === 'mount' ? mountOf(given) : undefined,
    }),
  );
}

function outputOf({ stdout = '', stderr = '', stdout_base64, writes }: DriverAnswer): Buffer {
  if (stdout_base64 !== undefined) return Buffer.from(stdout_base64, 'base64');
  if (writes === undefined) return Buffer.from(stdout + stderr);
  return Buffer.from(writes.map((write) => write.stdout ?? write.stderr ?? '').join(''));
}

function endOf({ exit, killed_by_signal }: DriverAnswer) {
  if (killed_by_signal === 15) return { signal: 'SIGTERM' };
  return exit === undefined ? {} : { exitCode: exit };
}

const withOptions = ['options', 'answers', 'init', 'mount', 'attach', 'expand', 'paths']
  .flatMap(records)
  .flatMap((record) => record.calls.map((call) => ({ ...record, call })))
  .filter(({ call }) => call.argv.some((argument) => argument.startsWith('{')));

describe('the JSON argument', () => {
  it('is found in many recordings', () => {
    expect(withOptions.length).toBeGreaterThan(200);
  });

  it.each(withOptions)('$scenario $step $call.argv.0', ({ given, call }) => {
    const argument = call.argv.find((one) => one.startsWith('{'));
    expect(expectedOptions(call.argv[0], given)).toBe(argument);
  });
});

describe('the order of the arguments', () => {
  const options = { a: '1' };
  const json = '{"a":"1"}';
  it.each([
    [verbs.attach(options, 'node-1'), ['attach', json, 'node-1']],
    [verbs.isAttached(options, 'node-1'), ['isattached', json, 'node-1']],
    [verbs.waitForAttach('/dev/vdb', options), ['waitforattach', '/dev/vdb', json]],
    [verbs.mountDevice('/dir', '/dev/vdb', options), ['mountdevice', '/dir', '/dev/vdb', json]],
    [verbs.mount('/dir', options), ['mount', '/dir', json]],
    [verbs.unmount('/dir'), ['unmount', '/dir']],
    [verbs.unmountDevice('/dir'), ['unmountdevice', '/dir']],
    [verbs.detach('pv', 'node-1'), ['detach', 'pv', 'node-1']],
    [verbs.expandVolume(options, '/dir', 2n, 1n), ['expandvolume', json, '/dir', '2', '1']],
    [verbs.expandFs(options, '/dev/vdb', '/dir', 2n, 1n), ['expandfs', json, '/dev/vdb', '/dir', '2', '1']],
    [verbs.init(), ['init']],
  ])('%j', ({ verb, args }, expected) => {
    expect([verb, ...args]).toEqual(expected);
    // The same shape as in the recordings: where the JSON stands, and how many arguments there are.
    const recorded = ['attach', 'answers', 'init', 'expand']
      .flatMap(records)
      .flatMap(({ calls }) => calls)
      .find((call) => call.argv[0] === verb);
    const shape = (argv: readonly string[]) => argv.map((argument) => argument.startsWith('{'));
    expect(shape([verb, ...args])).toEqual(recorded && shape(recorded.argv));
  });
});

/** Where kubelet fails on what flexcsi understands: the object among other output. */
const understood = new Set(
  [
    'noise-before',
    'noise-after',
    'noise-line-is-json-number',
    'stderr-noise-stdout-json',
    'stdout-json-stderr-noise',
    'bom',
    'huge-failure',
  ].map((name) => `parse.attach/${name}`),
);

/** The steps that ended with what the driver answered in time to a verb that flexcsi asks as well. */
const answered = ['options', 'answers', 'init', 'attach', 'mount', 'expand', 'process', 'paths']
  .flatMap(records)
  .flatMap((record) => record.calls.slice(-1).map((call) => ({ ...record, call })))
  .filter(({ call }) => call.argv[0] !== 'getvolumename')
  .filter(({ outcome }) => outcome.error !== 'timeout' && outcome.kubelet_crashes !== true);

/** How kubelet's errors begin that come of the driver's answer, not of the host's commands. */
const driversFault =
  /(^|Error: )(json:|unexpected end of JSON|invalid character|exit status|signal:|\w+ command failed, status)/;

describe('what an answer means', () => {
  it.each(answered)('$scenario $step', ({ scenario, step, call, outcome }) => {
    const verb = call.argv[0] as verbs.Verb;
    const parsed = parseAnswer(outputOf(call.driver_answer));
    const verdict = judge(verb, endOf(call.driver_answer), parsed);
    if (understood.has(scenario)) {
      expect(verdict).toMatchObject({ kind: 'success', answer: { device: '/dev/vdc' } });
      return;
    }
    if (outcome.verb_asked_again_next_time === false || outcome.error?.endsWith('Error: Not supported')) {
      expect(verdict.kind).toBe('not-supported');
      return;
    }
    // Kubelet panics on null; a host command may fail or a path may be in the way after the driver's success.
    const isDriversFault = driversFault.test(outcome.error ?? '');
    if (!isDriversFault) {
      expect(verdict.kind).not.toBe('failed');
      if (verdict.kind !== 'success') return;
      if (step === 'Attach' || step === 'WaitForAttach')
        expect(verdict.answer.device ?? '').toBe(outcome.device);
      if (step === 'VolumesAreAttached') expect(verdict.answer.attached ?? false).toBe(outcome.attached);
      if (outcome.capabilities !== undefined)
        expect(capabilitiesOf(verdict.answer.capabilities)).toEqual(outcome.capabilities);
      return;
    }
    expect(verdict.kind).toBe('failed');
    const words = new RegExp(`${verb} command failed, status: .*`, 's').exec(outcome.error ?? '')?.[0];
    if (words !== undefined && verdict.kind === 'failed') expect(verdict.text).toBe(words);
  });
});

function capabilitiesOf(capabilities: {
  attach: boolean;
  fsGroup: boolean;
  selinuxRelabel: boolean;
  requiresFSResize: boolean;
  supportsMetrics: boolean | undefined;
}) {
  return {
    attachable: capabilities.attach,
    device_mountable: capabilities.attach,
    managed_when_writable: capabilities.fsGroup,
    metrics: capabilities.supportsMetrics ?? false,
    requires_fs_resize: capabilities.requiresFSResize,
    selinux_relabel: capabilities.selinuxRelabel,
  };
}
