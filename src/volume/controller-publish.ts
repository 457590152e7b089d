/**
 * ControllerPublishVolume and ControllerUnpublishVolume.
 *
 *   [isattached, where a record says that it is attached otherwise]  →  attach
 *   detach
 */
import { Failure } from '../errors.ts';
import { attach, detach } from './attach.ts';
import { type AttachRequest, forgetAttached, refuseOtherAttach, takePlace } from './attachments.ts';
import { isFinal } from './final.ts';
import { orNotFound } from './known.ts';
import type { VolumeParts } from './parts.ts';

/**
 * Attaches the volume to the node and answers its device, empty when the driver names none.
 *
 * @throws {Failure} `incompatible`, `precondition` or `node-full` when it is attached otherwise or the node is full;
 * `not-found` when the driver knows no such volume; of the driver.
 */
export async function controllerPublish(parts: VolumeParts, request: AttachRequest): Promise<string> {
  const driver = await parts.driver.current();
  const isRepeat = await refuseOtherAttach(parts, driver, request);
  const place = `${request.volumeId}\0${request.nodeId}`;
  parts.attaching.add(place);
  try {
    // Before it is made: what is attached must be on record also after a crash.
    await takePlace(parts, driver, request);
    return await orNotFound(driver, request, () => attach(parts, request, request.nodeId));
  } catch (error) {
    if (isNotAttached(error, isRepeat)) await forgetAttached(parts, request.volumeId, request.nodeId);
    throw error;
  } finally {
    parts.attaching.delete(place);
  }
}

/** Whether a failed attach says that the volume is not attached, also when it was on record before (a repeat). */
function isNotAttached(error: unknown, isRepeat: boolean): boolean {
  const kind = error instanceof Failure ? error.kind : undefined;
  if (kind === 'not-found') return true;
  // Of an attach whose answer cannot be read nobody knows whether it has attached.
  return !isRepeat && kind !== 'driver-unclear' && isFinal(error);
}

/**
 * Detaches the volume from the node.
 *
 * @throws {Failure} of the driver.
 */
export async function controllerUnpublish(
  parts: VolumeParts,
  volumeId: string,
  nodeId: string,
): Promise<void> {
  await detach(parts, volumeId, nodeId);
  await forgetAttached(parts, volumeId, nodeId);
}
