/** NodePublishVolume of a raw block volume: no driver call, the device is all that is needed. */
import { Failure, undo } from '../errors.ts';
import { bindMount, undoingMounts } from '../mount/bind.ts';
import { linkTarget, makeFile, type PathState, pathState } from '../mount/paths.ts';
import type { PublishRequest, VolumeParts } from './parts.ts';
import { removeTargetFile } from './removal.ts';
import { rememberLeftover } from './stage.ts';

/**
 * Publishes a raw block volume: its device node, bind-mounted on the target file.
 *
 * @throws {Failure} `precondition` when there is no block device; of the host. Nothing is left then.
 */
export async function publishDevice(
  parts: VolumeParts,
  request: PublishRequest,
  mountPoint: string,
  device: string,
): Promise<void> {
  const kind = device.startsWith('/') ? (await deviceState(parts, device)).kind : 'missing';
  if (kind !== 'block-device') {
    throw new Failure(
      'precondition',
      `volume ${request.volumeId} cannot be a raw block volume: what its driver names (${JSON.stringify(device)}, by attach and waitforattach) is no block device`,
    );
  }
  await makeFile(parts.host, request.targetPath);
  try {
    await undoingMounts(parts.host, mountPoint, () =>
      bindMount(parts.host, device, request.targetPath, { readOnly: request.readOnly, flags: [] }),
    );
  } catch (error) {
    rememberLeftover(parts, mountPoint, error);
    await undo(error, 'removing its target failed', () => removeTargetFile(parts, mountPoint));
    throw error;
  }
}

/** What the device's name leads to: names below /dev/disk are symbolic links. */
async function deviceState(parts: VolumeParts, device: string): Promise<PathState> {
  return await pathState(parts.host, await linkTarget(parts.host, device));
}
