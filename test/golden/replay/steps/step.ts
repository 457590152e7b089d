/** What a step of kubelet's or of the controller's is in flexcsi. */
import type { Calls } from '../calls.ts';
import type { Result } from '../expectation.ts';
import { type GoldenRecord, optionsOf, volumeNameOf } from '../records.ts';
import type { Session } from '../session.ts';

export interface Step {
  /** The record's `step`. */
  readonly name: RegExp;
  /** Verbs that the CSI call runs as well and that were another step of kubelet's: called, and not compared. */
  readonly aside?: (session: Session, record: GoldenRecord) => readonly string[];
  /** It asks the driver below CSI in any case. */
  readonly isBelow?: boolean;
  /** The path, as recorded, whose state before the step matters. */
  readonly path?: (session: Session, record: GoldenRecord) => string;
  /** Names the paths that CSI has in the place of recorded ones, before anything is compared. */
  readonly begin?: (session: Session, record: GoldenRecord) => void;
  /** Brings about what kubelet had done before; the driver's calls in it are not compared. */
  readonly prepare?: (session: Session, record: GoldenRecord) => Promise<void>;
  /** Scripts the verbs that are called aside. */
  readonly script?: (session: Session, record: GoldenRecord) => void;
  /** The step itself. Rejects with what flexcsi's caller gets. */
  readonly act: (session: Session, record: GoldenRecord) => Promise<Result>;
}

export const success = '{"status":"Success"}';
export const successWith = (fields: object): string => JSON.stringify({ status: 'Success', ...fields });
export const mountsTmpfs = { shell: 'mount -t tmpfs -o mode=0755 tmpfs "$2"', prints: success };

/** Keys that the API server refuses in FlexVolume's options, and flexcsi in a volume's context. */
export function hasReservedKey(record: GoldenRecord): boolean {
  return Object.keys(optionsOf(record)).some((key) =>
    /(?:^|\.)(?:kubernetes|k8s)\.io$/i.test(key.replace(/\/.*/s, '')),
  );
}

export function hasUnsayableOptions(record: GoldenRecord): boolean {
  return Object.entries(optionsOf(record)).some(([key, value]) => !(key + value).isWellFormed());
}

export function hasBinarySecret({ given }: GoldenRecord): boolean {
  return Object.values(given.secret?.data_base64 ?? {}).some((base64) => {
    const bytes = Buffer.from(base64, 'base64');
    return !Buffer.from(bytes.toString()).equals(bytes);
  });
}

/** Whether the record holds what CSI cannot say, so that it is replayed below CSI. */
export function isUnsayable(record: GoldenRecord): boolean {
  return hasReservedKey(record) || hasUnsayableOptions(record) || hasBinarySecret(record);
}

/** flexcsi over CSI, or below it for what CSI cannot say. */
export function callsFor(session: Session, record: GoldenRecord): Calls {
  return isUnsayable(record) ? session.below : session.csi;
}

/** An in-line volume of a driver that attaches: flexcsi does all of it in NodePublishVolume. */
export function isAttachedHere(session: Session, record: GoldenRecord): boolean {
  return record.given.kind === 'inline' && session.setting.attaches;
}

/** Where the volume is, or would be, staged. */
export function stagingOf(session: Session, record: GoldenRecord): string {
  return record.given.deviceMountPath ?? session.stagingPath(volumeNameOf(record));
}
