/**
 * The host's programs: `mount`, `stat`, `blkid`, … Whatever touches a path inside a volume is done by one of
 * them with a time limit, never by this process: a file-system call on a dead network mount does not return,
 * and four of them stop every file-system call of Node.
 */
import { readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { errorMessage, Failure } from '../errors.ts';
import type { Ended, Run } from '../process.ts';
import { type Mask, noSecrets } from '../secrets.ts';
import { MountTable, parseMountInfo } from './mount-table.ts';

export interface Host {
  /**
   * Runs a program of the host, found on PATH, with messages in English (`LC_ALL=C`) and by default a limit of
   * `DEFAULT_LIMIT_MS`. Never throws for anything that the program does.
   */
  run(file: string, args: readonly string[], limit?: { timeoutMs?: number }): Promise<Ended>;
  /** The id of a process in whose mount namespace that table is; this process when left out. */
  readonly process?: string | undefined;
  /** The mount table of this moment. Never hangs, whatever is mounted. Throws Failure `host-failed`. */
  mounts(): Promise<MountTable>;
}

/**
 * For what answers at once on a healthy file system. With the time that it takes to end a program that hangs
 * (15 s at most), the call still ends before kubelet gives up on it (2 minutes).
 */
export const DEFAULT_LIMIT_MS = 20_000;
/**
 * For what writes to a device (mkfs, fsck, mount, the flush of an unmount). Only a backstop: such a program
 * ended half way leaves harm, and one that sleeps in the kernel would go on all the same, unseen.
 */
export const DEVICE_LIMIT_MS = 24 * 60 * 60 * 1000;

/** Where administrators' programs are, on hosts where a service's PATH leaves these out. */
const SYSTEM_DIRECTORIES = ['/sbin', '/usr/sbin', '/usr/local/sbin'];

/** A `Host` in the namespaces in which `run` starts programs, and of which `mountInfo` is the mount table. */
export function createHost(run: Run, options: { mountInfo?: string; process?: string } = {}): Host {
  const mountInfo = options.mountInfo ?? '/proc/self/mountinfo';
  const reads = mayReadTornMountInfo(release()) ? 10 : 1;
  const env = hostEnvironment(process.env);
  /** Programs that not even SIGKILL has ended, by what they were asked. */
  const stuck = new Map<string, Ended>();
  return {
    process: options.process,
    async run(file, args, limit) {
      const question = [file, ...args].join('\0');
      // Asked again, as kubelet does every minute, it would hang again: one such process for each is enough.
      const before = stuck.get(question);
      if (before !== undefined) return before;
      // A tool is never ended for what it prints: fsck in the middle of a repair, for instance.
      const timeoutMs = limit?.timeoutMs ?? DEFAULT_LIMIT_MS;
      const ended = await run({ file, args, env, timeoutMs, onTooMuchOutput: 'drop' });
      if (ended.abandoned && ended.gone !== undefined) {
        stuck.set(question, ended);
        void ended.gone.finally(() => stuck.delete(question));
      }
      return ended;
    },
    async mounts() {
      try {
        return new MountTable(parseMountInfo(await readStable(mountInfo, reads)));
      } catch (error) {
        throw new Failure('host-failed', `cannot read the mount table: ${errorMessage(error)}`);
      }
    },
  };
}

/** This process's environment with English messages and a PATH that has the system directories. */
export function hostEnvironment(own: NodeJS.ProcessEnv): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(own)) if (value !== undefined) env[name] = value;
  // A relative entry would mean the working directory, and `find -execdir` refuses to run with one.
  const directories = (own.PATH ?? '/usr/local/bin:/usr/bin:/bin')
    .split(':')
    .filter((entry) => entry.startsWith('/'));
  const missing = SYSTEM_DIRECTORIES.filter((directory) => !directories.includes(directory));
  return { ...env, LC_ALL: 'C', PATH: [...directories, ...missing].join(':') };
}

/**
 * Whether a kernel (`uname -r`) may leave mounts out of a mountinfo that is read while others unmount. Mended in
 * Linux 5.8 (commit 9f6c61f96f2d97); kubelet reads twice on older ones as well.
 */
