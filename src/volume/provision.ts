/**
 * CreateVolume.
 *
 *   [getvolume or listvolumes: is it there already?]  →  provision  →  does the answer fit the request?
 */
import { Failure } from '../errors.ts';
import { type DescribedVolume, readVolume } from '../flex/described.ts';
import type { Driver } from '../flex/driver.ts';
import { type Provision, provisionOptions } from '../flex/extended-options.ts';
import type { Options } from '../flex/options.ts';
import type { Mask } from '../secrets.ts';
import { describeVolume } from './known.ts';
import type { VolumeParts } from './parts.ts';
import type { ProvisionRecord } from './records.ts';
import { refuseOther } from './same-volume.ts';

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
  // Of a volume that was not there the record is an earlier one's.
  const known = present === 'missing' ? undefined : record;
  if (present === 'unknown') refuseOther(request, { topology: [], nodes: [] }, known);
  // A volume whose source nobody knows is the driver's to compare.
  const isThere = typeof present !== 'string' && tellsSource(request, present, known);
  const described = isThere ? present : await make(driver, request);
  refuseOther(request, described, known);
  const options = described.options ?? known?.options ?? request.defaultOptions;
  const capacityBytes = described.capacityBytes ?? known?.capacityBytes;
  const volume = { ...described, options, ...(capacityBytes === undefined ? {} : { capacityBytes }) };
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

function tellsSource(
  { sourceVolume, sourceSnapshot }: ProvisionRequest,
  present: DescribedVolume,
  record: ProvisionRecord | undefined,
): boolean {
  const isWanted = (sourceVolume ?? sourceSnapshot) !== undefined;
  const isKnown = record !== undefined || (present.sourceVolume ?? present.sourceSnapshot) !== undefined;
  return !isWanted || isKnown;
}

/** A convenience, as all records: a controller whose state directory is full must still provision. */
async function rememberProvisioned(
  parts: VolumeParts,
  request: ProvisionRequest,
  { options, capacityBytes }: ProvisionedVolume,
): Promise<void> {
  const { name, defaultOptions: parameters, fsType, access, sourceVolume, sourceSnapshot } = request;
  try {
    await parts.provisioned.write(name, {
      parameters,
      options,
      fsType,
      ...(access === undefined ? {} : { access }),
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
