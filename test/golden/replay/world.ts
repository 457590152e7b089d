/**
 * The directories of the recordings, as they were on the machine that recorded: kubelet's, the plugin directory
 * and /mnt are empty file systems of the private mount namespace, so that recorded paths are used as they are.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { errorCode } from '../../../src/errors.ts';
import { MountTable, parseMountInfo } from '../../../src/mount/mount-table.ts';
import { NotUnderstood, type PathState } from './records.ts';

export const kubeletDir = '/var/lib/kubelet';
export const pluginRoot = '/usr/libexec/kubernetes';
export const pluginDir = `${pluginRoot}/kubelet-plugins/volume/exec`;
const roots = [kubeletDir, pluginRoot, '/mnt'];

/** By this name in the mount table the roots are known as the replay's own. */
const ROOT_SOURCE = 'flexcsi-golden-root';

/** Directories that had to be made for the roots, and are removed again. */
const made: string[] = [];

export function openWorld(): void {
  for (const root of roots) {
    for (const path of missingParents(root)) {
      mkdirSync(path);
      made.unshift(path);
    }
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'mode=0755', ROOT_SOURCE, root]);
  }
}

export function closeWorld(): void {
  cleanWorld();
  // Lazily: flexcsi in this process holds on to files of its drivers.
  for (const root of roots) execFileSync('umount', ['-l', root]);
  for (const path of made.splice(0)) rmdirSync(path);
}

/** Empties all of it. */
export function cleanWorld(): void {
  for (const root of roots) {
    if (mountTable().at(root)?.source !== ROOT_SOURCE) throw new Error(`${root} is not the replay's own`);
    unmountBelow(root);
    for (const name of readdirSync(root)) rmSync(join(root, name), { recursive: true });
  }
}

/** Makes sure that nothing is at the path, mounted or not. */
export function clear(path: string): void {
  requireInside(path);
  if (!roots.every((root) => mountTable().at(root)?.source === ROOT_SOURCE))
    throw new Error('the world is not open');
  unmountBelow(path);
  rmSync(path, { recursive: true, force: true });
}

/** Makes the path what a record says it was. */
export function put(path: string, state: PathState): void {
  clear(path);
  if (state.error !== undefined) {
    if (!/: transport endpoint is not connected$/.test(state.error)) {
      throw new NotUnderstood(`before: error "${state.error}"`);
    }
    mkdirSync(path, { recursive: true });
    mountDead(path);
    return;
  }
  if (state.exists !== true) return;
  mkdirSync(path, { recursive: true });
  const [, fsType, access] = /^(\w+) \((ro|rw)\)$/.exec(state.mounted || '') ?? [];
  if (state.mounted) {
    if (fsType !== 'tmpfs') throw new NotUnderstood(`before: mounted "${state.mounted}"`);
    execFileSync('mount', ['-t', 'tmpfs', '-o', `mode=${state.mode ?? '0755'}`, 'golden', path]);
  }
  for (const [name, text] of Object.entries(state.entries ?? {})) {
    const { mode } = parseEntry(text);
    writeFileSync(join(path, name), '');
    chmodSync(join(path, name), mode);
  }
  if (state.mode !== undefined) chmodSync(path, Number.parseInt(state.mode, 8));
  if (access === 'ro') execFileSync('mount', ['-o', 'remount,ro', path]);
}

/** Mounts a tmpfs of that size which holds a file of that size. */
export function putUsage(path: string, capacity: number, used: number): void {
  clear(path);
  mkdirSync(path, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `mode=0755,size=${capacity}`, 'golden', path]);
  if (used > 0) writeFileSync(join(path, 'data'), Buffer.alloc(used));
}

