/** The directories of one soak: all of it is below one of its own. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';

export const NODE = 'soak-node';
export const CSI_NAME = 'soak.flexcsi';
/** In the environment of every process of a soak, with its directory. */
export const MARK = 'FLEXCSI_SOAK';

export interface Places {
  readonly root: string;
  /** What the driver has made. */
  readonly world: string;
  readonly driver: string;
  readonly kubelet: string;
  readonly state: string;
  /** The server's own temporary directory. */
  readonly temporary: string;
  readonly socket: string;
  readonly log: string;
}

export function placesOf(root: string): Places {
  return {
    root,
    world: join(root, 'world'),
    driver: join(root, 'plugins/flexcsi~soak/soak'),
    kubelet: join(root, 'kubelet'),
    state: join(root, 'state'),
    temporary: join(root, 'tmp'),
    socket: join(root, 'csi.sock'),
    log: join(root, 'flexcsi.log'),
  };
}

/** Where kubelet stages a volume. */
export function stagingPath({ kubelet }: Places, volume: string): string {
  const hash = createHash('sha256').update(volume).digest('hex');
  return join(kubelet, 'plugins/kubernetes.io/csi', CSI_NAME, hash, 'globalmount');
}

/** Where kubelet publishes a volume for a pod. */
export function targetPath({ kubelet }: Places, pod: string, volume: string): string {
  return join(kubelet, 'pods', pod, 'volumes/kubernetes.io~csi', volume, 'mount');
}
