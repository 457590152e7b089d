/**
 * Where the path of a request really is. Clients name paths below kubelet's directory, and flexcsi mounts, unmounts
 * and removes directories as root: a symbolic link there must not lead it to the rest of the host.
 */
import { Failure } from '../errors.ts';
import { realPathBelow } from '../mount/paths.ts';
import type { VolumeParts } from './parts.ts';

/**
 * The mount point of a path at which something is to be mounted or changed.
 *
 * @param field the request's, for the message.
 * @throws {Failure} `invalid-request` when it is not below kubelet's directory; of the host.
 */
export async function placeToUse(parts: VolumeParts, field: string, path: string): Promise<string> {
  const { kubeletDir } = parts.settings;
  const real = await realPathBelow(parts.host, path, kubeletDir);
  if (isBelow(real.path, real.root)) return real.path;
  const leads = isBelow(path, kubeletDir) ? `leads to ${real.path}, which is` : 'is';
  throw new Failure(
    'invalid-request',
    `${field} ${JSON.stringify(path)} ${leads} not below kubelet's directory ${kubeletDir} (--kubelet-dir)`,
  );
}

/**
 * The mount point of a path at which something was mounted. One that was never below kubelet's directory is no
 * trouble: it may stem from a time when that was another one.
 *
 * @throws {Failure} `precondition` when a symbolic link leads out of kubelet's directory; of the host.
 */
export async function placeInUse(parts: VolumeParts, field: string, path: string): Promise<string> {
  const { kubeletDir } = parts.settings;
  const real = await realPathBelow(parts.host, path, kubeletDir);
  if (isBelow(real.path, real.root) || !isBelow(path, kubeletDir)) return real.path;
  throw new Failure(
    'precondition',
    `${field} ${JSON.stringify(path)} leads to ${real.path}, not below kubelet's directory ${kubeletDir}: nothing is done there; look at the symbolic links in that path`,
  );
}

function isBelow(path: string, directory: string): boolean {
  return path.startsWith(directory.endsWith('/') ? directory : `${directory}/`);
}