/** What differs at the path from what a record says of it. */
export function stateDifferences(path: string, expected: PathState): string[] {
  const differences: string[] = [];
  const say = (what: string, want: unknown, got: unknown): void => {
    if (want !== undefined && want !== got) differences.push(`${path}: ${what} ${want} expected, is ${got}`);
  };
  let stats: ReturnType<typeof lstatSync>;
  try {
    stats = lstatSync(path);
  } catch (error) {
    const code = errorCode(error);
    if (expected.error !== undefined) say('error', 'ENOTCONN', code);
    else if (expected.exists !== false || code !== 'ENOENT') say('exists', expected.exists, code);
    return differences;
  }
  if (expected.error !== undefined) return [`${path}: "${expected.error}" expected, is there`];
  say('exists', expected.exists, true);
  if (expected.exists !== true) return differences;
  say('mode', expected.mode, modeText(stats.mode));
  say('uid', expected.uid, stats.uid);
  say('gid', expected.gid, stats.gid);
  say('mounted', expected.mounted, mountedText(path));
  if (stats.isDirectory()) differences.push(...entryDifferences(path, expected.entries ?? {}));
  return differences;
}

function entryDifferences(path: string, expected: Readonly<Record<string, string>>): string[] {
  const recursive = Object.keys(expected).some((name) => name.includes('/'));
  const names = readdirSync(path, { recursive })
    .filter((name) => name !== 'lost+found')
    .sort();
  const wanted = Object.keys(expected).sort();
  if (names.join('\n') !== wanted.join('\n')) return [`${path}: holds [${names}], expected [${wanted}]`];
  return wanted.flatMap((name) => {
    const want = parseEntry(expected[name] as string);
    const { mode, uid, gid } = lstatSync(join(path, name));
    const got = { mode: mode & 0o7777, uid, gid };
    const text = JSON.stringify(got);
    return JSON.stringify(want) === text ? [] : [`${path}/${name}: ${expected[name]} expected, is ${text}`];
  });
}

function parseEntry(text: string): { mode: number; uid: number; gid: number } {
  const [, mode, uid, gid] = /\bmode (\d+) uid (\d+) gid (\d+)$/.exec(text) ?? [];
  if (mode === undefined) throw new NotUnderstood(`entry "${text}"`);
  return { mode: Number.parseInt(mode, 8), uid: Number(uid), gid: Number(gid) };
}

function modeText(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

function mountedText(path: string): string | false {
  const entry = mountTable().at(path);
  return entry !== undefined && `${entry.fsType} (${entry.options[0]})`;
}

export function isMounted(path: string): boolean {
  return mountTable().at(path) !== undefined;
}

function mountTable(): MountTable {
  return new MountTable(parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8')));
}

/**
 * Unmounts what is mounted at and below a path, the newest first; of the root itself only what the replay has put
 * there since. What lay below a root before is hidden by it, still in the mount table, and not to be touched.
 */
function unmountBelow(path: string): void {
  const { entries } = mountTable();
  const ours = new Set(entries.filter(({ source }) => source === ROOT_SOURCE).map(({ id }) => id));
  const inWorld = new Set<number>();
  // A mount comes after the one that it sits on, unless it was moved.
  for (const { id, parentId } of entries) if (ours.has(parentId) || inWorld.has(parentId)) inWorld.add(id);
  const points = entries
    .filter(
      ({ id, mountPoint }) => inWorld.has(id) && (mountPoint === path || mountPoint.startsWith(`${path}/`)),
    )
    .map(({ mountPoint }) => mountPoint);
  for (const point of points.reverse()) {
    const { status } = spawnSync('umount', ['-c', point]);
    if (status !== 0) execFileSync('umount', ['-l', point]);
  }
}

/** A FUSE mount whose server is gone: every look at it gives ENOTCONN. */
function mountDead(path: string): void {
  const connection = openSync('/dev/fuse', 'r+');
  try {
    const options = 'fd=3,rootmode=40000,user_id=0,group_id=0';
    const stdio = ['ignore', 'pipe', 'pipe', connection] as const;
    execFileSync('mount', ['-i', '-t', 'fuse', '-o', options, 'golden', path], { stdio: [...stdio] });
  } finally {
    closeSync(connection);
  }
}

/** Throws for a path that is not the replay's to change. */
export function requireInside(path: string): void {
  if (!roots.some((root) => path.startsWith(`${root}/`)) || path.split('/').includes('..')) {
    throw new NotUnderstood(`path ${path}: the replay prepares only what is below ${roots.join(', ')}`);
  }
}

function missingParents(path: string): string[] {
  return existsSync(path) ? [] : [...missingParents(dirname(path)), path];
}
