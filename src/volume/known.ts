/**
 * What a CSI request leaves out of an existing volume, its options above all. From the first that knows: the
 * PersistentVolume, where there is a cluster; this node's record of a volume in use; the driver itself, where it has
 * `getvolume` or `listvolumes`; what CreateVolume recorded.
 */
import { errorMessage, Failure, saysNotFound } from '../errors.ts';
import { type DescribedVolume, readVolume, readVolumes } from '../flex/described.ts';
import type { Driver } from '../flex/driver.ts';
import { namedOptions } from '../flex/extended-options.ts';
import type { Options } from '../flex/options.ts';
import { isFinal } from './final.ts';
import type { KnownVolume, VolumeParts } from './parts.ts';
import type { VolumeRecord } from './records.ts';
import { recall } from './remember.ts';

/** What is known of a volume without asking the driver. */
export interface RememberedVolume extends KnownVolume {
  /** This node's record, if the volume is in use here. */
  readonly record?: VolumeRecord;
  /** The size with which it was created, or to which it was last expanded. */
  readonly provisionedBytes?: bigint;
}

/** What is known of the volume without asking the driver; undefined when nothing is. */
export async function rememberedVolume(
  parts: VolumeParts,
  volumeId: string,
): Promise<RememberedVolume | undefined> {
  const found = await parts.lookup.find(volumeId);
  const record = await recall(parts, volumeId);
  const provisioned = await parts.provisioned.read(volumeId);
  const source = found ?? record ?? provisioned;
  if (source === undefined) return undefined;
  const { options, fsType } = source;
  const { capacityBytes, claimedBytes } = found ?? {};
  const provisionedBytes = provisioned?.capacityBytes;
  return {
    options,
    fsType,
    ...(capacityBytes === undefined ? {} : { capacityBytes }),
    ...(claimedBytes === undefined ? {} : { claimedBytes }),
    ...(record === undefined ? {} : { record }),
    ...(provisionedBytes === undefined ? {} : { provisionedBytes }),
  };
}

/**
 * The volume's options as far as they are known, for a verb that can do without. What CreateVolume recorded comes
 * last: another controller may have deleted that volume since, and made another of that name.
 */
export async function knownOptions(parts: VolumeParts, driver: Driver, volumeId: string): Promise<Options> {
  const current = (await parts.lookup.find(volumeId)) ?? (await recall(parts, volumeId));
  if (current !== undefined) return current.options;
  const recorded = (await parts.provisioned.read(volumeId))?.options ?? {};
  try {
    const described = await describeVolume(driver, { name: volumeId, options: {} });
    if (described === 'unknown') return recorded;
    return described === 'missing' ? {} : (described.options ?? recorded);
  } catch (error) {
    parts.log.warn(
      { volumeId, problem: errorMessage(error) },
      'the driver cannot tell the options of the volume',
    );
    return recorded;
  }
}

/**
 * What the driver says of a volume: `missing` when it has none of that name, `unknown` when it has no verb to
 * ask with.
 *
 * @throws {Failure} of the driver.
 */
export async function describeVolume(
  driver: Driver,
  volume: { readonly name: string; readonly options: Options },
): Promise<DescribedVolume | 'missing' | 'unknown'> {
  const { getVolume, listVolumes } = driver.capabilities.extensions;
  if (getVolume) {
    try {
      return await driver.ask('getvolume', namedOptions(volume), readVolume);
    } catch (error) {
      if (saysNotFound(error)) return 'missing';
      if (!(error instanceof Failure) || error.kind !== 'driver-failed' || error.code !== undefined)
        throw error;
      const hint = 'if it means that there is no such volume, the answer needs "code":"NOT_FOUND"';
      throw new Failure(error.kind, `${error.message}; ${hint}`, { cause: error });
    }
  }
  if (!listVolumes) return 'unknown';
  return await driver.ask(
    'listvolumes',
    {},
    (fields) =>
      readVolumes(fields)
        .find(({ id }) => id === volume.name)
        ?.read() ?? 'missing',
  );
}

/**
 * Runs work on an existing volume. When it fails for good and without a code, the driver is asked whether the
 * volume is there at all.
 *
 * @throws {Failure} `not-found` when it is not; what `work` throws.
 */
export async function orNotFound<Result>(
  driver: Driver,
  volume: { readonly name: string; readonly options: Options },
  work: () => Promise<Result>,
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== undefined || !isFinal(error)) throw error;
    const described = await describeVolume(driver, volume).catch(() => 'unknown' as const);
    if (described !== 'missing') throw error;
    throw new Failure('not-found', `volume ${volume.name} is not there: ${error.message}`, { cause: error });
  }
}
