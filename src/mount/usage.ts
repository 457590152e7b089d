/** How much is in a volume. Asked by child programs: on a hung mount the question does not return. */
import { Failure } from '../errors.ts';
import { type Host, hostFailure, oneLine } from './host.ts';

/** Bytes, or inodes. `total` is not always `available` + `used`: file systems keep a reserve for root. */
export interface Usage {
  readonly total: bigint;
  readonly available: bigint;
  readonly used: bigint;
}

export interface FileSystemUsage {
  readonly bytes: Usage;
  /** All zero for file systems without a fixed number of inodes (btrfs, vfat). */
  readonly inodes: Usage;
}

/**
 * The usage of the file system at a path, as statfs tells it and kubelet reports it: `available` is what is
 * free to ordinary users, `used` what is not free to root. Throws Failure `not-found` when nothing is at the
 * path, `host-timeout` when the file system does not answer, `host-failed`.
 */
export async function fileSystemUsage(
  host: Host,
  path: string,
  limit?: { timeoutMs?: number },
): Promise<FileSystemUsage> {
  const args = ['-f', '-c', '%S %b %f %a %c %d', '--', path];
  const ended = await host.run('stat', args, limit);
  const output = ended.output.toString();
  if (ended.exitCode !== 0) {
    if (/: (No such file or directory|Not a directory)$/.test(output.trimEnd())) {
      throw new Failure('not-found', `${oneLine(path)} does not exist`);
    }
    throw hostFailure('stat', args, ended);
  }
  const [size, blocks, free, available, inodes, inodesFree] = numbers('stat', output, 6) as [
    bigint,
    bigint,
    bigint,
    bigint,
    bigint,
    bigint,
  ];
  return {
    bytes: {
      total: blocks * size,
      // Negative while root uses up the reserve.
      available: available < 0n ? 0n : available * size,
      used: (blocks - free) * size,
    },
    // CephFS says -1 for free inodes: it does not count them.
    inodes:
      inodesFree < 0n
        ? { total: 0n, available: 0n, used: 0n }
        : { total: inodes, available: inodesFree, used: inodes - inodesFree },
  };
}

function numbers(program: string, text: string, count: number): bigint[] {
  const words = text.trim().split(/\s+/);
  if (words.length === count && words.every((word) => /^-?\d+$/.test(word))) return words.map(BigInt);
  throw new Failure('host-failed', `${program} printed no numbers, but: ${oneLine(text)}`);
}

/**
 * The size of a block device in bytes. Throws Failure `not-found` when it is not there, `host-timeout`,
 * `host-failed` (also when it is no block device).
 */
export async function blockDeviceSize(host: Host, device: string): Promise<bigint> {
  const args = ['--getsize64', device];
  const ended = await host.run('blockdev', args);
  const output = ended.output.toString();
  if (ended.exitCode !== 0) {
    if (/: No such file or directory$/.test(output.trimEnd())) {
      throw new Failure('not-found', `the device ${oneLine(device)} does not exist`);
    }
    throw hostFailure('blockdev', args, ended);
  }
  return numbers('blockdev', output, 1)[0] as bigint;
}
