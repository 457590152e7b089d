/** Processes: groups, time limits, children that stay, drivers that do not start. */
import { setTimeout as sleep } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import type { Check } from '../expectation.ts';
import type { Session } from '../session.ts';
import { callsOf, type Rule } from './rule.ts';

const ownGroup: Rule = {
  name: 'the driver runs in its own process group',
  why: 'so that all of it can be ended',
  applies: ({ outcome }) => outcome.seen_by_driver?.same_process_group_as_kubelet === true,
  instead: (expected) => ({
    ...expected,
    checks: [
      ...expected.checks,
      ({ calls }) =>
        calls.every(({ pid, processGroup }) => pid === processGroup)
          ? undefined
          : 'the driver does not lead a process group of its own',
    ],
  }),
};

const nodeNamed: Rule = {
  name: 'the driver finds the name of its node in NODE_NAME',
  why: 'a driver that has to know its node must not take another name for it',
  applies: ({ outcome }) => outcome.seen_by_driver?.env_names !== undefined,
  instead: (expected, _record, session) => ({
    ...expected,
    checks: [
      ...expected.checks,
      ({ calls }) => {
        const names = new Set(calls.map(({ env }) => env.get('NODE_NAME')));
        return names.size === 1 && names.has(session.setting.node)
          ? undefined
          : `NODE_NAME was ${[...names]}`;
      },
    ],
  }),
};

const endsAtExit: Rule = {
  name: "a call ends with the driver's exit",
  why: 'a child that is left behind must not hold a volume',
  applies: (record) =>
    callsOf(record).some(
      (call) => call.driver_answer.leaves_background_child_with_stdout_open_seconds !== undefined,
    ),
  instead: (expected, _record, session) => ({
    ...expected,
    checks: [...expected.checks, leavesChild(session)],
  }),
};

function leavesChild(session: Session): Check {
  return () => {
    const children = session.driverProcesses();
    for (const pid of children) process.kill(pid, 'SIGKILL');
    return children.length === 0 ? 'the call has waited for the child, or ended it' : undefined;
  };
}

const wholeGroupEnded: Rule = {
  name: 'past the time limit the whole process group is ended',
  why: 'so that the work really ends; kubelet waits for the child, and crashes when SIGKILL is due',
  applies: ({ outcome, calls }) =>
    outcome.kubelet_crashes === true ||
    (outcome.error === 'timeout' &&
      calls.some((call) => call.driver_answer.waits_for_child_with_stdout_open_seconds !== undefined)),
  instead: (expected, _record, session) => ({
    ...expected,
    ok: false,
    words: [],
    code: status.DEADLINE_EXCEEDED,
    checks: [
      ...expected.checks,
      async () => {
        // SIGKILL takes effect at once, but not before the call returns.
        const soon = Date.now() + 2000;
        while (session.driverProcesses().length > 0 && Date.now() < soon) await sleep(10);
        const left = session.driverProcesses();
        return left.length === 0 ? undefined : `still running: ${left}`;
      },
    ],
  }),
};

const startTold: Rule = {
  name: 'a driver that cannot be started is told',
  why: 'users have to see the cause',
  applies: ({ calls, outcome }) =>
    calls.length === 0 && outcome.error === 'unexpected end of JSON input' && outcome.ok === false,
  instead: (expected, _record, session) => ({
    ...expected,
    checks: [
      ...expected.checks,
      ({ error }) => {
        const message = error?.message ?? '';
        const isTold = message.includes(session.driver.file) || /\d+ bytes/.test(message);
        return isTold && !message.includes('unexpected end') ? undefined : `no cause in: ${message}`;
      },
    ],
  }),
};

export const processRules: readonly Rule[] = [ownGroup, nodeNamed, endsAtExit, wholeGroupEnded, startTold];
