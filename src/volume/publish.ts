/**
 * NodePublishVolume: what kubelet's mounter did for each pod.
 *
 *   (ephemeral volume of an attaching driver: attach → waitforattach → mountdevice, see ephemeral.ts)
 *   target directory made  →  mount, or a bind mount of the staging directory  →  ownership for the pod's group
 *
 * A raw block volume: the device node, bind-mounted on the target file; no driver call (publish-device.ts).
 */
import { errorMessage, Failure, undo } from '../errors.ts';
import type { Driver } from '../flex/driver.ts';
import * as verbs from '../flex/verbs.ts';
import { bindMount, remountBind, undoingMounts } from '../mount/bind.ts';
import { isReadOnly } from '../mount/mount-table.ts';
import { applyGroup } from '../mount/ownership.ts';
import { makeDirectory, realPath, removeEmptyDirectory } from '../mount/paths.ts';
import { holdSharedDevice, holdsSharedDevice, releaseSharedDevice, usesSharedDevice } from './ephemeral.ts';
import { isFinal } from './final.ts';
import { mountOptions } from './options.ts';
import type { PublishRequest, VolumeParts } from './parts.ts';
import { placeToUse } from './place.ts';
import { publishDevice } from './publish-device.ts';
import { recallFor, remember } from './remember.ts';
import { refuseOtherPublish, refuseOthersPath } from './same-use.ts';
import { isUsablyMounted, rememberLeftover, stage } from './stage.ts';

/**
 * Publishes the volume at its target path. Repeating it is fine: what is mounted there already is left alone.
 *
 * @throws {Failure} `incompatible` or `precondition` when it is in use in a way that contradicts this; of the
 * driver; of the host. Nothing that this call mounted is left then.
 */
export async function publish(parts: VolumeParts, request: PublishRequest): Promise<void> {
  const driver = await parts.driver.current();
  await refuseOtherPublish(parts, request);
  const record = await recallFor(parts, request);
  const mountPoint = await placeToUse(parts, 'target_path', request.targetPath);

  let device = record.device;
  if (await isUsablyMounted(parts, mountPoint)) {
    if (record.targets[request.targetPath] === undefined) {
      await refuseOthersPath(parts, request.volumeId, request.targetPath);
    }
    // Kubelet: a target that is a mount point is done. Nothing is called, no ownership is changed.
    await finishReadOnly(parts, request, mountPoint);
  } else if (usesSharedDevice(driver, request)) {
    await publishShared(parts, driver, request, mountPoint);
  } else {
    if (driver.capabilities.attach) device = await stageAgainIfLost(parts, request);
    if (request.access === 'block') await publishDevice(parts, request, mountPoint, device ?? '');
    else await publishMount(parts, driver, request, mountPoint);
  }

  const mounted = (await parts.host.mounts()).at(mountPoint) !== undefined;
  const target = { readOnly: request.readOnly, mountPoint, mounted };
  await remember(parts, request.volumeId, {
    // What a repaired stage has written meanwhile is newer.
    ...(await recallFor(parts, request).catch(() => record)),
    targets: { ...record.targets, [request.targetPath]: target },
  });
}

/** An ephemeral volume of a driver that attaches: the device first, if this pod is the first to use it. */
async function publishShared(
  parts: VolumeParts,
  driver: Driver,
  request: PublishRequest,
  mountPoint: string,
): Promise<void> {
  const { name, targetPath } = request;
  const isRepeat = await holdsSharedDevice(parts, name, targetPath);
  const source = await holdSharedDevice(parts, request);
  try {
    await publishMount(parts, driver, { ...request, ...source }, mountPoint);
  } catch (error) {
    // After an error that is not final kubelet unpublishes, and that releases it; so it does after an earlier
    // publish that succeeded.
    if (isFinal(error) && !isRepeat) {
      await undo(error, 'releasing its device again failed', () =>
        releaseSharedDevice(parts, name, targetPath),
      );
    }
    throw error;
  }
}

