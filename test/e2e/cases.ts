/** What has to work on a cluster, each as somebody would use it. Each case removes what it makes. */
import type { Cluster } from './cluster.ts';
import { boundVolume, claim, DEVICE, MOUNT, type PodSettings, pod, secret } from './objects.ts';

export interface Setting {
  readonly cluster: Cluster;
  /** An image with a shell, for pods. */
  readonly image: string;
  /** The CSI name of the loop driver. */
  readonly driver: string;
  /** The node on which everything happens. */
  readonly node: string;
  readonly storageClass: string;
  readonly snapshotClass: string;
  /** The label selector and namespace of flexcsi's pod on the node. */
  readonly plugin: { readonly namespace: string; readonly selector: string };
  /** The loop driver's FlexVolume name, if kubelet itself serves it as well, from the node's plugin directory. */
  readonly flexVolume: string | undefined;
  /** Restarts kubelet on the node; undefined where the run may not. */
  readonly restartKubelet: (() => Promise<void>) | undefined;
}

export interface Case {
  readonly name: string;
  /** Why it cannot be tried here; undefined when it can. */
  missing?(setting: Setting): Promise<string | undefined>;
  run(setting: Setting): Promise<void>;
}

const SIZE = '64Mi';
/** Smaller ones are none for mkfs.xfs. Of the file systems here it is one that grows while it is mounted. */
const XFS_SIZE = '320Mi';
const GROWN = '400Mi';

export const cases: readonly Case[] = [
  {
    name: 'kubelet knows the driver',
    run: async ({ cluster, node, driver }) => {
      await cluster.until('csinode', node, '.spec.drivers[*].name', new RegExp(`(^| )${driver}( |$)`));
    },
  },
  { name: 'a static volume keeps what a pod wrote', run: (setting) => staticVolume(setting) },
  {
    name: 'a read-only pod cannot write',
    run: (setting) =>
      withVolume(setting, 'e2e-ro', { csi: csi(setting) }, async () => {
        const { cluster } = setting;
        await withPod(setting, 'e2e-ro-w', { volume: { claim: 'e2e-ro' } }, async () => {
          await cluster.sh('e2e-ro-w', `echo kept > ${MOUNT}/file && sync`);
        });
        await withPod(setting, 'e2e-ro-r', { volume: { claim: 'e2e-ro' }, readOnly: true }, async () => {
          await demand(cluster, 'e2e-ro-r', `cat ${MOUNT}/file`, 'kept');
          await demand(cluster, 'e2e-ro-r', `touch ${MOUNT}/x 2>&1 || true`, /Read-only file system/);
        });
      }),
  },
  {
    name: "the pod's group owns the volume",
    run: (setting) =>
      withVolume(setting, 'e2e-group', { csi: csi(setting) }, () =>
        withPod(setting, 'e2e-group', { volume: { claim: 'e2e-group' }, fsGroup: 4711 }, async () => {
          await demand(setting.cluster, 'e2e-group', `stat -c %g ${MOUNT}`, '4711');
        }),
      ),
  },
  {
    name: 'an in-line volume',
    run: (setting) => {
      const inline = { csi: { driver: setting.driver, fsType: 'ext4', volumeAttributes: { size: SIZE } } };
      return withPod(setting, 'e2e-inline', { volume: { inline } }, async () => {
        await demand(setting.cluster, 'e2e-inline', `echo x > ${MOUNT}/f; cat ${MOUNT}/f`, 'x');
      });
    },
  },
  {
    name: 'a raw block volume',
    run: (setting) =>
      withVolume(
        setting,
        'e2e-block',
        { csi: csi(setting) },
        async () => {
          const { cluster } = setting;
          const volume = { claim: 'e2e-block' };
          await withPod(setting, 'e2e-block-w', { volume, block: true }, async () => {
            await cluster.sh('e2e-block-w', `echo raw | dd of=${DEVICE} bs=512 conv=fsync 2>/dev/null`);
          });
          await withPod(setting, 'e2e-block-r', { volume, block: true }, async () => {
            await demand(cluster, 'e2e-block-r', `head -c 3 ${DEVICE}`, 'raw');
          });
        },
        true,
      ),
  },
  {
    name: 'a secret reaches the driver and no log',
    run: async (setting) => {
      const { cluster, plugin } = setting;
      const canary = `canary-${Math.random().toString(36).slice(2)}`;
      await cluster.apply(secret('e2e-secret', { password: canary }));
      const reference = { nodePublishSecretRef: { name: 'e2e-secret', namespace: 'default' } };
      await withVolume(setting, 'e2e-secret', { csi: { ...csi(setting), ...reference } }, () =>
        withPod(setting, 'e2e-secret', { volume: { claim: 'e2e-secret' } }, async () => {
          const logs = await cluster.kubectl([
            'logs',
            '-n',
            plugin.namespace,
            '-l',
            plugin.selector,
            '--all-containers',
            '--tail=-1',
          ]);
          if (!logs.includes('e2e-secret')) throw new Error('the log of flexcsi does not mention the volume');
          if (logs.includes(canary)) throw new Error('the secret is in the log of flexcsi');
        }),
      );
      await cluster.delete('secret', 'e2e-secret');
    },
  },
  { name: 'a volume made for a claim, grown while in use', run: (setting) => dynamicVolume(setting) },
  { name: 'a volume that flexcsi has not made grows', run: (setting) => foreignVolume(setting) },
  {
    name: 'a snapshot and a volume of it',
    missing: async ({ cluster }) => {
      const api = await cluster.kubectl([
        'api-resources',
        '--api-group=snapshot.storage.k8s.io',
        '-o',
        'name',
      ]);
      return api.includes('volumesnapshots') ? undefined : 'the VolumeSnapshot CRDs';
    },
    run: (setting) => restoredVolume(setting),
  },
  { name: 'flexcsi is killed while a volume is in use', run: (setting) => killedPlugin(setting) },
  {
    name: 'a volume that kubelet used as FlexVolume a minute ago',
    missing: async ({ flexVolume }) => (flexVolume === undefined ? '--flex-volume' : undefined),
    run: (setting) => handedOver(setting),
  },
  {
    name: 'kubelet restarts while a volume is in use',
    missing: async ({ restartKubelet }) => (restartKubelet === undefined ? '--restart-kubelet' : undefined),
    run: (setting) => restartedKubelet(setting),
  },
];

