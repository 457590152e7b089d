/** The operations of kubelet and of the controllers on a volume's whole life, as CSI calls in the same order. */
import { volumeOf } from '../calls.ts';
import type { Result } from '../expectation.ts';
import { quantityBytes } from '../quantity.ts';
import { type GoldenRecord, NotUnderstood, volumeNameOf } from '../records.ts';
import type { Session } from '../session.ts';
import { makeKnown } from './expand.ts';
import { nameTarget, podPathOf, publish, unpublish } from './publish.ts';
import type { Step } from './step.ts';

/** Only kubelet's own books: neither a CSI call nor a call of the driver. */
const books: Step = {
  name: /^kubelet: (?:pod \d+ wants the volume \(AddPodToVolume\)|MarkVolumeAsAttached)$/,
  act: async () => ({}),
};

const attachVolume: Step = {
  name: /^controller: AttachVolume$/,
  async act(session, record) {
    // Kubernetes attaches no in-line volumes of CSI drivers.
    if (record.given.kind === 'inline') return {};
    return { device: await session.csi.attach(volumeOf(record), session.setting.node) };
  },
};

/**
 * MountVolume → NodeStageVolume for the first pod of a driver that attaches, NodePublishVolume, and
 * NodeExpandVolume where the volume has grown meanwhile.
 */
const mountVolume: Step = {
  name: /^kubelet: MountVolume for pod \d+$/,
  begin: nameTarget,
  async prepare(session, record) {
    const claimed = record.given.pvc_status_capacity;
    makeKnown(session, record, claimed === undefined ? undefined : quantityBytes(claimed));
  },
  async act(session, record) {
    const volume = volumeOf(record);
    const staging = session.stagingPath(volume.name);
    if (session.setting.attaches && !volume.inline && !session.staged.has(volume.name)) {
      await session.csi.stage(volume, staging, deviceOf(session));
      session.staged.add(volume.name);
    }
    const target = await publish(session, record);
    const { pv_capacity: capacity, pvc_status_capacity: claimed, readOnly } = record.given;
    if (capacity !== undefined && claimed !== undefined && !readOnly) {
      const bytes = quantityBytes(capacity);
      if (bytes > quantityBytes(claimed) && (await expandsOnNode(session))) {
        await session.csi.expandFileSystem(volume, target, staging, bytes);
      }
    }
    return {};
  },
};

/** The device that goes from ControllerPublishVolume to NodeStageVolume: of the `attach` that was recorded. */
function deviceOf(session: Session): string {
  return session.earlier.findLast(({ step }) => step === 'controller: AttachVolume')?.outcome.device ?? '';
}

const expandVolume: Step = {
  name: /^controller: ExpandVolume \S+ to \S+$/,
  begin(session, record) {
    const name = volumeNameOf(record);
    session.substituteInStep(session.stagingPath(name), session.globalMount(name));
  },
  async prepare(session, record) {
    makeKnown(session, record, sizesOf(record).old);
  },
  async act(session, record) {
    const volume = volumeOf(record);
    const { onNode } = await session.csi.expandVolume(volume, sizesOf(record).new);
    const expected = await expandsOnNode(session);
    if (onNode !== expected) throw new Error(`node_expansion_required is ${onNode}, not ${expected}`);
    return {};
  },
};

/**
 * NodeExpandVolume in use → the same RPC, with the capacity that the PersistentVolume has. These records have
 * none, and kubelet passed 0, which in CSI is no size at all.
 */
const nodeExpandVolume: Step = {
  name: /^kubelet: NodeExpandVolume \(in use\) \S+ to \S+$/,
  async prepare(session, record) {
    makeKnown(session, record, sizesOf(record).old);
  },
  async act(session, record) {
    if (!(await expandsOnNode(session))) return {};
    const volume = volumeOf(record);
    const target = session.translate(podPathOf(session, record));
    const bytes = quantityBytes(record.given.pv_capacity ?? '0');
    await session.csi.expandFileSystem(volume, target, session.stagingPath(volume.name), bytes);
    return {};
  },
};

const unmountVolume: Step = {
  name: /^kubelet: UnmountVolume \d+$/,
  async act(session, record) {
    const uid = record.given.pod?.uid;
    const mounted = session.earlier.findLast(
      ({ step, given }) => mountVolume.name.test(step) && given.pod?.uid === uid,
    );
    if (mounted === undefined || uid === undefined) throw new NotUnderstood(`no pod ${uid} before`);
    const volumeName = volumeNameOf(mounted);
    await unpublish(session, session.podPath(uid, volumeName), volumeName, uid);
    return {};
  },
};

const unmountDevice: Step = {
  name: /^kubelet: UnmountDevice$/,
  async act(session) {
    if (presentKind(session) === 'inline') return {};
    const name = presentVolume(session);
    await session.csi.unstage(name, session.stagingPath(name));
    session.staged.delete(name);
    return {};
  },
};

const detachVolume: Step = {
  name: /^controller: DetachVolume$/,
  async act(session): Promise<Result> {
    if (presentKind(session) === 'inline') return {};
    await session.csi.detach(presentVolume(session), session.setting.node);
    return {};
  },
};

function presentKind(session: Session): string | undefined {
  return session.earlier.findLast(({ given }) => given.kind !== undefined)?.given.kind;
}

function presentVolume(session: Session): string {
  const record = session.earlier.findLast(({ given }) => given.kind !== undefined);
  if (record === undefined) throw new NotUnderstood('no volume before');
  return volumeNameOf(record);
}

/** Kubelet calls NodeExpandVolume only of a plugin that says it has it. */
async function expandsOnNode(session: Session): Promise<boolean> {
  const { capabilities } = await session.plugin.client.node('NodeGetCapabilities', {});
  return capabilities.some(({ rpc }) => rpc?.type === 'EXPAND_VOLUME');
}

/** `ExpandVolume 1Gi to 2Gi`. */
function sizesOf({ step }: GoldenRecord): { old: bigint; new: bigint } {
  const [, old = '', to = ''] = /(\S+) to (\S+)$/.exec(step) ?? [];
  return { old: quantityBytes(old), new: quantityBytes(to) };
}

export const lifecycleSteps: readonly Step[] = [
  books,
  attachVolume,
  mountVolume,
  expandVolume,
  nodeExpandVolume,
  unmountVolume,
  unmountDevice,
  detachVolume,
];
