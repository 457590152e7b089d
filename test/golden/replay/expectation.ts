/** What a record says has to happen, in CSI's terms; the exceptions change it before it is compared. */
import { constants } from 'node:os';
import { status } from '@grpc/grpc-js';
import type { DriverCall } from '../../support/scripted-driver.ts';
import { argvOf, type DriverAnswer, type GoldenRecord, type PathState } from './records.ts';

export interface ExpectedCall {
  readonly file: string;
  readonly argv: readonly string[];
  readonly answer: DriverAnswer;
}

/** What the caller of flexcsi got; the names are those of the record's `outcome`. */
export type Result = Readonly<Record<string, unknown>>;

export interface Seen {
  readonly calls: readonly DriverCall[];
  readonly hostCommands: readonly (readonly string[])[];
  /** Programs that flexcsi has no business to run. */
  readonly strange: readonly string[];
  readonly error?: { readonly message: string; readonly code?: status | undefined } | undefined;
  readonly result: Result;
}

/** Something else to look at: answers what is wrong. */
export type Check = (seen: Seen) => string | undefined | Promise<string | undefined>;

export interface Expectation {
  /** In order; without `getvolumename`, which flexcsi never asks. */
  readonly calls: readonly ExpectedCall[];
  readonly hostCommands: readonly (readonly string[])[];
  readonly ok: boolean;
  /** All of them have to be in the error's message. */
  readonly words: readonly string[];
  readonly code?: status | undefined;
  readonly result: Result;
  readonly after: Readonly<Record<string, PathState>>;
  /** Whether the last verb is executed again when the step is repeated. */
  readonly again?: boolean | undefined;
  readonly checks: readonly Check[];
}

/** @param translate from kubelet's paths to those that CSI has in their place. */
export function expectationOf(record: GoldenRecord, translate: (text: string) => string): Expectation {
  const { outcome } = record;
  const ok = outcome.ok ?? true;
  const error =
    outcome.error_base64 === undefined
      ? outcome.error
      : Buffer.from(outcome.error_base64, 'base64').toString();
  return {
    calls: record.calls
      .filter(({ argv }) => argv[0] !== 'getvolumename')
      .map((call) => ({
        file: call.exec,
        argv: argvOf(record, call).map(translate),
        answer: call.driver_answer,
      })),
    hostCommands: record.host_commands.map((words) => words.map(translate)),
    ok,
    ...(ok ? { words: [], code: undefined } : meaningOf(error ?? '', record, translate)),
    result: ok ? resultOf(record, translate) : {},
    after: Object.fromEntries(Object.entries(record.after).map(([path, state]) => [translate(path), state])),
    again: outcome.verb_asked_again_next_time,
    checks: [],
  };
}

/** Fields that say what kubelet's caller got. Left out: what is only ever seen inside kubelet. */
function resultOf({ outcome }: GoldenRecord, translate: (text: string) => string): Result {
  const { device, attached, size_bytes, file_system_bytes, volume_name } = outcome;
  const { capacity_bytes, available_bytes, used_bytes, usable, driver_name, capabilities } = outcome;
  const all = {
    ...{ device, attached, size_bytes, file_system_bytes, volume_name },
    ...{ capacity_bytes, available_bytes, used_bytes, usable, driver_name, capabilities },
    path: outcome.path === undefined ? undefined : translate(outcome.path),
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

/**
 * What of kubelet's error text has to reach flexcsi's caller. The driver's own words do; the wording of Go's
 * JSON parser and of kubelet itself need not.
 */
function meaningOf(
  error: string,
  record: GoldenRecord,
  translate: (text: string) => string,
): { words: string[]; code?: status } {
  const skipped = /^error creating Flexvolume plugin from directory .*, skipping\. Error: (.*)$/s.exec(error);
  if (skipped !== null) return meaningOf(skipped[1] as string, record, translate);
  const failed = /\w+ command failed, status: .*$/s.exec(error);
  if (failed !== null) return { words: [failed[0].replace(/reason: $/, 'reason:')] };
  if (error === 'timeout') return { words: [], code: status.DEADLINE_EXCEEDED };
  if (error === 'Not supported' || /^exit status \d+$/.test(error)) return { words: [error] };
  if (error.startsWith('signal: ')) return { words: [signalName(record)] };
  const removal = /^remove (.*): (device or resource busy|directory not empty)$/.exec(error);
  if (removal !== null) return { words: [translate(removal[1] as string), removal[2] as string] };
  if (error.startsWith('cannot mount unformatted disk ')) return { words: [error] };
  if (error.startsWith('metrics are not supported')) return { words: [], code: status.UNIMPLEMENTED };
  return { words: [] };
}

function signalName(record: GoldenRecord): string {
  const number = record.calls.at(-1)?.driver_answer.killed_by_signal;
  const entry = Object.entries(constants.signals).find(([, value]) => value === number);
  return entry?.[0] ?? 'SIG';
}