export function mayReadTornMountInfo(kernelRelease: string): boolean {
  const [major = 0, minor = 0] = kernelRelease.split('.').map((part) => Number.parseInt(part, 10));
  return !(major > 5 || (major === 5 && minor >= 8));
}

/** Reads a file until two reads agree, at most `reads` times; once for 1. */
async function readStable(path: string, reads: number): Promise<string> {
  let text = await readFile(path, 'utf8');
  for (let read = 1; read < reads; read++) {
    const again = await readFile(path, 'utf8');
    if (again === text) break;
    text = again;
  }
  return text;
}

/**
 * Runs a program that must succeed, and returns what it printed. Throws the Failure of `hostFailure`.
 * `mask` keeps secrets in the arguments (mount flags) and in what the program prints out of the message.
 */
export async function runChecked(
  host: Host,
  file: string,
  args: readonly string[],
  options: { timeoutMs?: number; mask?: Mask } = {},
): Promise<string> {
  const ended = await host.run(file, args, options);
  if (ended.exitCode !== 0) throw hostFailure(file, args, ended, options.mask);
  return ended.output.toString();
}

/**
 * The Failure for a program that failed: `host-timeout` when it did not end in time, else `host-failed`. One
 * line: the program and its arguments, how it ended, the first lines that it printed; for a program that is
 * not there, the package it comes from.
 */
export function hostFailure(
  file: string,
  args: readonly string[],
  ended: Ended,
  mask: Mask = noSecrets,
): Failure {
  // Masked first: afterwards a secret may no longer be in one piece.
  const command = oneLine(mask([file, ...args].join(' ')));
  if (ended.startError === 'ENOENT') {
    const from = packages[file];
    const where = from === undefined ? 'install it' : `it comes with the package ${from}`;
    return new Failure('host-failed', `${file} is not installed (${where}); it was needed for: ${command}`);
  }
  const output = firstLines(mask(ended.output.toString()));
  const timedOut = ended.timedOut || ended.abandoned;
  return new Failure(
    timedOut ? 'host-timeout' : 'host-failed',
    `${command}: ${howItEnded(ended)}${output === '' ? '' : `: ${output}`}`,
  );
}

function howItEnded(ended: Ended): string {
  const after = `after ${Math.round(ended.durationMs / 1000)} s`;
  if (ended.abandoned)
    return `does not end, not even when killed (${after}); what it waits for does not answer`;
  if (ended.timedOut) return `did not end in time and was ended ${after}`;
  if (ended.startError !== undefined) return `could not be started (${ended.startError})`;
  if (ended.signal !== undefined) return `was killed by ${ended.signal}`;
  return `failed with exit code ${ended.exitCode}`;
}

const LINES = 3;
const CHARACTERS = 400;

function firstLines(text: string): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const joined = oneLine(lines.slice(0, LINES).join('; '));
  return joined.length > CHARACTERS ? `${joined.slice(0, CHARACTERS)}…` : joined;
}

/** A text fit for one line of a log or message: control characters become `?`, runs of spaces one space. */
export function oneLine(text: string): string {
  return text
    .replace(/\s+/g, ' ')
    .replace(/\p{Cc}/gu, '?')
    .trim();
}

/** The package (its name on Debian; elsewhere the same or nearly so) of a program that may be missing. */
const packages: Readonly<Record<string, string>> = {
  mount: 'util-linux',
  umount: 'util-linux',
  blkid: 'util-linux',
  blockdev: 'util-linux',
  fsck: 'util-linux',
  'mkfs.ext2': 'e2fsprogs',
  'mkfs.ext3': 'e2fsprogs',
  'mkfs.ext4': 'e2fsprogs',
  resize2fs: 'e2fsprogs',
  'mkfs.xfs': 'xfsprogs',
  xfs_growfs: 'xfsprogs',
  'mkfs.btrfs': 'btrfs-progs',
  btrfs: 'btrfs-progs',
  cmp: 'diffutils',
  find: 'findutils',
};
