/** Mounts: dead ones, those that a failure leaves, kubelet's default mount. */

import { status } from '@grpc/grpc-js';
import { holdsUnmarkedData } from '../devices.ts';
import type { Expectation } from '../expectation.ts';
import { optionsText } from '../options-text.ts';
import type { GoldenRecord } from '../records.ts';
import type { Session } from '../session.ts';
import { mountIsLeft } from '../steps/publish.ts';
import { bindCommands, callsOf, isBind, madeDirectory, mountedTmpfs, type Rule, targetOf } from './rule.ts';

const mounts = /^(?:SetUp|MountDevice)$/;

/** The call that kubelet left out, of a driver that mounts a tmpfs. */
function callsAfterAll(expected: Expectation, record: GoldenRecord, session: Session): Expectation {
  const target = targetOf(record, session);
  const isPod = record.step === 'SetUp';
  const json = optionsText(record, isPod);
  const argv = isPod ? ['mount', target, json] : ['mountdevice', target, record.given.device ?? '', json];
  const answer = { stdout: '{"status":"Success"}', driver_does: ['mounts a tmpfs on argv[1]'] };
  const calls = [{ file: session.driver.file, argv, answer }];
  return { ...expected, calls, after: { ...expected.after, [target]: mountedTmpfs } };
}

const deadMount: Rule = {
  name: 'a dead mount is not a mount',
  why: 'success must mean usable: it is unmounted, then the driver is called',
  applies: (record) => {
    const isDead =
      record.given.before?.error !== undefined ||
      Object.values(record.after).some(({ error }) => error !== undefined);
    return mounts.test(record.step) && isDead && record.outcome.ok === true && callsOf(record).length === 0;
  },
  instead: (expected, record, session) => ({
    ...callsAfterAll(expected, record, session),
    hostCommands: [['umount', targetOf(record, session)]],
  }),
};

const leftMount: Rule = {
  name: 'what a failed mount leaves is unmounted',
  why: 'a final error means that nothing is mounted',
  applies: (record) => mounts.test(record.step) && record.outcome.ok === false && mountIsLeft(record),
  instead(expected, record, session) {
    // Another rule says that flexcsi succeeds here.
    if (expected.ok) return expected;
    const target = targetOf(record, session);
    const state = record.step === 'SetUp' ? { exists: false } : madeDirectory;
    const hostCommands = [...expected.hostCommands, ['umount', target]];
    return { ...expected, hostCommands, after: { ...expected.after, [target]: state } };
  },
};

const retryAfterLeftMount: Rule = {
  name: 'a retry after a failed mount calls the driver',
  why: 'what the failure had left is unmounted',
  applies: (record, earlier) => {
    const before = earlier.at(-1);
    const failed = before?.step === record.step && before.outcome.ok === false && mountIsLeft(before);
    return mounts.test(record.step) && failed && record.outcome.ok === true && callsOf(record).length === 0;
  },
  instead: callsAfterAll,
};

const readOnlyBind: Rule = {
  name: 'the default bind mount is read-only for ro',
  why: 'CSI demands it',
  applies: ({ step, given, outcome, host_commands }) =>
    (step === 'SetUp' || step.startsWith('kubelet: MountVolume')) &&
    given.readOnly === true &&
    outcome.ok === true &&
    host_commands.some(isBind),
  instead(expected, record, session) {
    const target = targetOf(record, session);
    const source = expected.hostCommands.find(isBind)?.at(-2) ?? '';
    const state = expected.after[target];
    const mounted = typeof state?.mounted === 'string' ? state.mounted.replace('(rw)', '(ro)') : undefined;
    const after = mounted === undefined ? {} : { [target]: { ...state, mounted } };
    const hostCommands = bindCommands(source, target, true);
    return { ...expected, hostCommands, after: { ...expected.after, ...after } };
  },
};

const bindOfNothing: Rule = {
  name: 'only a staged mount is bound',
  why: "without one the pod's data would land on the node's own disk, or there is nothing to bind",
  applies: (record) => {
    const bind = record.host_commands.find(isBind);
    const source = record.after[bind?.at(-2) ?? ''];
    return bind !== undefined && (record.outcome.ok === false || source?.mounted === false);
  },
  instead(expected, record, session) {
    const after = { ...expected.after, [targetOf(record, session)]: { exists: false } };
    return { ...expected, hostCommands: [], ok: false, words: ['does not support mount'], result: {}, after };
  },
};

const unmountsMounts: Rule = {
  name: 'only what is mounted is unmounted',
  why: 'plain umount of any other path may unmount something else',
  applies: ({ given, host_commands }) =>
    given.before?.mounted === false && host_commands.some(([program]) => program === 'umount'),
  instead: (expected) => ({
    ...expected,
    hostCommands: expected.hostCommands.filter(([program]) => program !== 'umount'),
  }),
};

const unmarkedData: Rule = {
  name: 'data without a signature is not formatted',
  why: 'blkid does not recognise all data',
  applies: ({ given, host_commands }) =>
    holdsUnmarkedData(given.device_holds) && host_commands.some(([program]) => program?.startsWith('mkfs')),
  instead: (expected, record, session) => ({
    ...expected,
    hostCommands: expected.hostCommands.filter(([program]) => program === 'blkid'),
    ok: false,
    code: status.FAILED_PRECONDITION,
    words: [record.given.device ?? '', 'not empty'],
    after: { ...expected.after, [targetOf(record, session)]: madeDirectory },
  }),
};

const oncePerStage: Rule = {
  name: 'waitforattach once per stage',
  why: 'CSI stages a volume once per node',
  applies: ({ step, calls }, earlier) => {
    const isMount = /^kubelet: MountVolume for pod \d+$/;
    const isLater = earlier.some((before) => isMount.test(before.step) && before.outcome.ok === true);
    return isMount.test(step) && isLater && calls.some(({ argv }) => argv[0] === 'waitforattach');
  },
  instead: (expected) => ({
    ...expected,
    calls: expected.calls.filter(({ argv }) => argv[0] !== 'waitforattach'),
  }),
};

const mountFlags: Rule = {
  name: 'mount options of a PersistentVolume are passed on',
  why: 'CSI has mount flags: option csi/mountOptions',
  applies: ({ outcome }) => /mount options are not supported/.test(outcome.error ?? ''),
  instead(expected, record, session) {
    const flags = { 'csi/mountOptions': (record.given.mountOptions ?? []).join(',') };
    const argv = ['mount', targetOf(record, session), optionsText(record, true, flags)];
    const answer = { stdout: '{"status":"Success"}', driver_does: ['mounts a tmpfs on argv[1]'] };
    const calls = [{ file: session.driver.file, argv, answer }];
    return { ...expected, calls, ok: true, words: [] };
  },
};

const secretType: Rule = {
  name: 'a secret of any type',
  why: 'CSI does not carry the type',
  applies: ({ given, outcome }) =>
    given.secret !== undefined && /cannot get secret of type/.test(outcome.error ?? ''),
  instead: (expected, record, session) => ({
    ...callsAfterAll(expected, record, session),
    ok: true,
    words: [],
  }),
};

export const mountRules: readonly Rule[] = [
  deadMount,
  leftMount,
  retryAfterLeftMount,
  readOnlyBind,
  bindOfNothing,
  unmountsMounts,
  unmarkedData,
  oncePerStage,
  mountFlags,
  secretType,
];
