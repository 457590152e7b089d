/** Bind mounts and unmounts. After each the mount table decides what has happened, not an exit code. */
import { Failure, undo } from '../errors.ts';
import type { Mask } from '../secrets.ts';
import { describeHolders, findHolders } from './holders.ts';
import { DEVICE_LIMIT_MS, type Host, hostFailure, oneLine, runChecked } from './host.ts';
import { isReadOnly, type MountEntry } from './mount-table.ts';
import { realPath } from './paths.ts';

export interface BindOptions {
  readonly readOnly?: boolean;
  /** Mount flags, passed on to the remount. */
  readonly flags?: readonly string[];
  /** Keeps secrets in the flags out of error messages. */
  readonly mask?: Mask;
}

/**
 * Mounts a directory or file at another place with kubelet's two commands: a bind does not take flags, the
 * remount after it does. On return the mount table shows it, read-only when that was asked for. Throws Failure
 * `host-failed`, `host-timeout`; nothing that this call mounted is left then, else the kind is `undo-failed`.
 *
 * A read-only bind mount of a device node keeps nobody from writing to the device.
 */
export async function bindMount(
  host: Host,
  source: string,
  target: string,
  options: BindOptions = {},
): Promise<void> {
  // Of all flags only this one is given to the first command as well, by kubelet too: it is one of mount(8)
  // alone, and would be lost at the remount.
  const first = options.flags?.includes('_netdev') ? ['bind', '_netdev'] : ['bind'];
  await mountOrUndo(host, target, options.readOnly ?? false, async () => {
    await mount(host, first, source, target, options.mask);
    await remountBind(host, source, target, options);
  });
}

/**
 * The second of the two commands alone: gives a bind mount its flags. Throws Failure `host-failed`,
 * `host-timeout`.
 */
export async function remountBind(
  host: Host,
  source: string,
  target: string,
  { readOnly = false, flags = [], mask }: BindOptions,
): Promise<void> {
  const own = flags.filter((flag) => flag !== 'bind' && flag !== 'remount');
  await mount(host, ['bind', 'remount', ...(readOnly ? ['ro'] : []), ...own], source, target, mask);
}

async function mount(
  host: Host,
  options: readonly string[],
  source: string,
  target: string,
  mask: Mask | undefined,
): Promise<void> {
  const args = ['-t', 'auto', '-o', options.join(','), source, target];
  await runChecked(host, 'mount', args, mask === undefined ? {} : { mask });
}

/**
 * Runs steps that mount something at `target`, and checks that one more mount is there, read-only if it has to
 * be. When a step throws or the check fails, what the steps mounted is unmounted again, see `undoingMounts`.
 */
export async function mountOrUndo(
  host: Host,
  target: string,
  readOnly: boolean,
  steps: () => Promise<void>,
): Promise<void> {
  const path = await realPath(host, target);
  await undoingMounts(host, path, async (before) => {
    await steps();
    const table = await host.mounts();
    const entry = table.at(path);
    if (entry === undefined || table.countAt(path) <= before) {
      throw new Failure('host-failed', `mount reported success, but nothing is mounted at ${oneLine(path)}`);
    }
    if (readOnly && !isReadOnly(entry)) {
      throw new Failure(
        'host-failed',
        `${oneLine(path)} was to be mounted read-only, but is writable: is there a flag "rw"?`,
      );
    }
  });
}

/**
 * Runs `work`, which may mount at `path` (as the mount table spells it; `before` is the number of mounts there
 * now). When it fails, what it mounted there or below is unmounted again before the error goes on: kubelet takes
 * most errors to mean that nothing is mounted, its retry would take a mount left behind for a success, and the
 * volume may be detached next.
 *
 * Throws what `work` threw; Failure `undo-failed`, with both reasons, when a mount could not be taken back.
 */
export async function undoingMounts<Result>(
  host: Host,
  path: string,
  work: (before: number) => Promise<Result>,
): Promise<Result> {
  const before = await host.mounts();
  // The number of a mount alone is not enough: the kernel gives those that have become free to new mounts.
  const nameOf = ({ id, mountPoint }: MountEntry): string => `${id} ${mountPoint}`;
  const known = new Set(before.entries.map(nameOf));
  try {
    return await work(before.countAt(path));
  } catch (error) {
    await undo(error, `unmounting ${oneLine(path)} again failed`, async () => {
      const { entries } = await host.mounts();
      const isHere = ({ mountPoint }: MountEntry): boolean =>
        mountPoint === path || mountPoint.startsWith(`${path}/`);
      const left = entries.filter((entry) => isHere(entry) && !known.has(nameOf(entry)));
      // The last one first: it may lie on, or below, those before it.
      for (const { mountPoint } of left.reverse()) await unmount(host, mountPoint);
    });
    throw error;
  }
}

/** For the unmount of what has no device of its own: a share, FUSE, tmpfs. Nothing is lost by giving up on it. */
const SHARE_LIMIT_MS = 2 * 60 * 1000;

/**
 * Unmounts one layer at exactly this path: what was mounted there last. Nothing mounted there, or no such path:
 * done, and nothing is run. Returns when the layer is gone and written out. Throws Failure `busy`, saying who
 * holds it; `host-timeout` when umount hangs; `host-failed` when it cannot be run.
 *
 * Always `umount -c` (kubelet runs it without): plain umount follows symbolic links to other mounts, and looks
 * at the mount itself, so that on a hung one it hangs, cannot be killed, and from then on keeps it busy. `-c`
 * hands the path to the kernel as it is. Never `-l` (the device would stay in use, unseen), never `-f` (it
 * throws away what is not yet written).
 *
 * umount is not run for what the mount table does not list: with `-c` it would take the path for the name of a
 * source, and unmount a tmpfs or FUSE mount of that name elsewhere.
 */
export async function unmount(host: Host, target: string): Promise<void> {
  const path = await realPath(host, target);
  const before = await host.mounts();
  const entry = before.at(path);
  if (entry === undefined) return;
  const args = ['-c', path];
  const ended = await host.run('umount', args, { timeoutMs: limitFor(entry) });
  const after = await host.mounts();
  if (after.countAt(path) < before.countAt(path)) {
    if (!ended.abandoned) return;
    throw new Failure(
      'host-timeout',
      `${oneLine(path)} is no longer mounted, but the kernel does not finish writing it out to ${oneLine(entry.source)}`,
    );
  }
  if (ended.startError !== undefined || ended.timedOut || ended.abandoned) {
    throw hostFailure('umount', args, ended);
  }
  const said = ended.exitCode === 0 ? 'umount reported success' : hostFailure('umount', args, ended).message;
  const holders = describeHolders(await findHolders(entry, after, { process: host.process }));
  throw new Failure('busy', `${oneLine(path)} is still mounted (${said}); ${holders}`);
}

/**
 * The last unmount of a file system on a device writes out all that is still in memory, however long that takes.
 * To give up on it would let the caller detach the device meanwhile.
 */
function limitFor(entry: MountEntry): number {
  const onDevice = !entry.device.startsWith('0:') || entry.source.startsWith('/dev/');
  return onDevice ? DEVICE_LIMIT_MS : SHARE_LIMIT_MS;
}
