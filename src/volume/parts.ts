/** What the steps of this folder work with, and the words in which a request reaches them. */
import type { DriverSource } from '../flex/driver.ts';
import type { GroupKey, Options, Pod } from '../flex/options.ts';
import type { Logger } from '../log.ts';
import type { Host } from '../mount/host.ts';
import type { GroupPolicy } from '../mount/ownership.ts';
import type { Mask } from '../secrets.ts';
import type { RecordStore } from '../state/records.ts';
import type { VolumeLocks } from './lock.ts';
import type { Attached, ProvisionRecord, SharedDevice, VolumeRecord } from './records.ts';

export interface VolumeParts {
  readonly driver: DriverSource;
  readonly host: Host;
  readonly records: RecordStore<VolumeRecord>;
  readonly shared: RecordStore<SharedDevice>;
  readonly provisioned: RecordStore<ProvisionRecord>;
  readonly attached: RecordStore<Attached>;
  /** One call at a time counts the volumes of a node. */
  readonly nodeTurns: VolumeLocks;
  /** Volume and node, with a NUL between them, of the attachments that are being made. */
  readonly attaching: Set<string>;
  /** Mount points where a call has failed and its mount could not be taken back: what is there is no success. */
  readonly leftovers: Set<string>;
  readonly lookup: VolumeLookup;
  readonly settings: VolumeSettings;
  readonly log: Logger;
  /** The running boot, see `state/boot.ts`. */
  readonly boot: string;
}

export interface VolumeSettings {
  /** The CSI name of the driver. */
  readonly csiName: string;
  /** The node's name, as `attach` and `detach` get it. */
  readonly nodeId: string;
  /** Kubelet's root directory. */
  readonly kubeletDir: string;
  readonly attachOn: 'controller' | 'node';
  readonly fsGroupKey: GroupKey;
  readonly fsGroupChangePolicy: GroupPolicy;
  /** Undefined: what the driver says; 0: no limit. */
  readonly maxVolumesPerNode?: number;
}

/** What Kubernetes knows of a volume and a CSI request leaves out. Filled by `kube/`, where there is a cluster. */
export interface VolumeLookup {
  /** Undefined when there is no such volume, or no cluster. */
  find(volumeId: string): Promise<KnownVolume | undefined>;
}

export interface KnownVolume {
  readonly options: Options;
  readonly fsType: string;
  /** The PersistentVolume's capacity in bytes: the old size for `expandvolume`. */
  readonly capacityBytes?: bigint;
  /** The claim's `status.capacity` in bytes: the old size for `expandfs`. */
  readonly claimedBytes?: bigint;
}

/** A look-up where there is no cluster to ask. */
export const noLookup: VolumeLookup = { find: async () => undefined };

/** What a request that attaches, stages or publishes says of the volume. */
export interface VolumeUse {
  readonly volumeId: string;
  /** What drivers know it by (`kubernetes.io/pvOrVolumeName`): the volume id, or an ephemeral volume's name in its pod. */
  readonly name: string;
  /** The volume's own options: `volume_context` without what belongs to Kubernetes. */
  readonly options: Options;
  /** Empty: not said. */
  readonly fsType: string;
  readonly access: 'mount' | 'block';
  readonly readOnly: boolean;
  readonly mountFlags: readonly string[];
  /** Masks the secrets of the request in everything that a driver or host tool prints. */
  readonly mask: Mask;
}

export interface StageRequest extends VolumeUse {
  readonly stagingPath: string;
  /** What `attach` answered on the controller; empty when it named no device or ran nowhere. */
  readonly device: string;
}

export interface PublishRequest extends VolumeUse {
  readonly targetPath: string;
  /** Empty when the driver is not staged. */
  readonly stagingPath: string;
  readonly device: string;
  /** Whether staging was read-only (from the access mode); `readOnly` is this target's own. */
  readonly stageReadOnly: boolean;
  /** No second target on this node (SINGLE_NODE_SINGLE_WRITER). */
  readonly exclusive: boolean;
  readonly ephemeral: boolean;
  readonly pod: Pod;
  readonly secrets: Readonly<Record<string, string>>;
  /** The pod's fsGroup as decimal digits. */
  readonly group?: string;
}
