import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errorCode } from '../errors.ts';

/**
 * Makes the directory and those above it that are missing, for their owner only. One that is there is left as
 * it is.
 *
 * Node's own `mkdir` with `recursive` never returns where a directory can be looked up but not made (/proc).
 *
 * @throws the error of the operating system.
 */
export async function makePrivateDirectory(path: string): Promise<void> {
  try {
    await makeOne(path);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT' || dirname(path) === path) throw error;
    if (!(await exists(dirname(path)))) await makePrivateDirectory(dirname(path));
    // Also where the directory above is there now: somebody else may just have made it.
    await makeOne(path);
  }
}

async function makeOne(path: string): Promise<void> {
  try {
    await mkdir(path, 0o700);
  } catch (error) {
    if (errorCode(error) !== 'EEXIST' || !(await stat(path)).isDirectory()) throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