function csi({ driver }: Setting, attributes: Readonly<Record<string, string>> = { size: SIZE }): object {
  return { driver, fsType: 'ext4', volumeAttributes: attributes };
}

/** A static volume with its claim, for as long as the work takes. `source` has the volume's name as its handle. */
async function withVolume(
  { cluster }: Setting,
  name: string,
  source: { readonly csi: object },
  work: () => Promise<void>,
  block = false,
): Promise<void> {
  await cluster.apply(
    ...boundVolume(name, { source: { csi: { volumeHandle: name, ...source.csi } }, block }),
  );
  try {
    await work();
  } finally {
    await cluster.delete('pvc', name);
    await cluster.delete('pv', name);
  }
}

/** A running pod, for as long as the work takes; then it and its mounts are gone. */
async function withPod(
  { cluster, image, node }: Setting,
  name: string,
  settings: Omit<PodSettings, 'image'>,
  work: () => Promise<void>,
): Promise<void> {
  await cluster.apply(pod(name, { image, node, ...settings }));
  try {
    await cluster.running(name);
    await work();
  } finally {
    await cluster.delete('pod', name);
  }
}

async function demand(
  cluster: Cluster,
  name: string,
  command: string,
  wanted: string | RegExp,
): Promise<void> {
  const said = (await cluster.sh(name, command)).trim();
  if (typeof wanted === 'string' ? said !== wanted : !wanted.test(said)) {
    throw new Error(`in pod ${name}: ${command} says "${said}", not ${wanted}`);
  }
}

