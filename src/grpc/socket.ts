/** A unix socket to serve on: found free, made for its owner only, put in place whole, removed if it is still ours. */
import { createHash } from 'node:crypto';
import { closeSync, constants, openSync } from 'node:fs';
import { chmod, lstat, mkdir, rename, rmdir, stat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { errorCode, errorMessage, Failure } from '../errors.ts';

/** Bytes of the path of a socket: Linux has 108 with the NUL at the end. */
const SOCKET_PATH_BYTES = 107;

/**
 * The path of a unix socket endpoint: `unix:///path/csi.sock` or `unix:/path/csi.sock`.
 *
 * @throws {Failure} `invalid-request` saying what is wrong with it.
 */
export function parseEndpoint(endpoint: string): string {
  const path = /^unix:(?:\/\/)?(\/[^/].*)$/.exec(endpoint)?.[1];
  if (path === undefined || path.endsWith('/')) {
    throw new Failure(
      'invalid-request',
      `--endpoint must be unix:///<path of the socket>, not ${JSON.stringify(endpoint)}`,
    );
  }
  const bytes = Buffer.byteLength(path);
  if (bytes > SOCKET_PATH_BYTES) {
    throw new Failure(
      'invalid-request',
      `--endpoint: the socket's path has ${bytes} bytes, Linux allows ${SOCKET_PATH_BYTES}: ${path}`,
    );
  }
  return path;
}

/** A path with `{name}` filled in; by a hash of the name where it would be longer than Linux allows. */
export function socketPath(template: string, name: string): string {
  const full = template.replaceAll('{name}', () => name);
  return Buffer.byteLength(full) <= SOCKET_PATH_BYTES ? full : template.replaceAll('{name}', hashOf(name));
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

/** Where a socket is bound before it is put in place: a directory beside that, into which only its owner can look. */
export interface BindPlace {
  /** What to bind. Short, however long the socket's own path is. */
  readonly name: string;
  /** Puts the bound socket in its place, over a stale one, and removes the directory. */
  putInPlace(): Promise<PlacedSocket>;
  /** To be called when the server has closed: until then `name` has to mean nothing else. */
  close(): void;
}

export interface PlacedSocket {
  /** Whether it is still this very socket that is there: a successor may have put its own in the place. */
  isThere(): Promise<boolean>;
  /** Removes it if it is still there. */
  remove(): Promise<void>;
}

const SOCKET = 'socket';

/**
 * Makes the place for a socket. Always the same for a path: what a process leaves that was killed before it was
 * ready, the next one finds.
 *
 * Not by the umask, which would be that of the whole process, and of the drivers that it starts meanwhile.
 *
 * @param option the setting that names the path, for messages.
 * @throws {Failure} `precondition` when it is in use, by a plugin that is just starting, or cannot be made.
 */
export async function makeBindPlace(path: string, option: string): Promise<BindPlace> {
  const directory = join(dirname(path), `.${hashOf(basename(path))}`);
  const bound = join(directory, SOCKET);
  let descriptor: number;
  try {
    await mkdir(directory, { mode: 0o700 }).catch(unlessCode('EEXIST'));
    descriptor = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (error) {
    throw new Failure('precondition', `${option}: ${errorMessage(error)}`, { cause: error });
  }
  const name = `/proc/self/fd/${descriptor}/${SOCKET}`;
  const close = (): void => closeSync(descriptor);
  try {
    await removeStale(name, path, option);
  } catch (error) {
    close();
    throw error;
  }
  return {
    name,
    putInPlace: async () => {
      await chmod(bound, 0o600);
      const { ino, dev } = await lstat(bound);
      await rename(bound, path);
      await rmdir(directory);
      const isThere = async (): Promise<boolean> => {
        const present = await lstat(path).catch(unlessCode('ENOENT'));
        return present?.ino === ino && present.dev === dev;
      };
      const remove = async (): Promise<void> => {
        if (await isThere()) await unlink(path).catch(unlessCode('ENOENT'));
      };
      return { isThere, remove };
    },
    close,
  };
}

/** Removes the socket that an earlier process has left. */
async function removeStale(name: string, path: string, option: string): Promise<void> {
  try {
    if ((await lstat(name)).isSocket() && (await isServed(name))) {
      throw new Failure(
        'precondition',
        `${option}: another process is about to serve ${path}; stop it, or name another path`,
      );
    }
    await unlink(name);
  } catch (error) {
    unlessCode('ENOENT')(error);
  }
}

/** @throws any other error. */
function unlessCode(code: string): (error: unknown) => undefined {
  return (error) => {
    if (errorCode(error) !== code) throw error;
    return undefined;
  };
}

/**
 * Whether a socket may be put at that path: nothing is there, or a socket that nobody serves.
 *
 * @throws {Failure} `precondition` when the directory is missing, something else is there, or a plugin answers.
 */
export async function requireFree(path: string, option: string): Promise<void> {
  try {
    await stat(dirname(path));
  } catch {
    throw new Failure(
      'precondition',
      `${option}: the directory ${dirname(path)} does not exist; make it first`,
    );
  }
  let isSocket: boolean;
  try {
    isSocket = (await lstat(path)).isSocket();
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return;
    throw new Failure('precondition', `${option}: ${errorMessage(error)}`);
  }
  if (!isSocket) {
    throw new Failure(
      'precondition',
      `${option}: ${path} exists and is not a socket; remove it, or name another path`,
    );
  }
  if (await isServed(path)) {
    throw new Failure(
      'precondition',
      `${option}: another process is serving ${path}; stop it, or name another path`,
    );
  }
}

function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // Only a refusal says that nobody listens: a server that is busy does not accept at once (EAGAIN).
    socket.once('error', (error) => resolve(!['ECONNREFUSED', 'ENOENT'].includes(errorCode(error) ?? '')));
  });
}
