/** SetUp, TearDown, GetMetrics: kubelet's mounter, for one pod. */
import { dirname, join } from 'node:path';
import { mountsOn } from '../actions.ts';
import { detailsOf, volumeOf } from '../calls.ts';
import { ephemeralId } from '../over-csi.ts';
import { type GoldenRecord, volumeNameOf } from '../records.ts';
import type { Session } from '../session.ts';
import { isMounted, kubeletDir, put, putUsage } from '../world.ts';
import { callsFor, isAttachedHere, mountsTmpfs, type Step, stagingOf, success } from './step.ts';

/** The pod's directory for the volume, as kubelet names it. */
export function podPathOf(session: Session, record: GoldenRecord): string {
  return session.podPath(record.given.pod?.uid ?? '', volumeNameOf(record));
}

/** flexcsi takes the name of an in-line volume from the target path, so that one has to be kubelet's for CSI. */
export function nameTarget(session: Session, record: GoldenRecord): void {
  const { kind, pod } = record.given;
  if (kind !== 'inline') return;
  const volumes = join(kubeletDir, 'pods', pod?.uid ?? '', 'volumes');
  const name = volumeNameOf(record);
  session.substitute(podPathOf(session, record), join(volumes, 'kubernetes.io~csi', name, 'mount'));
  // Of a driver that attaches: where flexcsi mounts the device that the pods share.
  const shared = join(kubeletDir, 'plugins', session.plugin.name, 'ephemeral', name);
  session.substitute(session.stagingPath(name), shared);
}

/** SetUp → NodePublishVolume; of a driver that attaches, after a NodeStageVolume that is not compared. */
const setUp: Step = {
  name: /^SetUp$/,
  aside: (session, record) =>
    isAttachedHere(session, record) ? ['attach', 'waitforattach', 'mountdevice'] : [],
  path: podPathOf,
  begin: nameTarget,
  async prepare(session, record) {
    if (isStagedFirst(session, record)) await stageFirst(session, record);
  },
  script(session, record) {
    if (!isAttachedHere(session, record)) return;
    session.driver.script('attach', success);
    session.driver.script('waitforattach', success);
    session.driver.script('mountdevice', mountsTmpfs);
  },
  async act(session, record) {
    // Kubelet looks the secret up before it calls anybody, under CSI as well: then there is no call.
    if (record.given.secret?.exists === false) throw new Error('the pod waits for its secret');
    const target = await publish(session, record);
    return { path: target };
  },
};

/** Answers the target path. */
export async function publish(session: Session, record: GoldenRecord): Promise<string> {
  const volume = volumeOf(record);
  const target = session.translate(podPathOf(session, record));
  const isStaged = session.setting.attaches && !volume.inline;
  await callsFor(session, record).publish(volume, {
    ...detailsOf(record),
    target,
    staging: isStaged ? session.stagingPath(volume.name) : undefined,
    device: '',
  });
  return target;
}

function isStagedFirst(session: Session, record: GoldenRecord): boolean {
  const volume = volumeOf(record);
  return session.setting.attaches && !volume.inline && !session.staged.has(volume.name);
}

/** Stages the volume on a tmpfs; without one where the record says that nothing was mounted there. */
async function stageFirst(session: Session, record: GoldenRecord): Promise<void> {
  const volume = volumeOf(record);
  const staging = stagingOf(session, record);
  session.driver.script('waitforattach', success);
  session.driver.script('mountdevice', record.after[staging]?.mounted === false ? success : mountsTmpfs);
  await callsFor(session, record).stage({ ...volume, readOnly: false }, staging, '');
  session.staged.add(volume.name);
}

/** TearDown → NodeUnpublishVolume. */
const tearDown: Step = {
  name: /^TearDown$/,
  aside: (session, record) => (isOwnTarget(session, record) ? ['unmountdevice', 'detach'] : []),
  script(session, record) {
    if (!isOwnTarget(session, record)) return;
    session.driver.script('unmountdevice', { shell: 'umount "$2"', prints: success });
    session.driver.script('detach', success);
  },
  path: podPathOf,
  async act(session, record) {
    await unpublish(session, podPathOf(session, record), volumeNameOf(record), record.given.pod?.uid ?? '');
    return {};
  },
};

/** Whether the record is of an in-line volume, by its target, of a driver that attaches. */
function isOwnTarget(session: Session, record: GoldenRecord): boolean {
  const path = podPathOf(session, record);
  return session.setting.attaches && session.translate(path) !== path;
}

/** @param path the pod's directory as recorded; in-line volumes have got another one, and an id of their own. */
export async function unpublish(
  session: Session,
  path: string,
  volumeName: string,
  podUid: string,
): Promise<void> {
  const target = session.translate(path);
  const volumeId = target === path ? volumeName : ephemeralId(volumeName, podUid);
  await session.csi.unpublish(volumeId, target);
}

/** GetMetrics → NodeGetVolumeStats, of a tmpfs with the recorded numbers. */
const getMetrics: Step = {
  name: /^GetMetrics$/,
  begin: nameTarget,
  async prepare(session, record) {
    const target = session.translate(podPathOf(session, record));
    const { capacity_bytes: capacity = 1024 ** 2, used_bytes: used = 0 } = record.outcome;
    putUsage(target, capacity, used);
  },
  async act(session, record) {
    const volume = volumeOf(record);
    const target = session.translate(podPathOf(session, record));
    const { usage } = await session.plugin.client.node('NodeGetVolumeStats', {
      volume_id: volume.inline ? ephemeralId(volume.name, record.given.pod?.uid ?? '') : volume.name,
      volume_path: target,
    });
    const bytes = usage.find(({ unit }) => unit === 'BYTES');
    return {
      capacity_bytes: Number(bytes?.total),
      available_bytes: Number(bytes?.available),
      used_bytes: Number(bytes?.used),
    };
  },
};

/** Whether the recorded `mount` left something mounted. */
export function mountIsLeft(record: GoldenRecord): boolean {
  return record.calls.some(({ driver_answer }) => mountsOn(driver_answer.driver_does, 1));
}

/** A directory for a pod's volume at the path where `expandfs` looks for it, with something mounted on it. */
export function putPodMount(path: string): void {
  if (dirname(path) !== '/' && !isMounted(path))
    put(path, { exists: true, mode: '0755', mounted: 'tmpfs (rw)' });
}

export const publishSteps: readonly Step[] = [setUp, tearDown, getMetrics];
