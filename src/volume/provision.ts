/**
 * CreateVolume and DeleteVolume.
 *
 *   [getvolume or listvolumes: is it there already?]  →  provision  →  does the answer fit the request?
 *   not in use on this node, not attached  →  delete
 */
import { Failure, saysNotFound } from '../errors.ts';
import { type DescribedVolume, readVolume } from '../flex/described.ts';
import type { Driver } from '../flex/driver.ts';
import { namedOptions, type Provision, provisionOptions, type Secrets } from '../flex/extended-options.ts';
import type { Options } from '../flex/options.ts';
import { isWithin } from '../flex/topology.ts';
import { realPath } from '../mount/paths.ts';
import type { Mask } from '../secrets.ts';
import { attachedNodes } from './attachments.ts';
import { describeVolume, rememberedVolume } from './known.ts';
import type { VolumeParts } from './parts.ts';
import type { ProvisionRecord, VolumeRecord } from './records.ts';

export interface ProvisionRequest extends Provision {
  /** What becomes the volume's options when the driver names none: the parameters that are the volume's own. */
  readonly defaultOptions: Options;
  readonly mask: Mask;
}

export interface ProvisionedVolume extends DescribedVolume {
  readonly options: Options;
}

/**
 * Makes the volume, or answers the one that is there.
 *
 * @throws {Failure} `incompatible` when one is there that does not fit; `invalid-request` for a source that the
 * driver cannot use; of the driver.
 */
export async function provision(parts: VolumeParts, request: ProvisionRequest): Promise<ProvisionedVolume> {
  const driver = await parts.driver.current();
  const record = await parts.provisioned.read(request.name);
  const present = await describeVolume(driver, { name: request.name, options: record?.options ?? {} });
  const described = typeof present === 'string' ? await make(driver, request) : present;
  // Of a volume that was not there the record is an earlier one's.
  refuseOther(request, described, present === 'missing' ? undefined : record);
  const volume = { ...described, options: described.options ?? request.defaultOptions };
  await rememberProvisioned(parts, request, volume);
  return volume;
}

async function make(driver: Driver, request: ProvisionRequest): Promise<DescribedVolume> {
  const { sourceVolume, sourceSnapshot, mask } = request;
  try {
    return await driver.ask('provision', provisionOptions(request), readVolume, mask);
  } catch (error) {
    const hasSource = (sourceVolume ?? sourceSnapshot) !== undefined;
    if (!hasSource || !(error instanceof Failure) || error.kind !== 'unsupported') throw error;
    throw new Failure('invalid-request', `volume_content_source: ${error.message}`, { cause: error });
  }
}

/**
 * CSI, CreateVolume: the volume of that name has to be compatible with the request.
 *
 * @throws {Failure} `incompatible`.
 */
function refuseOther(
  request: ProvisionRequest,
  volume: DescribedVolume,
  record: ProvisionRecord | undefined,
): void {
  const difference =
    sizeDifference(request, volume) ??
    sourceDifference(request, volume, record) ??
    placeDifference(request, volume) ??
    parameterDifference(request, record);
  if (difference !== undefined) {
    throw new Failure(
      'incompatible',
      `volume ${request.name} ${difference}; delete it first, or use another name`,
    );
  }
}

function sizeDifference(request: ProvisionRequest, { capacityBytes }: DescribedVolume): string | undefined {
  const { requestBytes, limitBytes } = request;
  if (capacityBytes === undefined) return undefined;
  if (requestBytes !== undefined && capacityBytes < requestBytes) {
    return `has ${capacityBytes} bytes, not the ${requestBytes} that are required`;
  }
  if (limitBytes !== undefined && capacityBytes > limitBytes) {
    return `has ${capacityBytes} bytes, more than the limit of ${limitBytes}`;
  }
  return undefined;
}

function sourceDifference(
  request: ProvisionRequest,
  volume: DescribedVolume,
  record: ProvisionRecord | undefined,
): string | undefined {
  for (const [field, what] of [
    ['sourceVolume', 'volume'],
    ['sourceSnapshot', 'snapshot'],
  ] as const) {
    const wanted = request[field] ?? '';
    // A driver need not say what a volume was made from.
    const actual = volume[field] ?? record?.[field] ?? (record === undefined ? wanted : '');
    if (wanted === actual) continue;
    if (actual === '') return `is there and was not made from ${what} ${wanted}`;
    return `is there and was made from ${what} ${actual}`;
  }
  return undefined;
}

function placeDifference({ topology }: ProvisionRequest, volume: DescribedVolume): string | undefined {
  if (isWithin(volume.topology, topology)) return undefined;
  return 'is not usable from any of the places in accessibility_requirements';
}

function parameterDifference(
  { parameters }: ProvisionRequest,
  record: ProvisionRecord | undefined,
): string | undefined {
  if (record === undefined) return undefined;
  const keys = new Set([...Object.keys(parameters), ...Object.keys(record.parameters)]);
  const other = [...keys].find((key) => parameters[key] !== record.parameters[key]);
  return other === undefined
    ? undefined
    : `was created with another value of parameter ${JSON.stringify(other)}`;
}

/** A convenience, as all records: a controller whose state directory is full must still provision. */
async function rememberProvisioned(
  parts: VolumeParts,
  request: ProvisionRequest,
  { options, capacityBytes }: ProvisionedVolume,
): Promise<void> {
  const { name, parameters, fsType, sourceVolume, sourceSnapshot } = request;
  try {
    await parts.provisioned.write(name, {
      parameters,
      options,
      fsType,
      ...(capacityBytes === undefined ? {} : { capacityBytes }),
      ...(sourceVolume === undefined ? {} : { sourceVolume }),
      ...(sourceSnapshot === undefined ? {} : { sourceSnapshot }),
    });
  } catch (error) {
    parts.log.warn(
      { volumeId: name, err: error },
      'volume not recorded: its driver may later lack its options',
    );
  }
}

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
  const remembered = await rememberedVolume(parts, volumeId);
  // Also when `getvolume` knows none: what a crash has left of it is the driver's to clean up.
  const described = remembered ?? (await describeVolume(driver, { name: volumeId, options: {} }));
  const options = typeof described === 'string' ? {} : (described.options ?? {});
  try {
    await driver.ask('delete', namedOptions({ name: volumeId, options }, secrets), () => {}, mask);
  } catch (error) {
    if (!saysNotFound(error)) throw error;
  }
  await parts.provisioned.remove(volumeId).catch((error: unknown) => {
    parts.log.warn({ volumeId, err: error }, 'record of a deleted volume left behind');
  });
}

async function refuseInUse(parts: VolumeParts, driver: Driver, volumeId: string): Promise<void> {
  const record = (await rememberedVolume(parts, volumeId))?.record;
  const mounts = await parts.host.mounts();
  const target = Object.entries(record?.targets ?? {}).find(
    ([, { mountPoint }]) => mounts.at(mountPoint) !== undefined,
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
