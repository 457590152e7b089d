/** The Kubernetes objects of the cases. Pure. */
import { type KubeObject, LABEL } from './cluster.ts';

const labels = { [LABEL]: 'true' };

/** Where pods find the volume. */
export const MOUNT = '/mnt';
/** Where pods find a raw block volume. */
export const DEVICE = '/dev/volume';

export interface PodSettings {
  readonly image: string;
  /** The pod's volume: a claim's name, or the source of an in-line volume. */
  readonly volume: { readonly claim: string } | { readonly inline: object };
  readonly readOnly?: boolean;
  readonly block?: boolean;
  readonly fsGroup?: number;
  readonly node?: string;
  readonly command?: string;
}

/** A pod that sleeps with a volume. In the node's network: some clusters for tests have no other. */
export function pod(name: string, settings: PodSettings): KubeObject {
  const {
    image,
    volume,
    readOnly = false,
    block = false,
    fsGroup,
    node,
    command = 'sleep 100000',
  } = settings;
  const source =
    'claim' in volume ? { persistentVolumeClaim: { claimName: volume.claim, readOnly } } : volume.inline;
  const place = block
    ? { volumeDevices: [{ name: 'volume', devicePath: DEVICE }] }
    : { volumeMounts: [{ name: 'volume', mountPath: MOUNT }] };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels },
    spec: {
      hostNetwork: true,
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 1,
      tolerations: [{ operator: 'Exists' }],
      ...(node === undefined ? {} : { nodeName: node }),
      ...(fsGroup === undefined ? {} : { securityContext: { fsGroup } }),
      containers: [
        {
          name: 'main',
          image,
          command: ['sh', '-c', command],
          ...place,
          ...(block ? { securityContext: { privileged: true } } : {}),
        },
      ],
      volumes: [{ name: 'volume', ...source }],
    },
  };
}

export interface VolumeSettings {
  readonly source: object;
  readonly block?: boolean;
  readonly storage?: string;
  readonly accessMode?: string;
  /** One that lets it grow; none when left out. */
  readonly storageClass?: string;
}

/** A PersistentVolume with its claim, bound to each other. */
export function boundVolume(name: string, settings: VolumeSettings): KubeObject[] {
  const {
    source,
    block = false,
    storage = '64Mi',
    accessMode = 'ReadWriteOnce',
    storageClass = '',
  } = settings;
  const common = {
    accessModes: [accessMode],
    volumeMode: block ? 'Block' : 'Filesystem',
    storageClassName: storageClass,
  };
  return [
    {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name, labels },
      spec: {
        ...common,
        capacity: { storage },
        persistentVolumeReclaimPolicy: 'Retain',
        claimRef: { namespace: 'default', name },
        ...source,
      },
    },
    {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name, labels },
      spec: { ...common, volumeName: name, resources: { requests: { storage } } },
    },
  ];
}

/** A claim for a volume that is to be made, empty or from something. */
export function claim(
  name: string,
  storageClassName: string,
  {
    storage = '64Mi',
    block = false,
    dataSource,
  }: { storage?: string; block?: boolean; dataSource?: object } = {},
): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, labels },
    spec: {
      accessModes: ['ReadWriteOnce'],
      volumeMode: block ? 'Block' : 'Filesystem',
      storageClassName,
      resources: { requests: { storage } },
      ...(dataSource === undefined ? {} : { dataSource }),
    },
  };
}

export function secret(name: string, values: Readonly<Record<string, string>>, type = 'Opaque'): KubeObject {
  return { apiVersion: 'v1', kind: 'Secret', metadata: { name, labels }, type, stringData: values };
}
