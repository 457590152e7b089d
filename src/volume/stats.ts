/** NodeGetVolumeStats. Takes no lock, needs no record, asks no driver: the mount table and statfs. */
import { Failure } from '../errors.ts';
import type { MountEntry } from '../mount/mount-table.ts';
import { pathState, realPath } from '../mount/paths.ts';
import { blockDeviceSize, type FileSystemUsage, fileSystemUsage } from '../mount/usage.ts';
import type { VolumeParts } from './parts.ts';

export type VolumeStats =
  | ({ readonly access: 'mount' } & FileSystemUsage)
  | { readonly access: 'block'; readonly totalBytes: bigint };

/**
 * How full the volume at that path is.
 *
 * @throws {Failure} `not-found` when nothing is mounted there; `host-timeout` when it does not answer.
 */
export async function volumeStats(parts: VolumeParts, volumePath: string): Promise<VolumeStats> {
  const mountPoint = await realPath(parts.host, volumePath);
  const mounted = (await parts.host.mounts()).at(mountPoint);
  if (mounted === undefined) {
    throw new Failure('not-found', `no volume is mounted at ${volumePath}`);
  }
  if (await isDeviceMount(parts, mounted)) {
    return { access: 'block', totalBytes: await blockDeviceSize(parts.host, mountPoint) };
  }
  return { access: 'mount', ...(await fileSystemUsage(parts.host, mountPoint)) };
}

/** File systems without a server, on which a device node may be. */
const LOCAL: ReadonlySet<string> = new Set([
  'devtmpfs',
  'tmpfs',
  'ramfs',
  'overlay',
  'ext2',
  'ext3',
  'ext4',
  'xfs',
  'btrfs',
]);

/** Whether a device node is mounted there (a raw block volume), not a directory. */
export async function isDeviceMount(parts: VolumeParts, mounted: MountEntry): Promise<boolean> {
  // Looking at a path on any other type may hang. The root of a file system is a directory.
  if (!LOCAL.has(mounted.fsType) || mounted.root === '/') return false;
  return (await pathState(parts.host, mounted.mountPoint)).kind === 'block-device';
}