/** A crash between the two steps of a read-only bind mount leaves a writable one: the repeat ends it. */
async function finishReadOnly(
  parts: VolumeParts,
  request: PublishRequest,
  mountPoint: string,
): Promise<void> {
  if (!request.readOnly || request.access === 'block' || request.stagingPath === '') return;
  const mounts = await parts.host.mounts();
  const mounted = mounts.at(mountPoint);
  const staged = mounts.at(await realPath(parts.host, request.stagingPath));
  const isOurs = mounted && staged && mounted.device === staged.device && mounted.root === staged.root;
  if (!isOurs || isReadOnly(mounted)) return;
  const { stagingPath, targetPath, mountFlags: flags, mask } = request;
  await remountBind(parts.host, stagingPath, targetPath, { readOnly: true, flags, mask });
}

async function publishMount(
  parts: VolumeParts,
  driver: Driver,
  request: PublishRequest,
  mountPoint: string,
): Promise<void> {
  await makeDirectory(parts.host, request.targetPath);
  try {
    await undoingMounts(parts.host, mountPoint, () => mountAt(parts, driver, request));
  } catch (error) {
    rememberLeftover(parts, mountPoint, error);
    // Kubelet removes the directory of a failed mount, also one that was there before; never what is in it.
    await removeEmptyDirectory(parts.host, mountPoint).catch((failure: unknown) => {
      parts.log.warn(
        { path: mountPoint, problem: errorMessage(failure) },
        'directory of a failed mount left behind',
      );
    });
    throw error;
  }
  if ((await parts.host.mounts()).at(mountPoint) === undefined) {
    parts.log.warn(
      { driver: driver.name, volumeId: request.volumeId, path: mountPoint },
      'the driver says Success to mount, but nothing is mounted (right for a driver that only writes files)',
    );
  }
  if (request.group !== undefined && !request.readOnly && driver.capabilities.fsGroup) {
    await giveToGroup(parts, request, Number(request.group), mountPoint);
  }
}

/** The driver's `mount`, or kubelet's default: the staging directory bound to the target. */
async function mountAt(parts: VolumeParts, driver: Driver, request: PublishRequest): Promise<void> {
  const { targetPath, stagingPath, readOnly, mountFlags: flags, pod, secrets, group } = request;
  const { fsGroupKey: groupKey } = parts.settings;
  const options = mountOptions(request, { pod, secrets, group, groupKey });
  const result = await driver.call(verbs.mount(targetPath, options), { mask: request.mask });
  if (result.supported) return;
  // Bound as it is, a directory without a mount would take the pod's data onto the node's own disk.
  const staged =
    stagingPath !== '' && (await parts.host.mounts()).at(await realPath(parts.host, stagingPath));
  if (!staged) {
    throw new Failure(
      'driver-failed',
      `driver ${driver.name} does not support mount (asked once, and again when its file changes), and nothing is staged that could be mounted instead: a driver has to support mount, or to attach and name a device (or support mountdevice)`,
    );
  }
  await bindMount(parts.host, stagingPath, targetPath, { readOnly, flags, mask: request.mask });
}

/**
 * Kubernetes repeats a publish alone when the node has lost its mounts or flexcsi its records: the stage is
 * then repaired. On record without a mount is right for a driver whose `mount` does it all. Answers the device.
 */
async function stageAgainIfLost(parts: VolumeParts, request: PublishRequest): Promise<string | undefined> {
  const record = await recallFor(parts, request);
  const recorded = record.stagingPath === request.stagingPath && record.device !== undefined;
  if (recorded && !record.stageMounted) return record.device;
  const mountPoint = await realPath(parts.host, request.stagingPath);
  if (request.access === 'mount' && (await isUsablyMounted(parts, mountPoint))) return record.device;
  return await stage(parts, { ...request, readOnly: request.stageReadOnly });
}

/** Failures are logged, not returned: kubelet ignored them, and volumes that refuse chown worked all the same. */
async function giveToGroup(
  parts: VolumeParts,
  request: PublishRequest,
  gid: number,
  path: string,
): Promise<void> {
  const { fsGroupChangePolicy: policy } = parts.settings;
  const { problem } = await applyGroup(parts.host, path, gid, policy, { mask: request.mask });
  if (problem !== undefined)
    parts.log.warn({ path, gid, problem }, "not all files could be given to the pod's group");
}
