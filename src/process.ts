/**
 * Starts programs: the only place that does, drivers and host tools alike. Everything else receives a
 * `Run`, so that how programs are started (in a container, through nsenter, by a helper process) can change
 * without touching the callers.
 */
import { once } from 'node:events';
import { closeSync, constants, openSync } from 'node:fs';
import { constants as system } from 'node:os';
import { execa } from 'execa';
import { errorCode } from './errors.ts';
import { openInput } from './input.ts';
import { OutputCollector, type Pipe } from './output.ts';
import { ABANDON_AFTER_MS, endGroup, groupEnds, KILL_AFTER_MS, signalGroup } from './process-group.ts';

export interface Command {
  /** A path, or a name that is looked up on PATH. */
  readonly file: string;
  readonly args: readonly string[];
  /** What the program reads on standard input; nothing (`/dev/null`) when left out. */
  readonly stdin?: string;
  /** `/` when left out: kubelet's own working directory, which drivers inherited. */
  readonly cwd?: string;
  /** The whole environment; this process's own when left out. */
  readonly env?: Readonly<Record<string, string>>;
  /** Milliseconds until the program's process group gets SIGTERM, and ten seconds later SIGKILL. */
  readonly timeoutMs: number;
  /** Bytes of output that are kept; 1 MiB when left out. */
  readonly maxOutputBytes?: number;
  /** What more output means: the process group is ended (the default), or the rest is dropped. */
  readonly onTooMuchOutput?: 'end' | 'drop';
  /**
   * Whether the output is all that was waited for. Until it is, output that comes through a pipe after the
   * program's exit (`exec > >(tee -a log)`) is waited for up to ten seconds; a daemon that keeps the output open
   * is waited for no longer than a short grace.
   */
  readonly isComplete?: (output: Buffer) => boolean;
}

/** How a program ended. Never thrown: a program that fails is an ordinary result here. */
export interface Ended {
  /** The errno name (`ENOENT`, `EACCES`, …) when the program could not be started. */
  readonly startError?: string;
  readonly exitCode?: number;
  /** The name of the signal that killed it, `SIGKILL` for instance. */
  readonly signal?: string;
  /** Standard output and standard error in the order in which they were written, as kubelet reads them. */
  readonly output: Buffer;
  /** The time limit passed. The program may still have ended well: see `exitCode`. */
  readonly timedOut: boolean;
  /** The output limit was passed; `output` holds what came before. */
  readonly tooMuchOutput: boolean;
  /** Not even SIGKILL ended it (a process in uninterruptible sleep): it is still there. */
  readonly abandoned: boolean;
  /** Of one that was abandoned: resolves when it is gone after all. */
  readonly gone?: Promise<unknown>;
  readonly durationMs: number;
}

/** Starts a program and resolves when it has ended. Never rejects for anything that the program does. */
export type Run = (command: Command) => Promise<Ended>;

const MIB = 1024 * 1024;
/** After the program's exit: what its children still write to the pipe. A daemon may hold it open for ever. */
const OUTPUT_GRACE_MS = 200;
/** The same, for a program whose answer has not come yet. */
const LATE_OUTPUT_MS = 10_000;

/**
 * A `Run` that starts programs in this process's own namespaces: no shell, own session and process group,
 * stdout and stderr one pipe.
 *
 * The pipe is a FIFO, not Node's `pipe`, which is a socket: `echo x > /dev/stderr`, a common line in drivers,
 * fails on a socket (ENXIO), and two sockets would lose the order of the two streams.
 */
export function createRun(): Run {
  const idle: Pipe[] = [];
  return async (command) => {
    const started = performance.now();
    let pipe: Pipe | undefined;
    let collector: OutputCollector | undefined;
    try {
      pipe = idle.pop() ?? (await createPipe());
      const reusable = pipe;
      collector = new OutputCollector(pipe, command.maxOutputBytes ?? MIB);
      const result = await execute(command, pipe, collector);
      // Only a pipe that all writers have closed is used again: a daemon may go on writing to the others.
      const output = collector.finish(() =>
        idle.length < IDLE_PIPES ? idle.push(reusable) : reusable.close(),
      );
      return { ...result, output, durationMs: performance.now() - started };
    } catch (error) {
      // No descriptors left, no process for a pipe: as if the program itself could not be started.
      collector?.abandon();
      pipe?.close();
      return { ...notStarted(error), output: Buffer.alloc(0), durationMs: performance.now() - started };
    }
  };
}

/** Pipes that are kept for the next programs. */
const IDLE_PIPES = 32;

function notStarted(error: unknown): Outcome {
  return {
    startError: errorCode(error) ?? 'EINVAL',
    timedOut: false,
    tooMuchOutput: false,
    abandoned: false,
  };
}

/**
 * Runs a program in place of this one: same terminal, same signals. Answers its exit code (128 + number for a
 * signal, as shells do); -1 when it could not be started.
 */
export async function runInPlace(
  file: string,
  args: readonly string[],
  env: Record<string, string>,
): Promise<number> {
  const subprocess = execa(file, args, { stdio: 'inherit', env, reject: false });
  // Its end is waited for, whatever happens: a terminal's Ctrl-C it gets itself, other signals from here.
  const pass = (signal: NodeJS.Signals): void => void (signal === 'SIGINT' || subprocess.kill(signal));
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, pass);
  const ended = await subprocess;
  for (const signal of signals) process.off(signal, pass);
  if (ended.exitCode !== undefined) return ended.exitCode;
  return ended.signal === undefined ? -1 : 128 + system.signals[ended.signal];
}

