/** What there is, and how much more there could be: ControllerGetVolume, ListVolumes, GetCapacity; ControllerModifyVolume. */
import { Failure } from '../errors.ts';
import { type DescribedVolume, type Listed, type Room, readRoom, readVolumes } from '../flex/described.ts';
import { modifyOptions, roomOptions, type Secrets, type WantedVolume } from '../flex/extended-options.ts';
import type { Options } from '../flex/options.ts';
import type { Mask } from '../secrets.ts';
import { describeVolume, knownOptions, orNotFound, rememberedVolume } from './known.ts';
import type { VolumeParts } from './parts.ts';

/**
 * What the driver says of a volume; undefined when it has no verb to ask with.
 *
 * @param options the volume's own, where the request names them.
 * @throws {Failure} `not-found` when there is none; of the driver.
 */
export async function getVolume(
  parts: VolumeParts,
  volumeId: string,
  options?: Options,
): Promise<DescribedVolume | undefined> {
  const driver = await parts.driver.current();
  const known = options ?? (await rememberedVolume(parts, volumeId))?.options ?? {};
  const described = await describeVolume(driver, { name: volumeId, options: known });
  if (described === 'missing') throw new Failure('not-found', `volume ${volumeId} is not there`);
  return described === 'unknown' ? undefined : described;
}

/**
 * All volumes, in the driver's order.
 *
 * @throws {Failure} of the driver.
 */
export async function listVolumes(parts: VolumeParts): Promise<Listed<DescribedVolume>[]> {
  return await (await parts.driver.current()).ask('listvolumes', {}, readVolumes);
}

/**
 * How much could be provisioned.
 *
 * @throws {Failure} of the driver.
 */
export async function getCapacity(parts: VolumeParts, wanted: WantedVolume): Promise<Room> {
  return await (await parts.driver.current()).ask('getcapacity', roomOptions(wanted), readRoom);
}

export interface ModifyRequest {
  readonly volumeId: string;
  readonly changes: Options;
  readonly secrets: Secrets;
  readonly mask: Mask;
}

/**
 * Changes the given values of a volume, and nothing else. Without values only whether it is there is looked at.
 *
 * @throws {Failure} `not-found` when the driver knows no such volume; of the driver.
 */
export async function modifyVolume(parts: VolumeParts, request: ModifyRequest): Promise<void> {
  const { volumeId, changes, secrets, mask } = request;
  if (Object.keys(changes).length === 0) {
    await getVolume(parts, volumeId);
    return;
  }
  const driver = await parts.driver.current();
  const volume = { name: volumeId, options: await knownOptions(parts, driver, volumeId) };
  await orNotFound(driver, volume, () =>
    driver.ask('modifyvolume', modifyOptions(volume, changes, secrets), () => {}, mask),
  );
}
