/**
 * Whether a device is really empty, before it is formatted. blkid only says that it recognises nothing: data
 * without a signature (an application's own, an encrypted disk with its header elsewhere, a file system whose
 * first blocks are damaged) look blank to it, and to kubelet, which formats them.
 */
import { Failure } from '../errors.ts';
import { type Host, hostFailure, oneLine } from './host.ts';
import { blockDeviceSize } from './usage.ts';

const KIB = 1024n;
const MIB = 1024n * KIB;
const SAMPLE = 64n * KIB;

/** A part of a device, in bytes. */
export interface Area {
  readonly offset: bigint;
  readonly length: bigint;
}

/**
 * The areas of a device that tell whether it has ever held something:
 * - the first MiB: boot sectors, partition tables, the first superblock of every file system and volume
 *   manager, ZFS's first two labels;
 * - the last MiB: the second GPT, RAID and DRBD metadata, ZFS's last two labels;
 * - 64 KiB at each power of two between (1 MiB, 2 MiB, …): there stand the copies that survive when the start
 *   was lost, of ext2/3/4 (at 8, 32 or 128 MiB by block size), btrfs (64 MiB, 256 GiB) and LUKS2 (up to 4 MiB);
 *   and as a sample of the data of what keeps no copies.
 * So a device of 16 TiB costs 3.5 MiB of reading. Reading all of it would be certain, and take hours.
 */
export function signatureAreas(size: bigint): Area[] {
  if (size <= 2n * MIB) return [{ offset: 0n, length: size }];
  const areas: Area[] = [{ offset: 0n, length: MIB }];
  for (let offset = MIB; offset + SAMPLE <= size - MIB; offset *= 2n) areas.push({ offset, length: SAMPLE });
  areas.push({ offset: size - MIB, length: MIB });
  return areas;
}

/**
 * Returns when every byte of the device's signature areas is zero. Throws Failure `precondition` when there is
 * data, saying where and what to do; `not-found` when there is no device; `host-timeout`, `host-failed` when it
 * cannot be read.
 */
export async function requireEmpty(host: Host, device: string): Promise<void> {
  const size = await deviceSize(host, device);
  for (const { offset, length } of signatureAreas(size)) {
    const args = ['-n', String(length), '-i', `${offset}:0`, '--', device, '/dev/zero'];
    const ended = await host.run('cmp', args);
    if (ended.exitCode === 0) continue;
    // cmp counts from 1, from where it began. A device may be called anything: only the end counts.
    const byte = / differ: (?:byte|char) (\d+), line \d+\n$/.exec(ended.output.toString())?.[1];
    if (ended.exitCode !== 1 || byte === undefined) throw hostFailure('cmp', args, ended);
    throw new Failure(
      'precondition',
      `refusing to format ${oneLine(device)}: blkid recognises nothing on it, but it is not empty (data at byte ` +
        `${offset + BigInt(byte) - 1n} of ${size}). If the data are wanted, let the driver mount the device ` +
        '(mountdevice); if not, overwrite it with zeros (blkdiscard -z, or dd if=/dev/zero), and it is formatted',
    );
  }
}

/** The size of a block device, or of an image file given in place of one (mount makes a loop device for it). */
async function deviceSize(host: Host, device: string): Promise<bigint> {
  const args = ['-L', '-c', '%s %F', '--', device];
  const ended = await host.run('stat', args);
  const file = /^(\d+) regular /.exec(ended.output.toString())?.[1];
  const size =
    ended.exitCode === 0 && file !== undefined ? BigInt(file) : await blockDeviceSize(host, device);
  if (size > 0n) return size;
  throw new Failure('precondition', `the device ${oneLine(device)} has no size: is there a medium in it?`);
}
