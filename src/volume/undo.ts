/** Taking back what a failed call has mounted, so that its error may be final. */
import { errorMessage, Failure } from '../errors.ts';
import { unmount } from '../mount/bind.ts';
import type { VolumeParts } from './parts.ts';

/**
 * Runs `work`, which may mount on `path`. When it fails, what it mounted there is unmounted again before the
 * error goes on: kubelet takes most errors to mean that nothing is mounted, and its retry would take a mount
 * left behind for a success.
 *
 * @param path as the mount table spells it.
 * @throws what `work` threw; {Failure} `undo-failed` when the mount could not be taken back.
 */
export async function undoingMounts<Result>(
  parts: VolumeParts,
  path: string,
  work: () => Promise<Result>,
): Promise<Result> {
  const before = (await parts.host.mounts()).countAt(path);
  try {
    return await work();
  } catch (error) {
    await unmountDownTo(parts, path, before, error);
    throw error;
  }
}

async function unmountDownTo(
  parts: VolumeParts,
  path: string,
  layers: number,
  cause: unknown,
): Promise<void> {
  await undo(cause, `unmounting ${path} again failed`, async () => {
    for (let count = (await parts.host.mounts()).countAt(path); count > layers; count -= 1) {
      await unmount(parts.host, path);
    }
  });
}

/**
 * Takes back a part of what has been done before `cause` happened.
 *
 * @throws {Failure} `undo-failed`, with both reasons, when that fails too: the state is then not what the
 * first error alone would say.
 */
export async function undo(cause: unknown, what: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    throw new Failure('undo-failed', `${errorMessage(cause)}; then ${what}: ${errorMessage(error)}`, {
      cause,
    });
  }
}
