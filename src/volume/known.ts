/**
 * What a CSI request leaves out of an existing volume, its options above all. From the first that knows: the
 * PersistentVolume, where there is a cluster; this node's record of a volume in use; what CreateVolume recorded;
 * the driver itself, where it has `getvolume` or `listvolumes`.
 */
import { Failure, saysNotFound } from '../errors.ts';
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

/** The volume's options as far as they are known: the driver is asked last, and none is an answer, too. */
export async function knownOptions(parts: VolumeParts, driver: Driver, volumeId: string): Promise<Options> {
  const remembered = await rememberedVolume(parts, volumeId);
  if (remembered !== undefined) return remembered.options;
  const described = await describeVolume(driver, { name: volumeId, options: {} });
  return typeof described === 'string' ? {} : (described.options ?? {});
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
      throw error;
    }
  }
  if (!listVolumes) return 'unknown';
  const volumes = await driver.ask('listvolumes', {}, readVolumes);
  return volumes.find(({ volumeId }) => volumeId === volume.name) ?? 'missing';
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
