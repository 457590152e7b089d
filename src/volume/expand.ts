/**
 * ControllerExpandVolume and NodeExpandVolume: kubelet's `expandvolume` and `expandfs`. Their arguments hold
 * the volume's options and its old size, which a CSI request does not carry (see `known.ts`).
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Failure } from '../errors.ts';
import type { Driver } from '../flex/driver.ts';
import * as verbs from '../flex/verbs.ts';
import { growFileSystem } from '../mount/filesystem.ts';
import { pathState } from '../mount/paths.ts';
import { blockDeviceSize, fileSystemUsage } from '../mount/usage.ts';
import { describeVolume, type RememberedVolume, rememberedVolume } from './known.ts';
import { attachOptions } from './options.ts';
import type { VolumeParts } from './parts.ts';
import { placeInUse } from './place.ts';
import type { VolumeRecord } from './records.ts';
import { isDeviceMount } from './stats.ts';

export interface ExpandRequest {
  readonly volumeId: string;
  readonly requiredBytes: bigint;
  /** Undefined: the request does not say. */
  readonly access?: 'mount' | 'block';
}

export interface NodeExpandRequest {
  readonly volumeId: string;
  readonly volumePath: string;
  /** Undefined: as large as possible. */
  readonly requiredBytes?: bigint;
  /** Undefined: the request does not say. */
  readonly access?: 'mount' | 'block';
}

/**
 * Grows the volume itself. Kubelet asks every driver and takes Not supported for success, with the requested
 * size; the size that a driver answers is not looked at.
 *
 * @returns the size, and whether the node has to grow the file system afterwards.
 * @throws {Failure} of the driver; `expand-unknown` when the options or the old size cannot be told.
 */
export async function expandVolume(
  parts: VolumeParts,
  request: ExpandRequest,
): Promise<{ readonly bytes: bigint; readonly onNode: boolean }> {
  const { volumeId, requiredBytes } = request;
  const driver = await parts.driver.current();
  const remembered = await rememberedVolume(parts, volumeId);
  const described =
    remembered?.capacityBytes === undefined
      ? await describeVolume(driver, { name: volumeId, options: remembered?.options ?? {} })
      : 'unknown';
  // A driver may know less of a volume that it did not provision than is on record here.
  if (described === 'missing' && remembered === undefined) {
    throw new Failure('not-found', `volume ${volumeId} is not there`);
  }
  const says = typeof described === 'string' ? undefined : described;
  // A driver that knows the volume and names no options needs none.
  const volumeOptions = remembered?.options ?? (says && (says.options ?? {}));
  if (volumeOptions === undefined) throw unknown(volumeId, 'options');
  const oldBytes =
    remembered?.capacityBytes ??
    says?.capacityBytes ??
    (await measuredBytes(parts, remembered?.record)) ??
    remembered?.provisionedBytes;
  if (oldBytes === undefined) throw unknown(volumeId, 'present size');
  const access = request.access ?? remembered?.record?.access;
  const onNode = driver.capabilities.requiresFSResize && access !== 'block';
  // CSI: large enough already. A script that sets a size would make the volume smaller.
  if (oldBytes > requiredBytes) return { bytes: oldBytes, onNode };
  const fsType = remembered?.fsType ?? '';
  const options = attachOptions({ name: volumeId, fsType, options: volumeOptions, readOnly: false });
  const directory = globalMount(parts, volumeId);
  await driver.call(verbs.expandVolume(options, directory, requiredBytes, oldBytes));
  await rememberSize(parts, volumeId, requiredBytes);
  return { bytes: requiredBytes, onNode };
}

/**
 * Grows the file system of a mounted volume: the driver's `expandfs`, or the tool for ext4, xfs or btrfs.
 *
 * @throws {Failure} `not-found` when nothing is at the path; of the driver; of the host.
 */
export async function expandFileSystem(parts: VolumeParts, request: NodeExpandRequest): Promise<void> {
  const { volumeId, volumePath } = request;
  const mountPoint = await placeInUse(parts, 'volume_path', volumePath);
  const mounted = (await parts.host.mounts()).at(mountPoint);
  if (mounted === undefined && (await pathState(parts.host, mountPoint)).kind === 'missing') {
    throw new Failure('not-found', `volume ${volumeId} is not at ${volumePath}`);
  }
  // A raw block volume has no file system of ours: what is on it is the pod's, and may be in use.
  if (request.access === 'block' || (mounted && (await isDeviceMount(parts, mounted)))) return;

  const driver = await parts.driver.current();
  const volume = (await rememberedVolume(parts, volumeId)) ?? (await describedVolume(driver, volumeId));
  if (volume === undefined) throw unknown(volumeId, 'options');
  if (volume.record?.access === 'block') return;
  const device = volume.record?.device ?? '';
  const oldBytes =
    volume.claimedBytes ??
    (mounted ? (await fileSystemUsage(parts.host, mountPoint)).bytes.total : undefined) ??
    0n;
  // Without a wish kubelet passed 0; the size of the device says the same and cannot be misread.
  const newBytes = request.requiredBytes ?? (await measuredBytes(parts, volume.record)) ?? 0n;
  const options = attachOptions({ name: volumeId, ...volume, readOnly: false });
  const result = await driver.call(verbs.expandFs(options, device, volumePath, newBytes, oldBytes));
  // Without a mount the tools of xfs and btrfs would work on the node's own disk.
  if (!result.supported && device !== '' && mounted) await growFileSystem(parts.host, device, mountPoint);
}

/** What the driver itself says of a volume that nothing is on record of. */
async function describedVolume(driver: Driver, volumeId: string): Promise<RememberedVolume | undefined> {
  const described = await describeVolume(driver, { name: volumeId, options: {} });
  return typeof described === 'string' ? undefined : { options: described.options ?? {}, fsType: '' };
}

/** The record that CreateVolume left keeps up with the size. A convenience, as all records. */
async function rememberSize(parts: VolumeParts, volumeId: string, capacityBytes: bigint): Promise<void> {
  try {
    const record = await parts.provisioned.read(volumeId);
    if (record !== undefined) await parts.provisioned.write(volumeId, { ...record, capacityBytes });
  } catch (error) {
    parts.log.warn({ volumeId, err: error }, 'new size of the volume not recorded');
  }
}

function unknown(volumeId: string, what: string): Failure {
  return new Failure(
    'expand-unknown',
    `volume ${volumeId} cannot be expanded: its ${what}, which the driver is told, is in no CSI request; flexcsi knows it of volumes that it created or that are in use on this node (one process for both, --mode all), from the PersistentVolume in a cluster, or from the driver: let it have the verb getvolume, see docs/driver-contract.md`,
  );
}

/** The size of the device on record, if it is on this node. */
async function measuredBytes(
  parts: VolumeParts,
  record: VolumeRecord | undefined,
): Promise<bigint | undefined> {
  if (record?.device === undefined || !record.device.startsWith('/')) return undefined;
  if ((await pathState(parts.host, record.device)).kind === 'missing') return undefined;
  return await blockDeviceSize(parts.host, record.device);
}

/** The directory that `expandvolume` is told: where kubelet mounts the device of a CSI volume. */
function globalMount(parts: VolumeParts, volumeId: string): string {
  const hash = createHash('sha256').update(volumeId).digest('hex');
  const { kubeletDir, csiName } = parts.settings;
  return join(kubeletDir, 'plugins/kubernetes.io/csi', csiName, hash, 'globalmount');
}