async function staticVolume(setting: Setting): Promise<void> {
  const { cluster } = setting;
  await withVolume(setting, 'e2e-static', { csi: csi(setting) }, async () => {
    await withPod(setting, 'e2e-static-w', { volume: { claim: 'e2e-static' } }, async () => {
      await cluster.sh('e2e-static-w', `echo kept > ${MOUNT}/file && sync`);
    });
    await withPod(setting, 'e2e-static-r', { volume: { claim: 'e2e-static' } }, () =>
      demand(cluster, 'e2e-static-r', `cat ${MOUNT}/file`, 'kept'),
    );
  });
}

async function dynamicVolume(setting: Setting): Promise<void> {
  const { cluster, storageClass } = setting;
  const name = 'e2e-dynamic';
  await cluster.apply(claim(name, storageClass, { storage: XFS_SIZE }));
  try {
    // Without a node: the scheduler has to choose one, for a class that waits for the first consumer.
    await cluster.apply(pod(name, { image: setting.image, volume: { claim: name } }));
    await cluster.running(name);
    await cluster.sh(name, `echo kept > ${MOUNT}/file && sync`);
    await grow(cluster, name);
    await demand(cluster, name, `cat ${MOUNT}/file`, 'kept');
  } finally {
    await cluster.delete('pod', name);
    const volume = await cluster.field('pvc', name, '.spec.volumeName');
    await cluster.delete('pvc', name);
    if (volume !== '') await cluster.until('pv', volume, '.metadata.name', '');
  }
}

/** Its options and old size are in no CSI request: flexcsi reads them from the PersistentVolume and the claim. */
async function foreignVolume(setting: Setting): Promise<void> {
  const { cluster, driver, storageClass } = setting;
  const name = 'e2e-foreign';
  // Another one each time: nobody deletes a volume that the driver has not made, and it grows only once.
  const volumeHandle = `${name}-${Date.now()}`;
  const csi = { driver, volumeHandle, fsType: 'xfs', volumeAttributes: { size: XFS_SIZE } };
  await cluster.apply(...boundVolume(name, { source: { csi }, storage: XFS_SIZE, storageClass }));
  try {
    await withPod(setting, name, { volume: { claim: name } }, async () => {
      await cluster.sh(name, `echo kept > ${MOUNT}/file && sync`);
      await grow(cluster, name);
      await demand(cluster, name, `cat ${MOUNT}/file`, 'kept');
    });
  } finally {
    await cluster.delete('pvc', name);
    await cluster.delete('pv', name);
  }
}

/** Grows a claim while the pod of its name has it mounted. */
async function grow(cluster: Cluster, name: string): Promise<void> {
  const size = async () => Number(await cluster.sh(name, `df -k ${MOUNT} | tail -n 1 | awk '{print $2}'`));
  const before = await size();
  const wanted = { spec: { resources: { requests: { storage: GROWN } } } };
  await cluster.kubectl(['patch', 'pvc', name, '-p', JSON.stringify(wanted)]);
  await cluster.until('pvc', name, '.status.capacity.storage', GROWN);
  const after = await size();
  if (!(after > before))
    throw new Error(`the file system has ${after} KiB after it was grown, ${before} before`);
}

