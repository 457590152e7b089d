/** The directories that kubelet itself makes and removes around the paths that it gives to a plugin. */
import { mkdirSync, rmdirSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { errorCode } from '../../src/errors.ts';
import { Violation } from './violation.ts';

export function makePlace(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o750 });
}

/**
 * Removes the directory and those above it, up to `root`, as kubelet does after a volume was taken down: only empty
 * ones, without anything mounted.
 *
 * @throws {Violation} when one is neither.
 */
export function removePlace(path: string, root: string): void {
  for (let place = path; relative(root, place) !== ''; place = dirname(place)) {
    // Of what is mounted there nothing is touched: rmdir of a mount point fails (EBUSY) in the directory above it.
    try {
      rmdirSync(place);
    } catch (error) {
      if (errorCode(error) === 'ENOENT') continue;
      throw new Violation('kubelet can remove the directory of what was taken down', [
        `${place}: ${errorCode(error)}`,
      ]);
    }
  }
}

/** The directory and those above it, below `root`. */
export function placesAbove(path: string, root: string): string[] {
  const above = dirname(path);
  return relative(root, path) === '' ? [] : [path, ...placesAbove(above, root)];
}
