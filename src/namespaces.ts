/** The host's side for a flexcsi in a container: programs run there, and files are found there. */
import { readlink } from 'node:fs/promises';
import { errorMessage, Failure } from './errors.ts';
import { type Files, filesOf } from './files.ts';
import type { Command, Ended, Run } from './process.ts';

export interface Side {
  /** Starts host tools. */
  readonly run: Run;
  /** Starts drivers: what they leave running (a FUSE daemon) must not end with flexcsi's container. */
  readonly runDriver: Run;
  readonly files: Files;
  /** What an administrator should know; undefined when all is well. */
  readonly warning?: string;
}

/** Of the process's namespaces all but the user's and the cgroups', which say what may be done, not where. */
const kinds = ['mnt', 'uts', 'ipc', 'net', 'pid'] as const;
const options: Readonly<Record<(typeof kinds)[number], string>> = {
  mnt: '--mount',
  uts: '--uts',
  ipc: '--ipc',
  net: '--net',
  pid: '--pid',
};

/** Where programs are on a host. The PATH of a container says nothing about that. */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const CHECK_MS = 20_000;

/**
 * Enters the namespaces of a process of the host: 1 is init, whose namespaces are the host's own.
 *
 * @throws {Failure} `precondition` saying what the container lacks.
 */
export async function enterHost(run: Run, pid: number): Promise<Side> {
  const enter = await commandOf(pid);
  const there: Run = async (command) => toEnded(await run(inside(enter, command)));
  const tried = await run(inside(enter, { file: 'true', args: [], timeoutMs: CHECK_MS }));
  if (tried.exitCode !== 0) {
    const words = tried.startError ?? tried.output.toString().trim();
    throw new Failure(
      'precondition',
      `--host: the namespaces of process ${pid} (--host-pid) cannot be entered: ${words}; the container has to be privileged and in the host's process namespace (hostPID), with nsenter (util-linux)`,
    );
  }
  const files = filesOf(pid);
  const scope = await scopeOf(there, pid);
  const runDriver: Run =
    scope.wrapper === undefined
      ? there
      : async (command) => toEnded(await run(inside(enter, wrapped(scope.wrapper ?? [], command))));
  return {
    run: there,
    runDriver,
    files,
    ...(scope.warning === undefined ? {} : { warning: scope.warning }),
  };
}

/** nsenter with the namespaces that are not this process's own already. */
async function commandOf(pid: number): Promise<readonly string[]> {
  const differing: string[] = [];
  try {
    for (const kind of kinds) {
      const [own, other] = await Promise.all([
        readlink(`/proc/self/ns/${kind}`),
        readlink(`/proc/${pid}/ns/${kind}`),
      ]);
      if (own !== other) differing.push(options[kind]);
    }
  } catch (error) {
    throw new Failure(
      'precondition',
      `--host: process ${pid} (--host-pid) cannot be looked at: ${errorMessage(error)}; the container has to be privileged and in the host's process namespace (hostPID)`,
      { cause: error },
    );
  }
  return ['--target', String(pid), ...differing];
}

function inside(enter: readonly string[], command: Command): Command {
  const { file, args, cwd, env } = command;
  const directory = cwd === undefined || cwd === '/' ? [] : [`--wdns=${cwd}`];
  return {
    ...command,
    file: 'nsenter',
    // The shell says in words of its own what it could not start, and never reads a program as a script of its own.
    args: [...enter, ...directory, '--', '/bin/sh', '-c', START, 'sh', file, ...args],
    cwd: '/',
    env: { ...(env ?? definedOnly(process.env)), PATH },
  };
}

/** Prints a mark and the errno's name for what cannot be started: nsenter and shells have only texts for people. */
const MARK = 'flexcsi-not-started:';
const START = `p=$(command -v -- "$1") || { echo "${MARK}ENOENT"; exit 127; }
shift; exec "$p" "$@"`;

function wrapped(wrapper: readonly string[], command: Command): Command {
  const [file = '', ...args] = wrapper;
  return { ...command, file, args: [...args, command.file, ...command.args] };
}

function toEnded(ended: Ended): Ended {
  const [, code] = new RegExp(`^${MARK}([A-Z0-9]+)\\s*$`).exec(ended.output.toString()) ?? [];
  if (ended.exitCode !== 127 || code === undefined) return ended;
  const { exitCode: _exit, ...rest } = ended;
  return { ...rest, startError: code, output: Buffer.alloc(0) };
}

/** How drivers are kept out of the container's cgroup. */
interface Scope {
  readonly wrapper?: readonly string[];
  readonly warning?: string;
}

async function scopeOf(there: Run, pid: number): Promise<Scope> {
  const systemd = ['systemd-run', '--scope', '--quiet', '--collect', '--slice=system.slice', '--'];
  const hasSystemd = 'test -d /run/systemd/system && command -v systemd-run';
  const check = (command: readonly string[]) => {
    const [file = '', ...args] = command;
    return there({ file, args, timeoutMs: CHECK_MS });
  };
  if ((await check(['sh', '-c', hasSystemd])).exitCode === 0) {
    const tried = await check([...systemd, 'true']);
    if (tried.exitCode === 0) return { wrapper: systemd };
  }
  const move = ['sh', '-c', MOVE, 'sh', String(pid)];
  const moved = await check([...move, 'true']);
  if (moved.exitCode === 0) return { wrapper: move };
  return {
    warning: `drivers run in the container's own cgroup (${moved.output.toString().trim()}): what they leave running, a FUSE daemon for instance, ends with the container`,
  };
}

/** Moves itself into the cgroups of a process, in every hierarchy there is, and becomes the program. */
const MOVE = `target=$1; shift; moved=
while IFS=: read -r number controllers path; do
  case $controllers in
    '') dirs="/sys/fs/cgroup /sys/fs/cgroup/unified" ;;
    name=*) dirs="/sys/fs/cgroup/\${controllers#name=}" ;;
    *) dirs="/sys/fs/cgroup/$controllers" ;;
  esac
  for dir in $dirs; do
    [ -w "$dir$path/cgroup.procs" ] || continue
    echo $$ 2>/dev/null > "$dir$path/cgroup.procs" && moved=1
  done
done < "/proc/$target/cgroup"
[ -n "$moved" ] || { echo "no cgroup of process $target can be written below /sys/fs/cgroup"; exit 126; }
exec "$@"`;

function definedOnly(env: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}
