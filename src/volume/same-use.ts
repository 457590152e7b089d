/** Whether a call asks for what is already there, or for something that contradicts it. */
import { Failure } from '../errors.ts';
import type { PublishRequest, StageRequest, VolumeParts, VolumeUse } from './parts.ts';
import type { VolumeRecord } from './records.ts';
import { recall } from './remember.ts';

/**
 * CSI, NodeStageVolume: staged at the same path with another capability is an error.
 *
 * @throws {Failure} `incompatible`.
 */
export async function refuseOtherStage(parts: VolumeParts, request: StageRequest): Promise<void> {
  const record = await recall(parts, request.volumeId);
  if (record?.stagingPath !== request.stagingPath) return;
  const difference = differenceOf(record, request);
  if (difference !== undefined) {
    throw new Failure(
      'incompatible',
      `volume ${request.volumeId} is already staged at ${request.stagingPath} with ${difference}`,
    );
  }
}

/**
 * CSI, NodePublishVolume, "second publish": the same target with other arguments, a second target with another
 * access type, or a second target of a volume that allows one writer.
 *
 * @throws {Failure} `incompatible` for the same target, `precondition` for another one.
 */
export async function refuseOtherPublish(parts: VolumeParts, request: PublishRequest): Promise<void> {
  const record = await recall(parts, request.volumeId);
  if (record === undefined) return;
  const present = record.targets[request.targetPath];
  const mounts = await parts.host.mounts();
  if (present !== undefined) {
    const difference =
      differenceOf(record, request) ??
      (present.readOnly === request.readOnly ? undefined : `readonly ${present.readOnly}`);
    if (difference === undefined) return;
    // Nothing mounted there any more: an earlier life of the path, not a second use.
    if (mounts.at(present.mountPoint) === undefined) return;
    throw new Failure(
      'incompatible',
      `volume ${request.volumeId} is already published at ${request.targetPath} with ${difference}`,
    );
  }
  const other = Object.entries(record.targets).find(
    ([, { mountPoint }]) => mounts.at(mountPoint) !== undefined,
  )?.[0];
  if (other === undefined) return;
  if (record.access !== request.access) {
    throw new Failure(
      'precondition',
      `volume ${request.volumeId} is in use as ${record.access} volume at ${other}, so it cannot be published as ${request.access} volume`,
    );
  }
  if (request.exclusive) {
    throw new Failure(
      'precondition',
      `volume ${request.volumeId} has access mode SINGLE_NODE_SINGLE_WRITER and is already published at ${other}`,
    );
  }
}

/**
 * A path at which another volume is mounted is not this one's, whatever the mount table says.
 *
 * @throws {Failure} `incompatible` naming the other volume.
 */
export async function refuseOthersPath(parts: VolumeParts, volumeId: string, path: string): Promise<void> {
  for (const { key, content } of await parts.records.all()) {
    const isItsOwn = content.boot === parts.boot && (content.stagingPath === path || path in content.targets);
    if (key === volumeId || !isItsOwn) continue;
    throw new Failure('incompatible', `volume ${key} is at ${path}, where volume ${volumeId} is asked for`);
  }
}

/** What a record says of how a volume is used. */
type RecordedUse = Pick<VolumeRecord, 'access' | 'fsType' | 'options'>;

/**
 * What must be the same on a repeat: access type, file system (empty: any), options. Never secrets, group,
 * mount flags or what Kubernetes adds: a repeat after a restart may carry another pod's.
 */
export function differenceOf(record: RecordedUse, use: VolumeUse): string | undefined {
  if (record.access !== use.access) return `access type ${record.access}`;
  if (record.fsType !== use.fsType && record.fsType !== '' && use.fsType !== '')
    return `fs_type ${record.fsType}`;
  const keys = new Set([...Object.keys(record.options), ...Object.keys(use.options)]);
  for (const key of keys) {
    if (record.options[key] !== use.options[key]) return `another value of option ${JSON.stringify(key)}`;
  }
  return undefined;
}
