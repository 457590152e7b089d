/**
 * NodeStageVolume, of drivers that attach: what kubelet's attacher did on the node before the first pod.
 *
 *   [attach, with --attach-on node]  →  waitforattach  →  mountdevice, or kubelet's own mount of the device
 */
import { join } from 'node:path';
import { errorMessage, Failure, undo } from '../errors.ts';
import type { Driver } from '../flex/driver.ts';
import * as verbs from '../flex/verbs.ts';
import { undoingMounts, unmount } from '../mount/bind.ts';
import { mountDevice } from '../mount/filesystem.ts';
import { linkTarget, makeDirectory, pathState, realPath } from '../mount/paths.ts';
import { attach, detach } from './attach.ts';
import { isFinal } from './final.ts';
import { attachOptions, mountOptions } from './options.ts';
import type { StageRequest, VolumeParts, VolumeUse } from './parts.ts';
import { placeToUse } from './place.ts';
import { recallFor, remember } from './remember.ts';
import { refuseOtherStage, refuseOthersPath } from './same-use.ts';

/**
 * Stages the volume at its staging path and answers its device. Repeating it is fine.
 *
 * @throws {Failure} `incompatible` when it is staged there for another use; of the driver; of the host.
 */
export async function stage(parts: VolumeParts, request: StageRequest): Promise<string> {
  await refuseOtherStage(parts, request);
  const record = await recallFor(parts, request);
  const { stagingPath } = request;
  const mountPoint = await placeToUse(parts, 'staging_target_path', stagingPath);
  if (record.stagingPath !== stagingPath && (await parts.host.mounts()).at(mountPoint) !== undefined) {
    await refuseOthersPath(parts, request.volumeId, stagingPath);
  }
  const known = record.stagingPath === stagingPath ? record.device : undefined;
  const device = await stageAt(parts, request, {
    path: stagingPath,
    device: request.device,
    attachHere: parts.settings.attachOn === 'node',
    known,
  });
  const stageMounted = (await parts.host.mounts()).at(mountPoint) !== undefined;
  await remember(parts, request.volumeId, { ...record, device, stagingPath, stageMounted });
  return device;
}

interface StagePlace {
  readonly path: string;
  /** The device that `attach` named, where that ran elsewhere. */
  readonly device: string;
  readonly attachHere: boolean;
  /** The device on record, when the volume was staged there before. */
  readonly known?: string | undefined;
}

/**
 * The steps of a stage at any directory; answers the device that `waitforattach` named. When it fails, nothing
 * that it mounted is left, and after a final error nothing that it attached.
 */
export async function stageAt(parts: VolumeParts, use: VolumeUse, place: StagePlace): Promise<string> {
  const driver = await parts.driver.current();
  const mountPoint = await realPath(parts.host, place.path);
  const staged = use.access === 'mount' && (await isUsablyMounted(parts, mountPoint));
  if (staged && place.known !== undefined) return place.known;

  const devices: string[] = [];
  let attaching = place.attachHere;
  try {
    devices.push(place.attachHere ? await attach(parts, use, parts.settings.nodeId) : place.device);
    attaching = false;
    const device = await waitForAttach(driver, use, devices[0] ?? '');
    devices.push(device);
    if (use.access === 'mount' && !staged) {
      await undoingMounts(parts.host, mountPoint, () =>
        mountDeviceAt(parts, driver, use, place.path, device),
      );
    }
    return device;
  } catch (error) {
    rememberLeftover(parts, mountPoint, error);
    // An attach that says that it failed has not attached; of any other end nobody knows.
    const attached = !attaching || (error instanceof Failure && error.kind === 'driver-unclear');
    const isOurs = place.attachHere && attached && place.known === undefined && !staged;
    if (isOurs && isFinal(error) && !(await isInUse(parts, use, devices))) {
      await undo(error, 'detaching it again failed', () => detach(parts, use.name, parts.settings.nodeId));
    }
    throw error;
  }
}

