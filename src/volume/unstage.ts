/**
 * NodeUnstageVolume: what kubelet's detacher did on the node after the last pod.
 *
 *   unmountdevice, or a plain unmount  →  the empty directory removed  →  [detach, with --attach-on node]
 */
import * as verbs from '../flex/verbs.ts';
import { unmount } from '../mount/bind.ts';
import { detach } from './attach.ts';
import type { VolumeParts } from './parts.ts';
import { placeInUse } from './place.ts';
import { forgetStage } from './remember.ts';
import { refuseStillMounted, removeDirectory, takeMountAway } from './removal.ts';

export interface UnstageRequest {
  readonly volumeId: string;
  readonly stagingPath: string;
}

/**
 * Unstages the volume from its staging path. Nothing there, not mounted, an unknown volume: success.
 *
 * @throws {Failure} `busy` when it is still mounted, or the directory not empty; of the driver; of the host.
 */
export async function unstage(parts: VolumeParts, request: UnstageRequest): Promise<void> {
  await unstageAt(parts, request.volumeId, request.stagingPath, parts.settings.attachOn === 'node');
  await forgetStage(parts, request.volumeId);
}

/**
 * The steps of an unstage at any directory. `detachHere` undoes an attach on this node; it happens also when
 * nothing is mounted, since a crash may have come between the two.
 */
export async function unstageAt(
  parts: VolumeParts,
  name: string,
  path: string,
  detachHere: boolean,
): Promise<void> {
  const mountPoint = await placeInUse(parts, 'staging_target_path', path);
  // Kubelet asks the driver only when something is mounted there.
  if ((await parts.host.mounts()).at(mountPoint) !== undefined) {
    const driver = await parts.driver.forCleanUp();
    const isDone = await takeMountAway(parts, driver, verbs.unmountDevice(path), mountPoint);
    if (!isDone) await unmount(parts.host, mountPoint);
    const done = isDone ? `driver ${driver.name} says Success to unmountdevice, but` : 'after one unmount';
    await refuseStillMounted(parts, mountPoint, `${done} `);
  }
  parts.leftovers.delete(mountPoint);
  await removeDirectory(parts, mountPoint);
  if (detachHere) await detach(parts, name, parts.settings.nodeId);
}
