/** Directories and files of the host on which volumes are mounted. All of it is done by child programs. */
import { basename, dirname, join, normalize } from 'node:path/posix';
import { Failure } from '../errors.ts';
import type { Ended } from '../process.ts';
import { type Host, hostFailure, oneLine, runChecked } from './host.ts';

export type PathKind =
  | 'missing'
  | 'directory'
  | 'file'
  | 'block-device'
  | 'symlink'
  | 'other'
  /** Something is mounted there whose server or device is gone. */
  | 'dead';

export interface PathState {
  readonly kind: PathKind;
  /** For `dead`: what the system says, `Transport endpoint is not connected` for instance. */
  readonly error?: string;
}

/**
 * The errors of stat that kubelet takes for a corrupted mount (`IsCorruptedMnt`), as strerror prints them:
 * ENOTCONN, ESTALE (and its older text), EIO, EACCES, EHOSTDOWN, EAGAIN, ENODEV.
 */
const DEAD = new Set([
  'Transport endpoint is not connected',
  'Stale file handle',
  'Stale NFS file handle',
  'Input/output error',
  'Permission denied',
  'Host is down',
  'Resource temporarily unavailable',
  'No such device',
]);
/** ENOENT, ENOTDIR. Every other error means that something may be there. */
const MISSING = new Set(['No such file or directory', 'Not a directory']);

/**
 * What is at a path; a symbolic link is not followed. Throws Failure `host-timeout` when the file system does
 * not answer, `host-failed` when it answers an error of which nothing is known.
 *
 * On a hung mount the program that asks cannot be killed, and keeps the mount busy: look into the mount table
 * first where that is enough.
 */
export async function pathState(host: Host, path: string): Promise<PathState> {
  const args = ['-c', '%f', '--', path];
  const ended = await host.run('stat', args);
  if (ended.exitCode === 0) return { kind: kindOfMode(Number.parseInt(ended.output.toString(), 16)) };
  const error = systemError(ended);
  if (MISSING.has(error)) return { kind: 'missing' };
  if (DEAD.has(error)) return { kind: 'dead', error };
  throw hostFailure('stat', args, ended);
}

/** The system's error text that ends the message of a coreutils program: `stat: cannot statx 'x': No such …`. */
function systemError(ended: Ended): string {
  return /: ([^:]+)$/.exec(ended.output.toString().trimEnd())?.[1] ?? '';
}

function kindOfMode(mode: number): PathKind {
  switch (mode & 0o170000) {
    case 0o040000:
      return 'directory';
    case 0o100000:
      return 'file';
    case 0o060000:
      return 'block-device';
    case 0o120000:
      return 'symlink';
    default:
      return 'other';
  }
}

/**
 * The path as it stands in the mount table: symbolic links in the directory above it are resolved (kubelet's
 * directory is often a link to another disk), as far as that directory exists; the last component is kept as it is
 * and not touched. Throws Failure `host-timeout`, `host-failed`.
 */
export async function realPath(host: Host, path: string): Promise<string> {
  return (await realPathBelow(host, path, '/')).path;
}

/** `realPath`, and where the directory `root` itself really is. */
export async function realPathBelow(
  host: Host,
  path: string,
  root: string,
): Promise<{ readonly path: string; readonly root: string }> {
  const normal = withoutTrailingSlash(path);
  const args = ['-m', '-z', '--', dirname(normal), root];
  const [above = '', realRoot = ''] = (await runChecked(host, 'realpath', args)).split('\0');
  if (!above.startsWith('/') || !realRoot.startsWith('/')) {
    // Of an empty answer a relative path would be made, at which nothing is mounted.
    throw new Failure('host-failed', `realpath -m ${oneLine(path)}: it succeeded without an answer`);
  }
  return { path: normal === '/' ? normal : join(above, basename(normal)), root: realRoot };
}

/**
 * What a path leads to, all symbolic links followed: `/dev/sdb` for a name below `/dev/disk`. The path as it is
 * when nothing is there. Throws Failure `host-timeout`, `host-failed`.
 */
export async function linkTarget(host: Host, path: string): Promise<string> {
  const args = ['-e', '-z', '--', path];
  const ended = await host.run('realpath', args);
  if (ended.exitCode === 0) return ended.output.toString().replace(/\0$/, '');
  if (MISSING.has(systemError(ended))) return path;
  throw hostFailure('realpath', args, ended);
}

function withoutTrailingSlash(path: string): string {
  const normal = normalize(path);
  return normal.length > 1 && normal.endsWith('/') ? normal.slice(0, -1) : normal;
}

/**
 * Makes sure that there is a directory. It and the missing ones above it get mode 0750 (kubelet's own); those
 * that exist are not touched. Throws Failure `precondition` when something else is there, `host-timeout`,
 * `host-failed`.
 */
