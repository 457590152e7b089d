/** The unix socket of a plugin: found free, made for its owner only, put in place whole, removed if it is still ours. */
import { createHash } from 'node:crypto';
import { lstat, rename, stat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { errorCode, errorMessage, Failure } from '../errors.ts';

/** Linux has 108 bytes with the NUL at the end. */
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

/**
 * A name beside the socket, to bind before it is put in place. Never longer than the path itself may be. Always the
 * same for a path: what a process leaves that was killed before it was ready, the next one finds.
 */
export function temporaryName(path: string): string {
  const hash = createHash('sha256').update(basename(path)).digest('hex');
  return join(dirname(path), `.${hash}`.slice(0, Math.max(5, basename(path).length)));
}

/**
 * Removes the socket that an earlier process has left at a temporary name.
 *
 * @throws {Failure} `precondition` as `requireFree`, when it is served: by a plugin that is just starting.
 */
export async function removeStale(path: string): Promise<void> {
  await requireFree(path);
  try {
    await unlink(path);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
}

/**
 * Whether a socket may be put at that path: nothing is there, or a socket that nobody serves.
 *
 * @throws {Failure} `precondition` when the directory is missing, something else is there, or a plugin answers.
 */
export async function requireFree(path: string): Promise<void> {
  try {
    await stat(dirname(path));
  } catch {
    throw new Failure(
      'precondition',
      `--endpoint: the directory ${dirname(path)} does not exist; make it first`,
    );
  }
  let isSocket: boolean;
  try {
    isSocket = (await lstat(path)).isSocket();
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return;
    throw new Failure('precondition', `--endpoint: ${errorMessage(error)}`);
  }
  if (!isSocket) {
    throw new Failure(
      'precondition',
      `--endpoint: ${path} exists and is not a socket; remove it, or name another path`,
    );
  }
  if (await isServed(path)) {
    throw new Failure(
      'precondition',
      `--endpoint: another process is serving ${path}; stop it, or name another path`,
    );
  }
}

/** Puts the bound socket in its place, over a stale one; answers how to remove it. */
export async function putInPlace(bound: string, path: string): Promise<() => Promise<void>> {
  await rename(bound, path);
  const { ino, dev } = await lstat(path);
  return async () => {
    try {
      const present = await lstat(path);
      // A successor may have put its own socket there meanwhile.
      if (present.ino === ino && present.dev === dev) await unlink(path);
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error;
    }
  };
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
