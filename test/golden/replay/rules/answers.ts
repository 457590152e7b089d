/** Verbs that are not asked, and answers that are understood better than by kubelet. */
import { outputOf, statusOf } from '../answers.ts';
import { optionsText } from '../options-text.ts';
import { quantityBytes } from '../quantity.ts';
import type { DriverAnswer, GoldenRecord } from '../records.ts';
import { mountIsLeft } from '../steps/publish.ts';
import { bindCommands, callsOf, madeDirectory, mountedTmpfs, type Rule, targetOf } from './rule.ts';

const onlyVolumeName = /^(?:GetVolumeName|GetDeviceMountPath|ConstructVolumeSpec\b)/;

const neverAsked: Rule = {
  name: 'getvolumename is never asked',
  why: 'it changes nothing, except that a failure fails the operation',
  applies: ({ step }) => onlyVolumeName.test(step),
  // The step feeds the recorded answers to flex/ alone: the decision on them is compared, there is no RPC.
  instead: (expected) => expected,
};

const failsNothing: Rule = {
  name: 'a failing getvolumename fails nothing',
  why: 'it is never asked',
  applies: (record) => {
    const last = record.calls.at(-1);
    if (last?.argv[0] !== 'getvolumename' || onlyVolumeName.test(record.step)) return false;
    const status = statusOf(last.driver_answer);
    const succeeded = status === 'Success' && last.driver_answer.exit === 0;
    return record.outcome.ok === false && !succeeded && status !== 'Not supported';
  },
  instead(expected, record, session) {
    const went = { ...expected, ok: true, words: [], code: undefined };
    if (record.step === 'ExpandVolumeDevice') {
      const { given } = record;
      const sizes = [given.newSize, given.oldSize].map((size) => String(quantityBytes(size ?? '')));
      const argv = [
        'expandvolume',
        optionsText(record, false),
        session.globalMount(given.pvName ?? ''),
        ...sizes,
      ];
      return {
        ...went,
        calls: [{ file: session.driver.file, argv, answer: { stdout: '{"status":"Success"}' } }],
      };
    }
    if (record.step === 'SetUp') {
      const target = targetOf(record, session);
      const staging = session.stagingPath(record.given.pvName ?? '');
      const hostCommands = bindCommands(staging, target, record.given.readOnly === true);
      return { ...went, hostCommands, after: { [target]: mountedTmpfs } };
    }
    return went;
  },
};

/** The one object with a status that JavaScript finds between the first `{` and the last `}` of an output. */
function objectAmongNoise(answer: DriverAnswer): DriverAnswer | undefined {
  const text = outputOf(answer).toString();
  const object = text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1);
  const rest = text.replace(object, '').trim();
  const alone = { stdout: object, exit: answer.exit ?? 1 };
  // In brackets or quotes it is part of something else.
  return statusOf(alone) === undefined || /^[["]/.test(rest) ? undefined : alone;
}

const noise: Rule = {
  name: 'the answer is found among noise',
  why: 'a warning or the trace of `set -x` beside the JSON must not fail the operation',
  applies: (record) => {
    const last = callsOf(record).at(-1)?.driver_answer;
    const isSyntax = /invalid character/.test(record.outcome.error ?? '');
    return (
      record.outcome.ok === false && isSyntax && last !== undefined && objectAmongNoise(last) !== undefined
    );
  },
  instead(expected, record, session) {
    const last = callsOf(record).at(-1) as GoldenRecord['calls'][number];
    const answer = objectAmongNoise(last.driver_answer) as DriverAnswer;
    const object = JSON.parse(answer.stdout ?? '') as Record<string, unknown>;
    const verb = last.argv[0] as string;
    if (object.status !== 'Success' && object.status !== 'Not supported') {
      const words = `${verb} command failed, status: ${object.status}, reason: ${object.message ?? ''}`;
      return { ...expected, words: [words.trim()] };
    }
    if (object.status === 'Success' && answer.exit !== 0) return { ...expected, words: ['exit status'] };
    const result = ['attach', 'waitforattach'].includes(verb) ? { device: object.device ?? '' } : {};
    const went = { ...expected, ok: true, words: [], code: undefined, result };
    const state = mountIsLeft(record) ? mountedTmpfs : madeDirectory;
    if (verb === 'mount' || verb === 'mountdevice')
      return { ...went, after: { [targetOf(record, session)]: state } };
    if (verb === 'unmount' || verb === 'unmountdevice')
      return { ...went, after: { [targetOf(record, session)]: { exists: false } } };
    return went;
  },
};

const usage: Rule = {
  name: 'usage figures unless refused',
  why: 'they come from the mount, not from the driver; only supportsMetrics: false refuses them',
  applies: (record) =>
    record.outcome.capabilities?.metrics === false && !saysNoMetrics(record.calls[0]?.driver_answer),
  instead(expected, record) {
    const { capabilities } = record.outcome;
    return { ...expected, result: { ...expected.result, capabilities: { ...capabilities, metrics: true } } };
  },
};

function saysNoMetrics(answer: DriverAnswer | undefined): boolean {
  return /"supportsMetrics"\s*:\s*false/i.test(answer?.stdout ?? '');
}

const nullCapabilities: Rule = {
  name: 'null capabilities are the defaults',
  why: 'kubelet crashes; null means the default for every other field',
  applies: ({ outcome }) => outcome.panic !== undefined,
  instead(expected, _record, session) {
    const yes = { attachable: true, device_mountable: true, managed_when_writable: true, metrics: true };
    const capabilities = { ...yes, requires_fs_resize: true, selinux_relabel: true };
    const result = { usable: true, driver_name: session.setting.driverName, capabilities };
    return { ...expected, ok: true, words: [], code: undefined, result };
  },
};

export const answerRules: readonly Rule[] = [neverAsked, failsNothing, noise, usage, nullCapabilities];
