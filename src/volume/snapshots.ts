/** CreateSnapshot, DeleteSnapshot, ListSnapshots: one verb each. */
import { Failure, saysNotFound } from '../errors.ts';
import { type DescribedSnapshot, type Listed, readSnapshot, readSnapshots } from '../flex/described.ts';
import {
  deleteSnapshotOptions,
  type Secrets,
  secretOptions,
  snapshotOptions,
  type WantedSnapshot,
} from '../flex/extended-options.ts';
import type { Mask } from '../secrets.ts';
import { knownOptions, orNotFound } from './known.ts';
import type { VolumeParts } from './parts.ts';

export interface SnapshotRequest extends WantedSnapshot {
  readonly volumeId: string;
  readonly mask: Mask;
}

/**
 * Makes the snapshot, or answers the one of that name.
 *
 * @throws {Failure} `incompatible` when there is one of another volume; `not-found` when the driver knows no such
 * volume; of the driver.
 */
export async function createSnapshot(
  parts: VolumeParts,
  request: SnapshotRequest,
): Promise<DescribedSnapshot> {
  const { volumeId, name, mask } = request;
  const driver = await parts.driver.current();
  const volume = { name: volumeId, options: await knownOptions(parts, driver, volumeId) };
  const snapshot = await orNotFound(driver, volume, () =>
    driver.ask(
      'snapshot',
      snapshotOptions(volume, request),
      (fields) => readSnapshot(fields, { snapshotId: name, sourceVolume: volumeId }),
      mask,
    ),
  );
  if (snapshot.sourceVolume !== volumeId) {
    throw new Failure(
      'incompatible',
      `snapshot ${name} is there, of volume ${snapshot.sourceVolume} and not of ${volumeId}`,
    );
  }
  return snapshot;
}

export interface DeleteSnapshotRequest {
  readonly snapshotId: string;
  readonly secrets: Secrets;
  readonly mask: Mask;
}

/**
 * Deletes the snapshot for good. One that is not there is success.
 *
 * @throws {Failure} of the driver.
 */
export async function deleteSnapshot(parts: VolumeParts, request: DeleteSnapshotRequest): Promise<void> {
  const { snapshotId, secrets, mask } = request;
  const driver = await parts.driver.current();
  try {
    await driver.ask('deletesnapshot', deleteSnapshotOptions(snapshotId, secrets), () => {}, mask);
  } catch (error) {
    if (!saysNotFound(error)) throw error;
  }
}

/**
 * All snapshots, in the driver's order.
 *
 * @throws {Failure} of the driver.
 */
export async function listSnapshots(
  parts: VolumeParts,
  { secrets, mask }: { readonly secrets: Secrets; readonly mask: Mask },
): Promise<Listed<DescribedSnapshot>[]> {
  const driver = await parts.driver.current();
  return await driver.ask('listsnapshots', secretOptions(secrets), readSnapshots, mask);
}
