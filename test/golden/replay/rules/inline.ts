/** In-line volumes of drivers that attach: Kubernetes does not attach them under CSI, flexcsi does, on the node. */
import { expectationOf } from '../expectation.ts';
import type { GoldenRecord } from '../records.ts';
import type { Rule } from './rule.ts';

const attachStep = 'controller: AttachVolume';
const deviceStep = 'kubelet: UnmountDevice';
const detachStep = 'controller: DetachVolume';
const why = "Kubernetes does not attach CSI's in-line volumes: all of it is in NodePublishVolume";

function isAttached(records: readonly GoldenRecord[]): boolean {
  return records.some(({ step, given }) => step === attachStep && given.kind === 'inline');
}

const notByController: Rule = {
  name: 'in-line volumes are attached on the node',
  why,
  applies: (record, earlier) =>
    isAttached([record]) || (isAttached(earlier) && [deviceStep, detachStep].includes(record.step)),
  instead: (expected) => ({ ...expected, calls: [], hostCommands: [], result: {} }),
};

const attachedAtMount: Rule = {
  name: 'the first pod of an in-line volume attaches it',
  why,
  applies: ({ step }, earlier) =>
    step.startsWith('kubelet: MountVolume') &&
    isAttached(earlier) &&
    !earlier.some((before) => before.step.startsWith('kubelet: MountVolume')),
  instead(expected, _record, session) {
    const attach = session.earlier.findLast(({ step }) => step === attachStep) as GoldenRecord;
    return { ...expected, calls: [...expectationOf(attach, session.translate).calls, ...expected.calls] };
  },
};

const detachedAtUnmount: Rule = {
  name: 'the last pod of an in-line volume detaches it',
  why,
  applies: ({ step }, earlier, later) =>
    step.startsWith('kubelet: UnmountVolume') &&
    isAttached(earlier) &&
    !later.some((after) => after.step.startsWith('kubelet: UnmountVolume')),
  instead(expected, _record, session) {
    const then = session.records
      .slice(session.earlier.length + 1)
      .filter(({ step }) => step === deviceStep || step === detachStep)
      .map((record) => expectationOf(record, session.translate));
    return {
      ...expected,
      calls: [...expected.calls, ...then.flatMap(({ calls }) => calls)],
      hostCommands: [...expected.hostCommands, ...then.flatMap(({ hostCommands }) => hostCommands)],
    };
  },
};

export const inlineRules: readonly Rule[] = [notByController, attachedAtMount, detachedAtUnmount];
