/**
 * NodeUnpublishVolume: what kubelet's unmounter did when a pod ended.
 *
 *   unmount, or a plain unmount  →  the mount table says it is gone  →  the empty directory removed
 *
 * Nothing at the path is success, without a call. So are an unknown volume, a second call, a lost record.
 */
import * as verbs from '../flex/verbs.ts';
import { unmount } from '../mount/bind.ts';
import { pathState } from '../mount/paths.ts';
import { releaseSharedDevice, sharedDeviceOf } from './ephemeral.ts';
import type { VolumeParts } from './parts.ts';
import { placeInUse } from './place.ts';
import { forgetTarget } from './remember.ts';
import { refuseStillMounted, removeDirectory, removeTargetFile, takeMountAway } from './removal.ts';
import { isDeviceMount } from './stats.ts';

export interface UnpublishRequest {
  readonly volumeId: string;
  readonly targetPath: string;
}

/**
 * Unpublishes the volume from its target path and removes the path.
 *
 * @throws {Failure} `busy` when it is still mounted, or the directory not empty, afterwards; of the driver; of
 * the host.
 */
export async function unpublish(parts: VolumeParts, request: UnpublishRequest): Promise<void> {
  const { volumeId, targetPath } = request;
  const mountPoint = await placeInUse(parts, 'target_path', targetPath);
  const mounted = (await parts.host.mounts()).at(mountPoint);
  // What is mounted is not looked at: stat of a hung mount does not return.
  const kind = mounted === undefined ? (await pathState(parts.host, mountPoint)).kind : 'directory';
  const isDevice = mounted === undefined ? kind !== 'directory' : await isDeviceMount(parts, mounted);

  if (kind !== 'missing') {
    if (isDevice) {
      await unmount(parts.host, mountPoint);
      await refuseStillMounted(parts, mountPoint, 'after one unmount ');
      await removeTargetFile(parts, mountPoint);
    } else {
      await unmountByDriver(parts, targetPath, mountPoint);
      await removeDirectory(parts, mountPoint);
    }
  }

  parts.leftovers.delete(mountPoint);
  const shared = await sharedDeviceOf(parts, volumeId, targetPath);
  if (shared !== undefined) await releaseSharedDevice(parts, shared, targetPath);
  await forgetTarget(parts, volumeId, targetPath);
}

async function unmountByDriver(parts: VolumeParts, targetPath: string, mountPoint: string): Promise<void> {
  const driver = await parts.driver.forCleanUp();
  const isDone = await takeMountAway(parts, driver, verbs.unmount(targetPath), mountPoint);
  if (!isDone) await unmount(parts.host, mountPoint);
  const done = isDone ? `driver ${driver.name} says Success to unmount, but` : 'after one unmount';
  await refuseStillMounted(parts, mountPoint, `${done} `);
}
