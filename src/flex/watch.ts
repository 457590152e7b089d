/**
 * Whether a driver's files have changed or are gone, seen by looking at them. Kubelet used inotify; a look at
 * every look-up of a driver comes to the same (init runs at a look-up, not at the event), misses nothing and
 * needs no limits of the host's.
 */
import { type BigIntStats, closeSync, constants, openSync, readlinkSync } from 'node:fs';
import { lstat, opendir, readFile, realpath, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { errorCode } from '../errors.ts';
import { type Files, ownFiles } from '../files.ts';

/** The files of one driver. */
export interface DriverFiles {
  readonly executable: string;
  /** The driver's own directory in a plugin directory; without one only the executable is looked at. */
  readonly directory?: string | undefined;
  /** Where these paths lead to; this process's own root when left out. */
  readonly files?: Files | undefined;
}

export interface Sight {
  /** Whether the executable is there. */
  readonly present: boolean;
  /** Differs from that of an earlier look if anything has changed in between. */
  readonly fingerprint: string;
}

/** Files of a driver that are looked at. What lies beyond (a whole virtual environment) may change unseen. */
const MAX_ENTRIES = 1000;

/**
 * What the driver's files look like now. Everything below its directory counts, as under kubelet, but names
 * that start with a dot (recordings `probe.*`). Never throws: what cannot be looked at is part of the sight.
 */
export async function look({ executable, directory, files = ownFiles }: DriverFiles): Promise<Sight> {
  const link = await describeFile(() => files.find(executable), lstat);
  // A link may stay as it is while another file comes to its end.
  const target = await describeFile(() => files.follow(executable), stat);
  const rest = directory === undefined ? [] : await describeAll(directory, files);
  return { present: link.found, fingerprint: [link.text, target.text, ...rest].join('\n') };
}

type StatFunction = (path: string, options: { bigint: true }) => Promise<BigIntStats>;

async function describeAll(directory: string, files: Files): Promise<string[]> {
  const found = await files.follow(directory).catch(() => directory);
  return [await describeDirectory(found), ...(await listBelow(found, files))];
}

async function describeFile(
  path: () => Promise<string>,
  how: StatFunction,
): Promise<{ found: boolean; text: string }> {
  try {
    const { ino, size, mode, uid, gid, mtimeNs, ctimeNs } = await how(await path(), { bigint: true });
    return { found: true, text: [ino, size, mode, uid, gid, mtimeNs, ctimeNs].join(' ') };
  } catch (error) {
    return { found: false, text: errorCode(error) ?? 'unknown' };
  }
}

/** Without the times, which change with every name that starts with a dot. */
async function describeDirectory(path: string): Promise<string> {
  try {
    const { ino, mode, uid, gid } = await stat(path, { bigint: true });
    return [ino, mode, uid, gid].join(' ');
  } catch (error) {
    return errorCode(error) ?? 'unknown';
  }
}

async function listBelow(directory: string, files: Files): Promise<string[]> {
  const lines: string[] = [];
  const waiting = [''];
  let mounts: ReadonlySet<string> | undefined;
  for (let below = waiting.pop(); below !== undefined; below = waiting.pop()) {
    try {
      for await (const entry of await opendir(join(directory, below))) {
        if (entry.name.startsWith('.')) continue;
        if (lines.length >= MAX_ENTRIES) return lines.sort();
        const name = join(below, entry.name);
        if (!entry.isDirectory()) {
          lines.push(`${name} ${(await describeFile(async () => join(directory, name), lstat)).text}`);
          continue;
        }
        // A driver may mount volumes below its own directory: even a stat there can hang for ever.
        mounts ??= await mountsBelow(directory, files);
        if (mounts.has(name)) continue;
        lines.push(`${name} ${await describeDirectory(join(directory, name))}`);
        waiting.push(name);
      }
    } catch (error) {
      lines.push(`${below} ${errorCode(error)}`);
    }
  }
  return lines.sort();
}

/** The mount points below a directory, relative to it. */
async function mountsBelow(directory: string, files: Files): Promise<ReadonlySet<string>> {
  // What another root's files were found at is free of links already.
  const real = files.root === '' ? await realpath(directory) : directory.slice(files.root.length);
  const table = await readFile(files.mountInfo, 'utf8');
  return new Set(
    table
      .split('\n')
      .map((line) => line.split(' ')[4] ?? '')
      .map((path) =>
        path.replace(/\\([0-7]{3})/g, (_, code) => String.fromCharCode(Number.parseInt(code, 8))),
      )
      .map((path) => relative(real, path)),
  );
}

/** Linux: a descriptor that only names a file. Needs no permission and keeps nobody from writing to it. */
const O_PATH = 0o10000000;

/**
 * Holds on to a driver's executable and directory, so that it can be told later whether they were removed or
 * renamed: to kubelet a driver that was removed is gone, one that was renamed away is not.
 */
export class Hold {
  readonly #descriptors: readonly number[];

  private constructor(descriptors: readonly number[]) {
    this.#descriptors = descriptors;
  }

  /** Throws when something is not there. */
  static async on({ executable, directory, files = ownFiles }: DriverFiles): Promise<Hold> {
    const paths = directory === undefined ? [executable] : [executable, directory];
    const found = await Promise.all(paths.map((path) => files.find(path)));
    const descriptors: number[] = [];
    try {
      for (const path of found) descriptors.push(openSync(path, O_PATH | constants.O_NOFOLLOW));
    } catch (error) {
      for (const descriptor of descriptors) closeSync(descriptor);
      throw error;
    }
    return new Hold(descriptors);
  }

  /** Whether one of them was removed, or replaced by another. Asks the kernel for names, not the file system. */
  isRemoved(): boolean {
    // Not the link count: a file of an image's lower layer (overlayfs) keeps its own when it is removed.
    return this.#descriptors.some((descriptor) => nameOf(descriptor)?.endsWith(' (deleted)'));
  }

  release(): void {
    for (const descriptor of this.#descriptors) closeSync(descriptor);
  }
}

function nameOf(descriptor: number): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`);
  } catch {
    // A path too long for the kernel to tell.
    return undefined;
  }
}
