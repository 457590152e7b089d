/** What the parts of one batch share: its directories, its client, its randomness. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { CsiClient } from '../support/csi-client.ts';
import type { Calls } from './calls.ts';
import type { History } from './history.ts';
import type { Pace } from './pace.ts';

export const NODE = 'crash-node';
export const CSI_NAME = 'loop.flexcsi';
const MIB = 1024 * 1024;

export interface Setting {
  /** The batch's own directory. Nothing outside it is touched. */
  readonly directory: string;
  /** Begins the names of its volumes: other suites may use the same machine. */
  readonly prefix: string;
  readonly attachOn: 'controller' | 'node';
  readonly client: CsiClient;
  readonly calls: Calls;
  readonly history: History;
  readonly pace: Pace;
  /** Goes up when the state directory is lost. */
  readonly lost: { states: number };
  /** What was done, for the summary. */
  readonly done: Totals;
}

export interface Totals {
  volumes: number;
  verified: number;
  written: number;
  expanded: number;
  snapshots: number;
  restored: number;
  /** Pods that ended while a call for them was not answered yet. */
  abandoned: number;
}

export function noTotals(): Totals {
  return { volumes: 0, verified: 0, written: 0, expanded: 0, snapshots: 0, restored: 0, abandoned: 0 };
}

/** Sizes that the tools accept, and how they grow. ext4 cannot grow while it is mounted without CAP_SYS_RESOURCE. */
export const fileSystems = {
  ext4: { bytes: 64 * MIB, growBy: 16 * MIB, growsMounted: false },
  xfs: { bytes: 300 * MIB, growBy: 64 * MIB, growsMounted: true },
  btrfs: { bytes: 256 * MIB, growBy: 64 * MIB, growsMounted: true },
} as const;

export type FileSystem = keyof typeof fileSystems;

/** The places of a batch. */
export const placesOf = (directory: string) => ({
  images: join(directory, 'images'),
  kubelet: join(directory, 'kubelet'),
  state: join(directory, 'state'),
  temporary: join(directory, 'tmp'),
  sockets: join(directory, 'sockets'),
  socket: join(directory, 'sockets/csi.sock'),
  log: join(directory, 'flexcsi.log'),
});

/** Where kubelet has a volume staged. */
export function stagingPath(directory: string, volume: string): string {
  const hash = createHash('sha256').update(volume).digest('hex');
  return join(stagingRoot(directory), hash, 'globalmount');
}

export function stagingRoot(directory: string): string {
  return join(placesOf(directory).kubelet, 'plugins/kubernetes.io/csi', CSI_NAME);
}

/** Where kubelet publishes a volume for a pod. */
export function targetPath(directory: string, pod: string, volume: string): string {
  return join(placesOf(directory).kubelet, 'pods', pod, 'volumes/kubernetes.io~csi', volume, 'mount');
}

export function imageOf(directory: string, volume: string): string {
  return join(placesOf(directory).images, `${volume}.volume/data.img`);
}
