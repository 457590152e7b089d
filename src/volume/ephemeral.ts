/**
 * Ephemeral (in-line) volumes of drivers that attach. Kubernetes never attaches these on the controller, so
 * all of it happens in NodePublish. As under kubelet the volume's name in the pod is its identity: pods that
 * use the same name share the device. The first one attaches it, the last one to go detaches it.
 */
import { dirname, join } from 'node:path';
import { Failure } from '../errors.ts';
import type { Driver } from '../flex/driver.ts';
import { realPath } from '../mount/paths.ts';
import { isFinal } from './final.ts';
import type { PublishRequest, VolumeParts } from './parts.ts';
import type { SharedDevice } from './records.ts';
import { differenceOf } from './same-use.ts';
import { stageAt } from './stage.ts';
import { unstageAt } from './unstage.ts';

/** Whether publishing this means attaching a device here. */
export function usesSharedDevice(driver: Driver, request: PublishRequest): boolean {
  return request.ephemeral && driver.capabilities.attach;
}

/**
 * The name of an ephemeral volume in its pod, from kubelet's target path `…/kubernetes.io~csi/<name>/mount`;
 * undefined for any other path.
 */
export function ephemeralName(targetPath: string): string | undefined {
  return /\/kubernetes\.io~csi\/([^/]+)\/mount\/?$/.exec(targetPath)?.[1];
}

/** Whether kubelet made up this volume id for an ephemeral volume; a PersistentVolume may have the name of one. */
export function isEphemeralId(volumeId: string): boolean {
  return /^csi-[0-9a-f]{64}$/.test(volumeId);
}

/**
 * Attaches and mounts the shared device if this is its first user, and answers where it is.
 *
 * @throws {Failure} `precondition` when pods with other options hold the name; of the driver; of the host.
 * Nothing is held then.
 */
export async function holdSharedDevice(
  parts: VolumeParts,
  request: PublishRequest,
): Promise<{ stagingPath: string; device: string }> {
  const { name, targetPath } = request;
  const known = await recallShared(parts, name);
  refuseOtherOptions(known, request);
  const { options, fsType, access, readOnly } = request;
  const use = { boot: parts.boot, options, fsType, access, readOnly };
  const holders = [...new Set([...(known?.holders ?? []), targetPath])];
  const onRecord = known?.device === undefined ? {} : { device: known.device };
  // Written before anything is attached: a crash in between must not hide this user from the last one to go.
  await parts.shared.write(name, { ...use, ...onRecord, holders });
  const path = sharedDirectory(parts, name);
  let device: string;
  try {
    device = await stageAt(parts, request, { path, device: '', attachHere: true, known: known?.device });
  } catch (error) {
    // After an error that is not final kubelet unpublishes, and that releases it.
    if (isFinal(error) && !known?.holders.includes(targetPath)) {
      if (known === undefined) await parts.shared.remove(name);
      else await parts.shared.write(name, known);
    }
    throw error;
  }
  try {
    await parts.shared.write(name, { ...use, device, holders });
  } catch (error) {
    parts.log.warn(
      { name, err: error },
      'the device of an in-line volume is not on record: it will be asked for again',
    );
  }
  return { stagingPath: path, device };
}

/** Whether this target is on record as a user of the shared device already. */
export async function holdsSharedDevice(
  parts: VolumeParts,
  name: string,
  targetPath: string,
): Promise<boolean> {
  return (await recallShared(parts, name))?.holders.includes(targetPath) ?? false;
}

/** The name of the shared device that this target uses, if it uses one. Known also when the record is lost. */
export async function sharedDeviceOf(
  parts: VolumeParts,
  volumeId: string,
  targetPath: string,
): Promise<string | undefined> {
  const name = ephemeralName(targetPath);
  if (name === undefined || !isEphemeralId(volumeId)) return undefined;
  // Of another boot, too: what a driver attached outside the node outlives the node's reboot.
  if ((await parts.shared.read(name)) !== undefined) return name;
  const mountPoint = await realPath(parts.host, sharedDirectory(parts, name));
  return (await parts.host.mounts()).at(mountPoint) === undefined ? undefined : name;
}

/**
 * Gives up one use of the shared device; the last one runs `unmountdevice` and `detach`. Users that are not on
 * record (it may have been lost) show in the mount table.
 *
 * @throws {Failure} of the driver or the host; the use is then still on record, and the next call tries again.
 */
export async function releaseSharedDevice(
  parts: VolumeParts,
  name: string,
  targetPath: string,
): Promise<void> {
  const known = await parts.shared.read(name);
  const path = sharedDirectory(parts, name);
  const others = known?.holders.filter((holder) => holder !== targetPath) ?? [];
  const isHeld =
    others.length > 0 || (await isMountedElsewhere(parts, path, await realPath(parts.host, targetPath)));
  if (isHeld) {
    if (known !== undefined) await parts.shared.write(name, { ...known, holders: others });
    return;
  }
  await unstageAt(parts, name, path, true);
  await parts.shared.remove(name);
}

async function recallShared(parts: VolumeParts, name: string): Promise<SharedDevice | undefined> {
  const known = await parts.shared.read(name);
  return known?.boot === parts.boot ? known : undefined;
}

function refuseOtherOptions(known: SharedDevice | undefined, request: PublishRequest): void {
  const holder = known?.holders.find((path) => path !== request.targetPath);
  if (known === undefined || holder === undefined) return;
  const difference =
    differenceOf(known, request) ??
    (known.readOnly === request.readOnly ? undefined : `readonly ${known.readOnly}`);
  if (difference === undefined) return;
  throw new Failure(
    'precondition',
    `in-line volume ${request.name} is in use on this node with ${difference} by ${dirname(holder)}; pods that share the name share the volume: give it another name, or the same options`,
  );
}

/**
 * Whether what is mounted at the shared directory is mounted for another pod, too. Other parts of the same file
 * system do not count: a driver may bind a directory of a share that is mounted elsewhere as a whole.
 */
async function isMountedElsewhere(parts: VolumeParts, path: string, target: string): Promise<boolean> {
  const mounts = await parts.host.mounts();
  const own = mounts.at(await realPath(parts.host, path));
  if (own === undefined) return false;
  const below = own.root === '/' ? '/' : `${own.root}/`;
  return mounts
    .allOf(own.device)
    .filter(({ root }) => root === own.root || root.startsWith(below))
    .some(({ mountPoint }) => mountPoint !== own.mountPoint && mountPoint !== target);
}

/** Under the plugin's own directory, which is inside the mount propagation from and to the node. */
function sharedDirectory(parts: VolumeParts, name: string): string {
  return join(parts.settings.kubeletDir, 'plugins', parts.settings.csiName, 'ephemeral', name);
}
