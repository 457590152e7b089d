/**
 * Who keeps a mount busy: from `/proc`, by reading links only. The kernel makes their texts from its own
 * memory, so nothing here touches the mount, which may hang. (`/proc/<pid>/maps` and `cmdline` are left alone:
 * reading them waits for a process that itself hangs in a page fault.)
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path/posix';
import { oneLine } from './host.ts';
import { type MountEntry, type MountTable, parseMountInfo } from './mount-table.ts';

export interface Holder {
  readonly pid: number;
  /** The kernel's short name of the program, at most 15 bytes. */
  readonly command: string;
}

export interface Holders {
  /** Processes with their working directory, root, program or an open file there. */
  readonly processes: readonly Holder[];
  /** Mount points of what is mounted below it, or on it. */
  readonly mounts: readonly string[];
  /** A process of each other mount namespace (another container) in which the same is mounted. */
  readonly namespaces: readonly Holder[];
  /** Not all processes could be looked at, or time ran out. */
  readonly incomplete: boolean;
}

const DEFAULT_LIMIT_MS = 3_000;
const FILES_PER_PROCESS = 10_000;

/**
 * Finds what uses a mount of this table, which is that of `process` (this one), within `limitMs` (3 s). Never throws. Not found: files that are only
 * mapped into memory, and users in the kernel (a loop device, an NFS export).
 */
export async function findHolders(
  entry: MountEntry,
  table: MountTable,
  options: { limitMs?: number; proc?: string; process?: string | undefined } = {},
): Promise<Holders> {
  const proc = options.proc ?? '/proc';
  const deadline = performance.now() + (options.limitMs ?? DEFAULT_LIMIT_MS);
  const own = await link(join(proc, options.process ?? 'self', 'ns/mnt'));
  /** Where the same thing is mounted, by mount namespace. Paths of another namespace are its own. */
  const places = new Map<string, readonly string[]>();
  if (own !== undefined) places.set(own, [entry.mountPoint]);
  const processes: Holder[] = [];
  const namespaces: Holder[] = [];
  let incomplete = false;

  for (const pid of await processIds(proc)) {
    if (performance.now() > deadline) {
      incomplete = true;
      break;
    }
    const directory = join(proc, String(pid));
    const namespace = await link(join(directory, 'ns/mnt'));
    // Gone meanwhile, or of another user.
    if (namespace === undefined) continue;
    let mountPoints = places.get(namespace);
    if (mountPoints === undefined) {
      mountPoints = await placesIn(directory, entry);
      places.set(namespace, mountPoints);
      if (mountPoints.length > 0) namespaces.push(await holder(directory, pid));
    }
    if (mountPoints.length === 0 || !(await uses(directory, mountPoints))) continue;
    processes.push(await holder(directory, pid));
  }
  return { processes, namespaces, incomplete, mounts: table.childrenOf(entry).map((e) => e.mountPoint) };
}

async function processIds(proc: string): Promise<number[]> {
  const names = await readdir(proc).catch(() => []);
  return names.filter((name) => /^\d+$/.test(name)).map(Number);
}

/** Where a process's namespace has the same directory of the same file system: at the same path if there. */
async function placesIn(directory: string, entry: MountEntry): Promise<readonly string[]> {
  const text = await readFile(join(directory, 'mountinfo'), 'utf8').catch(() => '');
  const same = parseMountInfo(text)
    .filter((other) => other.device === entry.device && other.root === entry.root)
    .map((other) => other.mountPoint);
  return same.includes(entry.mountPoint) ? [entry.mountPoint] : same;
}

async function uses(directory: string, mountPoints: readonly string[]): Promise<boolean> {
  const isThere = (path: string | undefined) =>
    path !== undefined && mountPoints.some((point) => path === point || path.startsWith(`${point}/`));
  for (const name of ['cwd', 'root', 'exe']) if (isThere(await link(join(directory, name)))) return true;
  const files = await readdir(join(directory, 'fd')).catch(() => []);
  const links = await Promise.all(
    files.slice(0, FILES_PER_PROCESS).map((file) => link(join(directory, 'fd', file))),
  );
  return links.some(isThere);
}

async function holder(directory: string, pid: number): Promise<Holder> {
  const command = await readFile(join(directory, 'comm'), 'utf8').catch(() => '?');
  return { pid, command: oneLine(command) };
}

async function link(path: string): Promise<string | undefined> {
  return readlink(path).catch(() => undefined);
}

const NAMED = 5;

/** A phrase for an error message: `held by nginx (pid 4711); mounted on it: /a/b`. */
export function describeHolders(holders: Holders): string {
  const parts: string[] = [];
  const { processes, namespaces, mounts } = holders;
  if (processes.length > 0) parts.push(`held by ${list(processes.map(name))}`);
  if (mounts.length > 0) parts.push(`mounted on it: ${list(mounts.map(oneLine))}`);
  const others = namespaces.filter((other) => !processes.some(({ pid }) => pid === other.pid));
  if (others.length > 0) parts.push(`also mounted in other mount namespaces, of ${list(others.map(name))}`);
  if (processes.length === 0 && mounts.length === 0) {
    parts.unshift(
      'nothing was found that holds it: either it was not unmounted, or the kernel uses it (a loop device, swap, memory)',
    );
  }
  if (holders.incomplete) parts.push('not all processes could be looked at');
  return parts.join('; ');
}

function name({ pid, command }: Holder): string {
  return `${command} (pid ${pid})`;
}

function list(names: readonly string[]): string {
  const more = names.length - NAMED;
  return names.slice(0, NAMED).join(', ') + (more > 0 ? ` and ${more} more` : '');
}