async function restoredVolume(setting: Setting): Promise<void> {
  const { cluster, storageClass, snapshotClass, image } = setting;
  const [original, snapshot, copy] = ['e2e-original', 'e2e-snapshot', 'e2e-copy'];
  await cluster.apply(claim(original, storageClass, { storage: XFS_SIZE }));
  try {
    await cluster.apply(pod(original, { image, volume: { claim: original } }));
    await cluster.running(original);
    await cluster.sh(original, `echo before > ${MOUNT}/file && sync`);
    await cluster.apply({
      apiVersion: 'snapshot.storage.k8s.io/v1',
      kind: 'VolumeSnapshot',
      metadata: { name: snapshot },
      spec: { volumeSnapshotClassName: snapshotClass, source: { persistentVolumeClaimName: original } },
    });
    await cluster.until('volumesnapshot', snapshot, '.status.readyToUse', 'true');
    await cluster.sh(original, `echo after > ${MOUNT}/file && sync`);
    const dataSource = { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: snapshot };
    await cluster.apply(
      claim(copy, storageClass, { storage: XFS_SIZE, dataSource }),
      pod(copy, { image, volume: { claim: copy } }),
    );
    await cluster.running(copy);
    await demand(cluster, copy, `cat ${MOUNT}/file`, 'before');
    await demand(cluster, original, `cat ${MOUNT}/file`, 'after');
  } finally {
    await cluster.delete('pod', original, copy);
    await cluster.delete('pvc', copy);
    await cluster.delete('volumesnapshot', snapshot);
    await cluster.delete('pvc', original);
  }
}

async function killedPlugin(setting: Setting): Promise<void> {
  const { cluster, plugin } = setting;
  const ofPlugin = ['-n', plugin.namespace, '-l', plugin.selector];
  await withVolume(setting, 'e2e-killed', { csi: csi(setting) }, async () => {
    await withPod(setting, 'e2e-killed', { volume: { claim: 'e2e-killed' } }, async () => {
      await cluster.sh('e2e-killed', `echo kept > ${MOUNT}/file && sync`);
      await cluster.kubectl(['delete', 'pod', ...ofPlugin, '--grace-period=0', '--force', '--wait=false']);
      await demand(cluster, 'e2e-killed', `cat ${MOUNT}/file; echo more >> ${MOUNT}/file; sync`, 'kept');
      // What begins meanwhile is done when it is back.
    });
    await cluster.kubectl(['wait', 'pod', ...ofPlugin, '--for=condition=Ready', '--timeout=180s']);
    await withPod(setting, 'e2e-killed-r', { volume: { claim: 'e2e-killed' } }, () =>
      demand(cluster, 'e2e-killed-r', `cat ${MOUNT}/file`, 'kept\nmore'),
    );
  });
}

/** The same name, and the same options under another key: that is all that changes. */
async function handedOver(setting: Setting): Promise<void> {
  const { cluster, flexVolume, driver } = setting;
  const name = 'e2e-handover';
  const options = { size: SIZE };
  const around = async (source: object, podName: string, work: () => Promise<void>): Promise<void> => {
    await cluster.apply(...boundVolume(name, { source }));
    try {
      await withPod(setting, podName, { volume: { claim: name } }, work);
    } finally {
      await cluster.delete('pvc', name);
      await cluster.delete('pv', name);
    }
  };
  await around({ flexVolume: { driver: flexVolume, fsType: 'ext4', options } }, `${name}-flex`, async () => {
    await cluster.sh(`${name}-flex`, `echo kept > ${MOUNT}/file && sync`);
  });
  const source = { csi: { driver, volumeHandle: name, fsType: 'ext4', volumeAttributes: options } };
  await around(source, `${name}-csi`, () => demand(cluster, `${name}-csi`, `cat ${MOUNT}/file`, 'kept'));
}

async function restartedKubelet(setting: Setting): Promise<void> {
  const { cluster, restartKubelet, node } = setting;
  await withVolume(setting, 'e2e-kubelet', { csi: csi(setting) }, async () => {
    await withPod(setting, 'e2e-kubelet', { volume: { claim: 'e2e-kubelet' } }, async () => {
      await cluster.sh('e2e-kubelet', `echo kept > ${MOUNT}/file && sync`);
      await restartKubelet?.();
      await cluster.until('node', node, '.status.conditions[?(@.type=="Ready")].status', 'True');
      await cluster.answers('e2e-kubelet');
      await demand(cluster, 'e2e-kubelet', `cat ${MOUNT}/file`, 'kept');
    });
  });
  // Kubelet has found the driver again by itself.
  await staticVolume(setting);
}