/**
 * Whether the volume is mounted for a pod, or one of its devices is mounted or bound somewhere: detaching it
 * would take the data from under a pod. Asked where nothing is on record, which may have been lost.
 */
async function isInUse(parts: VolumeParts, use: VolumeUse, devices: readonly string[]): Promise<boolean> {
  const paths = devices.filter((device) => device.startsWith('/'));
  const names = new Set([
    ...paths,
    ...(await Promise.all(paths.map((device) => linkTarget(parts.host, device)))),
  ]);
  const pods = await realPath(parts.host, join(parts.settings.kubeletDir, 'pods'));
  const isPods = (mountPoint: string): boolean =>
    mountPoint.startsWith(`${pods}/`) && mountPoint.endsWith(`/kubernetes.io~csi/${use.name}/mount`);
  const { entries } = await parts.host.mounts();
  return entries.some(({ source, root, fsType, mountPoint }) => {
    const isNode = (fsType === 'devtmpfs' || fsType === 'tmpfs') && names.has(`/dev${root}`);
    return isNode || names.has(source) || isPods(mountPoint);
  });
}

/**
 * Whether something is mounted there and answers. A dead mount (its server is gone) is unmounted first, and so is
 * what a failed call could not take back.
 *
 * @throws {Failure} `undo-failed` when that still cannot be taken back; `busy`, and of the host.
 */
export async function isUsablyMounted(parts: VolumeParts, mountPoint: string): Promise<boolean> {
  while ((await parts.host.mounts()).at(mountPoint) !== undefined) {
    if (parts.leftovers.has(mountPoint)) {
      await takeBack(parts, mountPoint);
      continue;
    }
    const state = await pathState(parts.host, mountPoint);
    // A FUSE mount of another user is alive, though root may not look into it.
    if (state.kind !== 'dead' || state.error === 'Permission denied') return true;
    await unmount(parts.host, mountPoint);
  }
  parts.leftovers.delete(mountPoint);
  return false;
}

async function takeBack(parts: VolumeParts, mountPoint: string): Promise<void> {
  try {
    await unmount(parts.host, mountPoint);
  } catch (error) {
    const what = 'an earlier call failed, and what it had mounted still cannot be unmounted';
    throw new Failure('undo-failed', `${what}: ${errorMessage(error)}`, { cause: error });
  }
}

/** Keeps in mind that a call has failed and left its mount, for the next one. */
export function rememberLeftover(parts: VolumeParts, mountPoint: string, error: unknown): void {
  if (error instanceof Failure && error.kind === 'undo-failed') parts.leftovers.add(mountPoint);
}

/** The driver's last word on the device. Success without a device makes it empty, as for kubelet. */
async function waitForAttach(driver: Driver, use: VolumeUse, device: string): Promise<string> {
  const result = await driver.call(verbs.waitForAttach(device, attachOptions(use)), { mask: use.mask });
  return result.supported ? (result.answer.device ?? '') : device;
}

async function mountDeviceAt(
  parts: VolumeParts,
  driver: Driver,
  use: VolumeUse,
  path: string,
  device: string,
): Promise<void> {
  await makeDirectory(parts.host, path);
  const result = await driver.call(verbs.mountDevice(path, device, mountOptions(use)), { mask: use.mask });
  // Without a device kubelet does nothing: the driver's `mount` does it all.
  if (!result.supported && device !== '') {
    if (!device.startsWith('/')) throw new Failure('driver-failed', notAPath(driver, device));
    const { fsType, readOnly, mountFlags: flags, mask } = use;
    const { formatted, notes } = await mountDevice(parts.host, device, path, {
      fsType,
      readOnly,
      flags,
      mask,
    });
    if (formatted)
      parts.log.info({ volumeId: use.volumeId, device }, 'the device was blank and has been formatted');
    for (const note of notes)
      parts.log.warn({ volumeId: use.volumeId, device, note }, 'mounted, with a note');
  }
}

function notAPath(driver: Driver, device: string): string {
  return `driver ${driver.name} does not support mountdevice, and its device ${JSON.stringify(device)} is not an absolute path that could be mounted`;
}
