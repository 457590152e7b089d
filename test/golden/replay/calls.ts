/** What the replay asks of flexcsi: the same questions over CSI and, for what CSI cannot say, below it. */
import type { GoldenRecord } from './records.ts';
import { optionsOf, volumeNameOf } from './records.ts';

export interface Volume {
  readonly name: string;
  readonly inline: boolean;
  readonly fsType: string;
  readonly readOnly: boolean;
  readonly options: Readonly<Record<string, string>>;
  readonly mountFlags: readonly string[];
}

export interface PublishDetails {
  readonly target: string;
  /** Undefined for a driver that is not staged. */
  readonly staging: string | undefined;
  readonly device: string;
  readonly pod: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly serviceAccount: string;
  };
  readonly secrets: Readonly<Record<string, Buffer>>;
  readonly group: string | undefined;
}

/** Each method rejects with the error that the caller of flexcsi gets. */
export interface Calls {
  /** Answers the device. */
  attach(volume: Volume, node: string): Promise<string>;
  detach(volumeId: string, node: string): Promise<void>;
  stage(volume: Volume, staging: string, device: string): Promise<void>;
  unstage(volumeId: string, staging: string): Promise<void>;
  publish(volume: Volume, details: PublishDetails): Promise<void>;
  unpublish(volumeId: string, target: string): Promise<void>;
  /** Answers the new size, and whether the node has to expand as well. */
  expandVolume(volume: Volume, bytes: bigint): Promise<{ bytes: bigint; onNode: boolean }>;
  expandFileSystem(volume: Volume, path: string, staging: string, bytes: bigint): Promise<void>;
}

/** The volume that a record is about. */
export function volumeOf(record: GoldenRecord): Volume {
  const { kind, fsType = '', readOnly = false, mountOptions = [] } = record.given;
  return {
    name: volumeNameOf(record),
    inline: kind === 'inline',
    fsType,
    readOnly,
    options: optionsOf(record),
    mountFlags: mountOptions,
  };
}

/** What kubelet says of the pod, its secret and its group. */
export function detailsOf(record: GoldenRecord): Pick<PublishDetails, 'pod' | 'secrets' | 'group'> {
  const { pod, secret, fsGroup } = record.given;
  return {
    pod: {
      name: pod?.name ?? '',
      namespace: pod?.namespace ?? '',
      uid: pod?.uid ?? '',
      serviceAccount: pod?.serviceAccountName ?? '',
    },
    secrets: Object.fromEntries(
      Object.entries(secret?.data_base64 ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64')]),
    ),
    group: fsGroup === undefined ? undefined : String(fsGroup),
  };
}
