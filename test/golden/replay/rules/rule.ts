import type { Expectation } from '../expectation.ts';
import type { GoldenRecord, PathState } from '../records.ts';
import type { Session } from '../session.ts';
import { podPathOf } from '../steps/publish.ts';
import { stagingOf } from '../steps/step.ts';

export interface Rule {
  readonly name: string;
  /** One line. */
  readonly why: string;
  /** Whether kubelet did here what flexcsi does otherwise; `earlier` and `later` are the scenario's other records. */
  readonly applies: (
    record: GoldenRecord,
    earlier: readonly GoldenRecord[],
    later: readonly GoldenRecord[],
  ) => boolean;
  /** What is compared instead. */
  readonly instead: (expected: Expectation, record: GoldenRecord, session: Session) => Expectation;
}

/** The driver's calls in a record but `getvolumename`. */
export function callsOf(record: GoldenRecord) {
  return record.calls.filter(({ argv }) => argv[0] !== 'getvolumename');
}

/** Where the volume is to be mounted in this step, under CSI. */
export function targetOf(record: GoldenRecord, session: Session): string {
  const isDevice = record.step === 'MountDevice' || record.step === 'UnmountDevice';
  return session.translate(isDevice ? stagingOf(session, record) : podPathOf(session, record));
}

export const mountedTmpfs: PathState = { exists: true, mode: '0755', mounted: 'tmpfs (rw)' };
export const madeDirectory: PathState = { exists: true, mode: '0750', mounted: false };

/** Kubelet's default mount of a pod's directory, as host commands. */
export function bindCommands(source: string, target: string, readOnly: boolean): string[][] {
  const second = readOnly ? 'bind,remount,ro' : 'bind,remount';
  return ['bind', second].map((options) => ['mount', '-t', 'auto', '-o', options, source, target]);
}

export function isBind(words: readonly string[]): boolean {
  return words[0] === 'mount' && words.includes('bind');
}
