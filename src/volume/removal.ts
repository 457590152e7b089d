/** Taking a mount away: the driver's verb for it, and then: is it gone, and its directory with it? */
import { Failure, saysNotFound } from '../errors.ts';
import type { Driver } from '../flex/driver.ts';
import type { Call } from '../flex/verbs.ts';
import { describeHolders, findHolders } from '../mount/holders.ts';
import { removeEmptyDirectory, removeFile } from '../mount/paths.ts';
import type { VolumeParts } from './parts.ts';

/**
 * Runs a verb that takes something away. Answers whether the driver has done it: not when it does not support the
 * verb, nor when it does not find what is to go.
 *
 * @throws {Failure} of the driver.
 */
export async function takeAway(driver: Driver, call: Call): Promise<boolean> {
  try {
    return (await driver.call(call)).supported;
  } catch (error) {
    if (saysNotFound(error)) return false;
    throw error;
  }
}

/**
 * The same for a mount.
 *
 * @throws {Failure} of the driver, with who holds the mount, which drivers do not say.
 */
export async function takeMountAway(
  parts: VolumeParts,
  driver: Driver,
  call: Call,
  mountPoint: string,
): Promise<boolean> {
  try {
    return await takeAway(driver, call);
  } catch (error) {
    const holders = await holdersOf(parts, mountPoint).catch(() => undefined);
    if (!(error instanceof Failure) || holders === undefined) throw error;
    const code = error.code === undefined ? {} : { code: error.code };
    throw new Failure(error.kind, `${error.message}; ${holders}`, { ...code, cause: error });
  }
}

/** Who holds what is mounted there, in words; undefined when nothing is. */
async function holdersOf(parts: VolumeParts, mountPoint: string): Promise<string | undefined> {
  const table = await parts.host.mounts();
  const entry = table.at(mountPoint);
  return entry && describeHolders(await findHolders(entry, table, { process: parts.host.process }));
}

/**
 * Exit 0 is no proof: the mount table is.
 *
 * @throws {Failure} `busy`, with who holds the mount where that is known.
 */
export async function refuseStillMounted(
  parts: VolumeParts,
  mountPoint: string,
  said: string,
): Promise<void> {
  const holders = await holdersOf(parts, mountPoint);
  if (holders === undefined) return;
  throw new Failure('busy', `${said}${mountPoint} is still mounted: device or resource busy; ${holders}`);
}

/** Removes the empty directory; what is in it is never removed. */
export async function removeDirectory(parts: VolumeParts, path: string): Promise<void> {
  const result = await removeEmptyDirectory(parts.host, path);
  if (result === 'not-empty') {
    throw new Failure(
      'busy',
      `remove ${path}: directory not empty; it holds files that are not in the volume: look at them, then move them away`,
    );
  }
  if (result === 'busy') throw new Failure('busy', `remove ${path}: device or resource busy`);
}

/** Removes the file that a device was bound to; one with data in it is never removed. */
export async function removeTargetFile(parts: VolumeParts, path: string): Promise<void> {
  const result = await removeFile(parts.host, path);
  if (result === 'not-empty') {
    throw new Failure(
      'busy',
      `remove ${path}: it is a file with data in it, not the target of a raw block volume: look at it, then move it away`,
    );
  }
  if (result === 'busy') throw new Failure('busy', `remove ${path}: device or resource busy`);
}
