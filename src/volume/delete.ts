/**
 * DeleteVolume.
 *
 *   not in use on this node, not attached  →  delete
 */
import { Failure, saysNotFound } from '../errors.ts';
import type { Driver } from '../flex/driver.ts';
import { namedOptions, type Secrets } from '../flex/extended-options.ts';
import { realPath } from '../mount/paths.ts';
import type { Mask } from '../secrets.ts';
import { attachedNodes, forgetAttachments } from './attachments.ts';
import { knownOptions } from './known.ts';
import type { VolumeParts } from './parts.ts';
import type { VolumeRecord } from './records.ts';
import { recall } from './remember.ts';

export interface DeleteRequest {
  readonly volumeId: string;
  readonly secrets: Secrets;
  readonly mask: Mask;
}

/**
 * Deletes the volume for good. One that is not there is success.
 *
 * @throws {Failure} `precondition` while it is in use, as far as this process can see; of the driver.
 */
export async function deleteVolume(parts: VolumeParts, request: DeleteRequest): Promise<void> {
  const { volumeId, secrets, mask } = request;
  const driver = await parts.driver.current();
  await refuseInUse(parts, driver, volumeId);
  // Also when `getvolume` knows no such volume: what a crash has left of it is the driver's to clean up.
  const options = await knownOptions(parts, driver, volumeId);
  try {
    await driver.ask('delete', namedOptions({ name: volumeId, options }, secrets), () => {}, mask);
  } catch (error) {
    if (!saysNotFound(error)) throw error;
  }
  await parts.provisioned.remove(volumeId).catch((error: unknown) => {
    parts.log.warn({ volumeId, err: error }, 'record of a deleted volume left behind');
  });
  await forgetAttachments(parts, volumeId);
}

async function refuseInUse(parts: VolumeParts, driver: Driver, volumeId: string): Promise<void> {
  const record = await recall(parts, volumeId);
  const mounts = await parts.host.mounts();
  // A driver that only writes files leaves no mount at its targets.
  const target = Object.entries(record?.targets ?? {}).find(
    ([, { mountPoint, mounted }]) => mounted === false || mounts.at(mountPoint) !== undefined,
  );
  const place = target?.[0] ?? (await stagedAt(parts, record));
  if (place !== undefined) {
    throw new Failure(
      'precondition',
      `volume ${volumeId} is in use on this node, at ${place}: it is not deleted`,
    );
  }
  const [node] = await attachedNodes(parts, driver, volumeId);
  if (node !== undefined) {
    throw new Failure('precondition', `volume ${volumeId} is attached to node ${node}: it is not deleted`);
  }
}

/** Where the volume is staged; undefined also when its mount is lost. */
async function stagedAt(parts: VolumeParts, record: VolumeRecord | undefined): Promise<string | undefined> {
  if (record?.stagingPath === undefined) return undefined;
  // A driver whose `mount` does it all leaves no mount at the staging path.
  if (!record.stageMounted) return record.stagingPath;
  const mountPoint = await realPath(parts.host, record.stagingPath);
  return (await parts.host.mounts()).at(mountPoint) === undefined ? undefined : record.stagingPath;
}
