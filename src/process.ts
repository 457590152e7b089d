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
import { InputWriter } from './input.ts';
import { OutputCollector, type Pipe } from './output.ts';

export interface Command {
  /** A path, or a name that is looked up on PATH. */
  readonly file: string;
  readonly args: readonly string[];
  /**
   * What the program reads on standard input, through a pipe; nothing (`/dev/null`) when left out. May be a
   * secret: it is on no disk and in no process list. It need not be read. What is not read by the end of the
   * call, or of flexcsi, is cut off after what the pipe holds (64 KiB): a child left behind reads no more.
   */
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
  readonly durationMs: number;
}

/** Starts a program and resolves when it has ended. Never rejects for anything that the program does. */
export type Run = (command: Command) => Promise<Ended>;

const MIB = 1024 * 1024;
/** Between SIGTERM and SIGKILL. Kubelet's own figure for a driver past its time limit. */
const KILL_AFTER_MS = 10_000;
/** After SIGKILL: a process that is still there then sleeps in the kernel and is left to itself. */
const ABANDON_AFTER_MS = 5_000;
/** After the program's exit: what its children still write to the pipe. A daemon may hold it open for ever. */
const OUTPUT_GRACE_MS = 200;
/** The same, for a program whose answer has not come yet. */
const LATE_OUTPUT_MS = 10_000;

/**
 * A `Run` that starts programs in this process's own namespaces: no shell, own session and process group,
 * stdout and stderr one pipe.
 *
 * Node's own `pipe` is a socket: `echo x > /dev/stderr` and `cat /dev/stdin`, common lines in drivers, fail on
 * a socket (ENXIO), and two sockets would lose the order of the two streams.
 */
export function createRun(): Run {
  const idle: Pipe[] = [];
  return async (command) => {
    const started = performance.now();
    let input: InputWriter | undefined;
    let pipe: Pipe | undefined;
    let collector: OutputCollector | undefined;
    try {
      if (command.stdin !== undefined) input = await openInput(command.stdin);
      pipe = idle.pop() ?? (await createPipe());
      const reusable = pipe;
      collector = new OutputCollector(pipe, command.maxOutputBytes ?? MIB);
      const result = await execute(command, input, pipe, collector);
      // Only a pipe that all writers have closed is used again: a daemon may go on writing to the others.
      const output = collector.finish(() =>
        idle.length < IDLE_PIPES ? idle.push(reusable) : reusable.close(),
      );
      return { ...result, output, durationMs: performance.now() - started };
    } catch (error) {
      // No descriptors or no processes left: as if the program itself could not be started.
      collector?.abandon();
      pipe?.close();
      return { ...notStarted(error), output: Buffer.alloc(0), durationMs: performance.now() - started };
    } finally {
      input?.stop();
    }
  };
}

/** Pipes that are kept for the output of the next programs. */
const IDLE_PIPES = 32;

async function openInput(text: string): Promise<InputWriter> {
  const pipe = await createPipe();
  try {
    return new InputWriter(pipe, text);
  } finally {
    pipe.close();
  }
}

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

async function execute(
  command: Command,
  input: InputWriter | undefined,
  pipe: Pipe,
  collector: OutputCollector,
): Promise<Outcome> {
  // For reading, too: a program that outlives flexcsi then never writes to a pipe without a reader (SIGPIPE).
  const writeEnd = pipe.open(constants.O_RDWR);
  let timedOut = false;
  let tooMuchOutput = false;
  let subprocess: ReturnType<typeof spawn>;
  try {
    subprocess = spawn(command, input?.readEnd, writeEnd);
  } catch (error) {
    // Node refuses some arguments (a NUL byte) before it tries.
    closeSync(writeEnd);
    await collector.untilEnd(OUTPUT_GRACE_MS);
    return notStarted(error);
  }
  closeSync(writeEnd);
  input?.handedOver();

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
  if (ended === 'abandoned') return { timedOut, tooMuchOutput, abandoned: true };
  await collector.untilEnd(OUTPUT_GRACE_MS);
  const isLate = command.isComplete !== undefined && !timedOut && !command.isComplete(collector.output());
  if (isLate) await collector.untilEnd(LATE_OUTPUT_MS, command.isComplete);
  // Its children stay when the program succeeded (a FUSE daemon); a program that was ended takes them along.
  const wasEnded = timedOut || (tooMuchOutput && command.onTooMuchOutput !== 'drop');
  if (wasEnded && ended.exitCode !== 0) signalGroup(group, 'SIGKILL');
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

function spawn(command: Command, readEnd: number | undefined, writeEnd: number) {
  // execa takes any descriptor; its types only list the first ones.
  const pipe = writeEnd as 3;
  return execa(command.file, command.args, {
    stdin: readEnd === undefined ? 'ignore' : (readEnd as 3),
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

function signalGroup(group: number | undefined, signal: NodeJS.Signals): void {
  if (group === undefined) return;
  try {
    process.kill(-group, signal);
  } catch {
    // ESRCH: all of it has ended.
  }
}

/**
 * Holds a pipe as its descriptor 1, says under which process id (the one that /proc shows), and ends when its
 * standard input does. Shell built-ins only.
 */
const HOLD_PIPE = 'exec 3>&1; { read -r pid rest </proc/self/stat && echo "$pid" >&3 && read -r rest; } | :';

/**
 * A pipe as pipe(2) makes it, which Node cannot call: a shell makes it, and its ends are opened through /proc.
 * Not a FIFO, which mkfifo makes: whoever opens a FIFO by path (`cat /dev/stdin`) waits for a writer, for ever
 * when the text was written and the writer has gone; a pipe is at its end then. Nor does a pipe ever have a name.
 */
async function createPipe(): Promise<Pipe> {
  const holder = execa('/bin/sh', ['-c', HOLD_PIPE], {
    stderr: 'ignore',
    cwd: '/',
    // A shell with a locale or a start file of its own may have more to say.
    env: {},
    extendEnv: false,
    buffer: false,
    reject: false,
  });
  try {
    const said = await Promise.race([once(holder.stdout, 'data'), holder]);
    if (!Array.isArray(said)) throw said;
    const base = openSync(`/proc/${String(said[0]).trim()}/fd/1`, constants.O_RDONLY | constants.O_NONBLOCK);
    return {
      open: (flags) => openSync(`/proc/self/fd/${base}`, flags),
      close: () => closeSync(base),
    };
  } finally {
    // Its end of the pipe must be closed before anybody waits for the end of what is in it.
    holder.stdin.end();
    await holder;
  }
}
