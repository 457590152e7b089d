/** ExpandVolumeDevice and NodeExpand. */
import { execFileSync } from 'node:child_process';
import { volumeOf } from '../calls.ts';
import { fileSystemBytes, fileSystemOf } from '../devices.ts';
import { quantityBytes } from '../quantity.ts';
import { type GoldenRecord, NotUnderstood, volumeNameOf } from '../records.ts';
import type { Session } from '../session.ts';
import { put } from '../world.ts';
import { putPodMount } from './publish.ts';
import { makeDevice } from './stage.ts';
import { callsFor, type Step, success, successWith } from './step.ts';

/** What Kubernetes knows of the volume: flexcsi looks it up, since the request does not say it. */
export function makeKnown(session: Session, record: GoldenRecord, oldBytes: bigint | undefined): void {
  const { name, inline, options, fsType } = volumeOf(record);
  if (inline) return;
  const sizes = oldBytes === undefined ? {} : { capacityBytes: oldBytes, claimedBytes: oldBytes };
  session.known.set(name, { options, fsType, ...sizes });
}

/** ExpandVolumeDevice → ControllerExpandVolume; the old size is the PersistentVolume's capacity. */
const expandVolume: Step = {
  name: /^ExpandVolumeDevice$/,
  begin(session, record) {
    const name = volumeNameOf(record);
    session.substituteInStep(session.stagingPath(name), session.globalMount(name));
  },
  async prepare(session, record) {
    makeKnown(session, record, quantityBytes(sizeOf(record, 'oldSize')));
  },
  async act(session, record) {
    const bytes = quantityBytes(sizeOf(record, 'newSize'));
    const expanded = await callsFor(session, record).expandVolume(volumeOf(record), bytes);
    return { size_bytes: Number(expanded.bytes) };
  },
};

/**
 * NodeExpand → NodeExpandVolume of a volume that was staged with the recorded device; the old size is the
 * claim's. `deviceMountPath` is the pod's directory here.
 */
const nodeExpand: Step = {
  name: /^NodeExpand$/,
  async prepare(session, record) {
    const { given } = record;
    const volume = volumeOf(record);
    if (volume.inline) return;
    makeKnown(session, record, quantityBytes(sizeOf(record, 'oldSize')));
    const path = podPath(record);
    makeDevice(session, record);
    if (session.setting.attaches && !session.staged.has(volume.name)) {
      session.driver.script('waitforattach', successWith({ device: given.device ?? '' }));
      session.driver.script('mountdevice', success);
      await callsFor(session, record).stage(volume, session.stagingPath(volume.name), given.device ?? '');
      session.staged.add(volume.name);
    }
    if (isMountedToGrow(record)) {
      put(path, { exists: true, mode: '0755' });
      execFileSync('mount', [given.device as string, path]);
    } else {
      putPodMount(path);
    }
  },
  async act(session, record) {
    const { given } = record;
    const volume = volumeOf(record);
    const bytes = quantityBytes(sizeOf(record, 'newSize'));
    const staging = session.stagingPath(volume.name);
    await callsFor(session, record).expandFileSystem(volume, podPath(record), staging, bytes);
    const type = fileSystemOf(given.device_holds);
    // Mounted, its new size may not be on the device yet.
    if (isMountedToGrow(record)) execFileSync('umount', [podPath(record)]);
    return type === undefined ? {} : { file_system_bytes: fileSystemBytes(given.device as string, type) };
  },
};

/** ext4 was recorded on a device that is not mounted; xfs and btrfs only grow where they are mounted. */
function isMountedToGrow({ given }: GoldenRecord): boolean {
  return ['xfs', 'btrfs'].includes(fileSystemOf(given.device_holds) ?? '');
}

function sizeOf({ given }: GoldenRecord, name: 'newSize' | 'oldSize'): string {
  const size = given[name];
  if (size === undefined) throw new NotUnderstood(`no ${name}`);
  return size;
}

function podPath({ given }: GoldenRecord): string {
  if (given.deviceMountPath === undefined) throw new NotUnderstood('no deviceMountPath');
  return given.deviceMountPath;
}

export const expandSteps: readonly Step[] = [expandVolume, nodeExpand];
