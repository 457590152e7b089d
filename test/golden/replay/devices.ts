/** Block devices at recorded paths: real loop devices, and a lock on this machine's own. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { NotUnderstood } from './records.ts';
import { requireInside } from './world.ts';

const MIB = 1024 * 1024;
/** What mkfs makes at least. */
const smallest: Readonly<Record<string, number>> = { xfs: 320 * MIB, btrfs: 160 * MIB };

/** What `device_holds` says, and how to make it; `size` is that of the file system, in bytes. */
const contents: readonly (readonly [RegExp, (device: string, size: number, type: string) => void])[] = [
  [/^(?:nothing|blank|zeros)\b/, () => {}],
  [
    /^(ext[234])$/,
    (device, size, type) => execFileSync(`mkfs.${type}`, ['-q', '-F', device, `${Math.floor(size / 1024)}k`]),
  ],
  [
    /^(xfs)$/,
    (device, size) => execFileSync('mkfs.xfs', ['-q', '-f', '-d', `size=${size}`, device], { stdio: 'pipe' }),
  ],
  [
    /^(btrfs)$/,
    (device, size) => execFileSync('mkfs.btrfs', ['-q', '-f', '-b', String(size), device], { stdio: 'pipe' }),
  ],
  [/^(vfat|fat32)$/, (device) => execFileSync('mkfs.vfat', [device], { stdio: 'pipe' })],
  [
    /partition table|^(?:gpt|dos|mbr)\b/i,
    (device) => writeFileSync(device, partitionTable(), { flag: 'r+' }),
  ],
  // Without a signature: 0x5a is nobody's magic number.
  [
    /^(?:random|data|unknown|something)\b/,
    (device) => writeFileSync(device, Buffer.alloc(MIB, 0x5a), { flag: 'r+' }),
  ],
];

/** A boot sector with one partition, of type Linux, from the first MiB on. */
function partitionTable(): Buffer {
  const sector = Buffer.alloc(512);
  sector.writeUInt8(0x83, 450);
  sector.writeUInt32LE(2048, 454);
  sector.writeUInt32LE(4096, 458);
  sector.writeUInt16LE(0xaa55, 510);
  return sector;
}

/** Whether this is data that blkid does not recognise. */
export function holdsUnmarkedData(holds: string | undefined): boolean {
  return holds !== undefined && /^(?:random|data|unknown|something)\b/.test(holds);
}

/** The file system that `device_holds` names, if it is one. */
export function fileSystemOf(holds: string | undefined): string | undefined {
  return /^(ext[234]|xfs|btrfs)$/.exec(holds ?? '')?.[1];
}

export interface Devices {
  /** Makes a block device of `deviceBytes` at `path`, with that content of `contentBytes`. */
  make(path: string, holds: string, deviceBytes: number, contentBytes: number): void;
  /** Makes sure that a path under /dev that a record names is no device of this machine. */
  hide(path: string): void;
  /** Whether a program may touch it: it is one of these devices, or hidden. */
  isSafe(path: string): boolean;
  /** Detaches all; the nodes go with the world. What is mounted from them has to be gone. */
  release(): void;
}

export function createDevices(): Devices {
  const images = mkdtempSync(join(tmpdir(), 'flexcsi-golden-'));
  const loops = new Map<string, string>();
  const hidden = new Set<string>();
  return {
    make(path, holds, deviceBytes, contentBytes) {
      requireInside(path);
      const content = contents.find(([pattern]) => pattern.test(holds));
      if (content === undefined) throw new NotUnderstood(`device_holds: "${holds}"`);
      const least = smallest[holds] ?? MIB;
      const image = join(images, `image-${loops.size}`);
      writeFileSync(image, '');
      truncateSync(image, Math.max(deviceBytes, least));
      const loop = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
      loops.set(path, loop);
      const numbers = execFileSync('stat', ['-c', '%Hr %Lr', loop], { encoding: 'utf8' }).trim().split(' ');
      mkdirSync(dirname(path), { recursive: true });
      rmSync(path, { force: true });
      execFileSync('mknod', [path, 'b', ...numbers]);
      content[1](loop, Math.max(contentBytes, least), holds);
    },
    hide(path) {
      if (!existsSync(path) || hidden.has(path)) return;
      // Within the private mount namespace the path is an empty file from now on.
      const empty = join(images, 'empty');
      writeFileSync(empty, '');
      execFileSync('mount', ['--bind', empty, path]);
      hidden.add(path);
    },
    isSafe: (path) => loops.has(path) || hidden.has(path),
    release() {
      for (const loop of loops.values()) execFileSync('losetup', ['--detach', loop]);
      loops.clear();
      for (const path of hidden) execFileSync('umount', ['-c', path]);
      rmSync(images, { recursive: true, force: true });
    },
  };
}

/** The size of the file system on an unmounted or mounted device, in bytes, as the file system itself has it. */
export function fileSystemBytes(device: string, type: string): number {
  const read = (program: string, ...args: string[]): string =>
    execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  if (type === 'xfs') {
    const text = read('xfs_db', '-r', '-c', 'sb 0', '-c', 'print dblocks blocksize', device);
    return number(text, /dblocks = (\d+)/) * number(text, /blocksize = (\d+)/);
  }
  if (type === 'btrfs')
    return number(read('btrfs', 'inspect-internal', 'dump-super', device), /^total_bytes\s+(\d+)/m);
  const text = read('dumpe2fs', '-h', device);
  return number(text, /^Block count:\s+(\d+)/m) * number(text, /^Block size:\s+(\d+)/m);
}

function number(text: string, pattern: RegExp): number {
  return Number(pattern.exec(text)?.[1]);
}
