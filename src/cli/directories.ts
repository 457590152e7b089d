/** Where the sockets and records of a driver are. */
import { access, constants, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errorCode, errorMessage, Failure } from '../errors.ts';
import { parseEndpoint, socketPath } from '../grpc/socket.ts';
import { makePrivateDirectory } from '../state/directory.ts';
import type { ServeOptions } from './settings.ts';

/**
 * The path of a driver's socket: `--endpoint`, in which `{name}` is its CSI name; by default where CSI drivers are
 * under kubelet, in a directory that is made. By a hash of the name where the path would be too long.
 *
 * @throws {Failure} naming the option.
 */
export async function placeOfSocket(
  { endpoint }: Pick<ServeOptions, 'endpoint'>,
  name: string,
  kubeletDir: string,
): Promise<string> {
  const template = endpoint ?? `unix://${join(kubeletDir, 'plugins', '{name}', 'csi.sock')}`;
  const scheme = /^unix:(?:\/\/)?(?=\/)/.exec(template)?.[0] ?? '';
  const path = parseEndpoint(scheme + socketPath(template.slice(scheme.length), name));
  if (template.includes('{name}')) {
    await makeSocketDirectory(dirname(path), endpoint === undefined ? '--kubelet-dir' : '--endpoint');
  }
  return path;
}

/** Kubelet looks into it: not for its owner only, as the records are. */
async function makeSocketDirectory(path: string, option: string): Promise<void> {
  try {
    await mkdir(path, 0o750);
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return;
    throw new Failure('precondition', `${option}: ${path} cannot be made: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}

/** Makes a directory for records. @throws {Failure} when nothing can be written there. */
export async function requireWritable(directory: string): Promise<void> {
  try {
    await makePrivateDirectory(directory);
    await access(directory, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new Failure('precondition', `--state-dir: ${directory} cannot be written: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}