type Outcome = Omit<Ended, 'output' | 'durationMs'>;

async function execute(command: Command, output: Pipe, collector: OutputCollector): Promise<Outcome> {
  const deadline = performance.now() + command.timeoutMs;
  // For reading, too: a program that outlives flexcsi then never writes to a pipe without a reader (SIGPIPE).
  const writeEnd = output.open(constants.O_RDWR);
  let timedOut = false;
  let tooMuchOutput = false;
  let stdin: number | undefined;
  let subprocess: ReturnType<typeof spawn>;
  try {
    stdin = command.stdin === undefined ? undefined : openInput(command.stdin);
    subprocess = spawn(command, stdin, writeEnd);
  } catch (error) {
    // Node refuses some arguments (a NUL byte) before it tries.
    closeSync(writeEnd);
    await collector.untilEnd(OUTPUT_GRACE_MS);
    return notStarted(error);
  } finally {
    if (stdin !== undefined) closeSync(stdin);
  }
  closeSync(writeEnd);

  const group = subprocess.pid;
  const abandoned = Promise.withResolvers<'abandoned'>();
  const timers: NodeJS.Timeout[] = [];
  const end = (): void => {
    signalGroup(group, 'SIGTERM');
    timers.push(
      setTimeout(() => signalGroup(group, 'SIGKILL'), KILL_AFTER_MS),
      setTimeout(() => abandoned.resolve('abandoned'), KILL_AFTER_MS + ABANDON_AFTER_MS),
    );
  };
  timers.push(
    setTimeout(() => {
      timedOut = true;
      end();
    }, command.timeoutMs),
  );
  collector.onLimit(() => {
    tooMuchOutput = true;
    if (command.onTooMuchOutput !== 'drop') end();
  });

  const ended = await Promise.race([subprocess, abandoned.promise]);
  for (const timer of timers) clearTimeout(timer);
  if (ended === 'abandoned') return { timedOut, tooMuchOutput, abandoned: true, gone: subprocess };
  await collector.untilEnd(OUTPUT_GRACE_MS);
  const isLate = command.isComplete !== undefined && !timedOut && !command.isComplete(collector.output());
  if (isLate) await collector.untilEnd(LATE_OUTPUT_MS, command.isComplete);
  // Its children stay when the program has ended by itself (a FUSE daemon). One that was ended takes them along. What
  // one that crashed had begun, a mount for instance, would come after whoever looks at what has been done: the call
  // lasts until that has ended, as long as it may last.
  const wasEnded = timedOut || (tooMuchOutput && command.onTooMuchOutput !== 'drop');
  let hasEnded = true;
  if (wasEnded) hasEnded = ended.exitCode === 0 || (await endGroup(group, 'SIGKILL'));
  else if (ended.signal !== undefined && !(await groupEnds(group, deadline - performance.now()))) {
    timedOut = true;
    hasEnded = await endGroup(group, 'SIGTERM');
  }
  if (!hasEnded) return { timedOut, tooMuchOutput, abandoned: true, gone: groupEnds(group) };
  return {
    ...(ended.exitCode === undefined && ended.signal === undefined
      ? { startError: ended.code ?? 'UNKNOWN' }
      : {}),
    ...(ended.exitCode === undefined ? {} : { exitCode: ended.exitCode }),
    ...(ended.signal === undefined ? {} : { signal: ended.signal }),
    timedOut,
    tooMuchOutput,
    abandoned: false,
  };
}

function spawn(command: Command, stdin: number | undefined, writeEnd: number) {
  // execa takes any descriptor; its types only list the first ones.
  const pipe = writeEnd as 3;
  return execa(command.file, command.args, {
    stdin: (stdin as 3 | undefined) ?? 'ignore',
    stdout: pipe,
    stderr: pipe,
    cwd: command.cwd ?? '/',
    ...(command.env === undefined ? {} : { env: command.env, extendEnv: false }),
    // A new session, so that the whole process group can be signalled and a terminal's Ctrl-C stays ours.
    detached: true,
    // Running drivers outlive flexcsi: one that is killed half way is worse than a slow one.
    cleanup: false,
    buffer: false,
    reject: false,
  });
}

/**
 * Node makes no pipes, and a FIFO would have a name for a moment, left behind by whoever is killed in it. In a
 * pipeline of the shell the second program's standard input is one. It says who it is, and waits for the end of
 * ours, so that we can open it.
 */
const MAKE_PIPE = `exec 3<&0; : | exec sh -c 'exec 4<&0 <&3; echo $$; read _'`;

async function createPipe(): Promise<Pipe> {
  const maker = execa('sh', ['-c', MAKE_PIPE], { detached: true, cleanup: false, reject: false });
  try {
    const first = once(maker.stdout, 'data').then(([pid]) => ({ pid: Number(pid), code: undefined }));
    const { pid, code } = await Promise.race([first, maker.then((ended) => ({ ...ended, pid: 0 }))]);
    if (pid === 0) throw Object.assign(new Error('no pipe for the output'), { code: code ?? 'EPIPE' });
    const base = openSync(`/proc/${pid}/fd/4`, constants.O_RDONLY | constants.O_NONBLOCK);
    return {
      open: (flags) => openSync(`/proc/self/fd/${base}`, flags),
      close: () => closeSync(base),
    };
  } finally {
    maker.stdin.end();
  }
}