export async function makeDirectory(host: Host, path: string): Promise<void> {
  const directory = withoutTrailingSlash(path);
  const state = await pathState(host, directory);
  if (state.kind === 'directory') return;
  if (state.kind !== 'missing') throw notADirectory(directory, state);
  const missing = [directory];
  for (let above = dirname(directory); !(await isDirectory(host, above)); above = dirname(above)) {
    missing.unshift(above);
  }
  const args = ['-m', '0750', '--', ...missing];
  const ended = await host.run('mkdir', args);
  // Somebody else may have made it meanwhile.
  if (ended.exitCode !== 0 && (await pathState(host, directory)).kind !== 'directory') {
    throw hostFailure('mkdir', args, ended);
  }
}

/** Whether a directory above the target is there; a link to a directory is one. */
async function isDirectory(host: Host, path: string): Promise<boolean> {
  const args = ['-L', '-c', '%f', '--', path];
  const ended = await host.run('stat', args);
  if (ended.exitCode !== 0) {
    if (systemError(ended) === 'No such file or directory') return false;
    // ENOTDIR: the component that is a file is found further up, and named.
    if (systemError(ended) === 'Not a directory') return false;
    throw hostFailure('stat', args, ended);
  }
  const kind = kindOfMode(Number.parseInt(ended.output.toString(), 16));
  if (kind !== 'directory') throw notADirectory(path, { kind });
  return true;
}

function notADirectory(path: string, state: PathState): Failure {
  return new Failure(
    'precondition',
    `${oneLine(path)} must be a directory, but is ${whatIs(state)}: remove it`,
  );
}

/** What is there, in the words of a message. */
function whatIs({ kind, error }: PathState): string {
  if (kind === 'dead') return `on a dead mount (${error})`;
  return kind === 'other' ? 'neither a file nor a directory' : `a ${kind}`;
}

/**
 * Makes sure that there is a file on which a raw block volume's device can be bound. A new one is empty and has
 * mode 0640; missing directories above are made as by `makeDirectory`; a file or device node that is there is
 * not touched. Throws Failure `precondition` when something else is there, `host-timeout`, `host-failed`.
 */
export async function makeFile(host: Host, path: string): Promise<void> {
  const state = await pathState(host, path);
  if (state.kind === 'file' || state.kind === 'block-device') return;
  if (state.kind !== 'missing') {
    throw new Failure('precondition', `${oneLine(path)} must be a file, but is ${whatIs(state)}: remove it`);
  }
  await makeDirectory(host, dirname(path));
  // dd, since touch would follow a link put there meanwhile; excl makes it fail then.
  await runChecked(host, 'dd', ['if=/dev/null', `of=${path}`, 'conv=excl', 'status=none']);
  await runChecked(host, 'chmod', ['0640', '--', path]);
}

export type Removal = 'removed' | 'missing' | 'busy' | 'not-empty';

/**
 * Removes a directory that is empty; never what is in it. `busy`: something is mounted there. Throws Failure
 * `precondition` when it is no directory, `host-timeout`, `host-failed`.
 */
export async function removeEmptyDirectory(host: Host, path: string): Promise<Removal> {
  const args = ['--', path];
  const ended = await host.run('rmdir', args);
  if (ended.exitCode === 0) return 'removed';
  switch (systemError(ended)) {
    case 'No such file or directory':
      return 'missing';
    case 'Device or resource busy':
      return 'busy';
    case 'Directory not empty':
      return 'not-empty';
    case 'Not a directory': {
      // Said of the path itself and of one above it that is a file: then nothing is there.
      const state = await pathState(host, path);
      if (state.kind === 'missing') return 'missing';
      throw new Failure(
        'precondition',
        `${oneLine(path)} is not a directory, but ${whatIs(state)}: remove it`,
      );
    }
    default:
      throw hostFailure('rmdir', args, ended);
  }
}

/**
 * Removes the file on which a raw block volume was bound: an empty file, or a device node that a driver made
 * there. `busy`: something is still mounted there. `not-empty`: the file holds data, and stays. Throws Failure
 * `precondition` for anything else (a directory, a link), `host-timeout`, `host-failed`.
 */
export async function removeFile(host: Host, path: string): Promise<Removal> {
  if ((await host.mounts()).countAt(await realPath(host, path)) > 0) return 'busy';
  const state = await pathState(host, path);
  if (state.kind === 'missing') return 'missing';
  if (state.kind === 'file') {
    const size = await runChecked(host, 'stat', ['-c', '%s', '--', path]);
    if (size.trim() !== '0') return 'not-empty';
  } else if (state.kind !== 'block-device') {
    throw new Failure(
      'precondition',
      `${oneLine(path)} is ${whatIs(state)}, not the file that was made for the device: remove it`,
    );
  }
  const args = ['--', path];
  const ended = await host.run('unlink', args);
  if (ended.exitCode === 0) return 'removed';
  if (systemError(ended) === 'No such file or directory') return 'missing';
  if (systemError(ended) === 'Device or resource busy') return 'busy';
  throw hostFailure('unlink', args, ended);
}
