/** One execution of a driver: from a call to what came back, before anybody judges it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../errors.ts';
import type { Files } from '../files.ts';
import type { Command, Ended, Run } from '../process.ts';
import { parseAnswer } from './answer.ts';
import { checkExecutable } from './executable.ts';
import type { Call } from './verbs.ts';

/** Linux passes at most this many bytes in one argument (MAX_ARG_STRLEN less the NUL at its end). */
const MAX_ARGUMENT_BYTES = 131_071;
/** Of the output of the verbs that list: some 100,000 volumes. */
const LIST_BYTES = 16 * 1024 * 1024;
/** Bytes of output of which it is found out at the driver's exit whether it is a whole answer. */
const MAX_READ_TWICE = 1024 * 1024;
/** Waits between attempts to start a file that somebody is writing. */
const BUSY_WAITS_MS = [50, 100, 200, 400, 800];

/** What an execution needs to know beside the call. */
export interface Start {
  readonly file: string;
  /** See `DriverSettings`. */
  readonly files?: Files | undefined;
  readonly run: Run;
  readonly timeoutMs: number;
  readonly env: Readonly<Record<string, string>>;
  /** The JSON of the options goes to standard input, and `-` stands in its place. */
  readonly optionsOnStdin: boolean;
}

/**
 * Runs the driver and resolves when it has ended, however that was. Throws a `Failure` when it was not started:
 * `invalid-request` for an argument that Linux cannot pass, else `driver-unusable`. Messages do not name the
 * driver.
 */
export async function invoke(start: Start, call: Call): Promise<Ended> {
  const { file, run, timeoutMs, env } = start;
  const { args, stdin } = start.optionsOnStdin ? onStdin(call) : { args: call.args };
  checkArguments(args);
  await checkExecutable(file, start.files);
  const ended = await runWhenWritten(run, {
    file,
    args: [call.verb, ...args],
    ...(stdin === undefined ? {} : { stdin }),
    timeoutMs,
    env,
    ...(call.verb.startsWith('list') ? { maxOutputBytes: LIST_BYTES } : {}),
    // What is as long as that is a list; to read it twice would take too long.
    isComplete: (output) => output.length > MAX_READ_TWICE || parseAnswer(output).ok,
  });
  if (ended.startError !== undefined) {
    throw new Failure('driver-unusable', `${file} could not be started: ${startProblem(ended.startError)}`);
  }
  return ended;
}

function onStdin({ args, optionsAt }: Call): { args: readonly string[]; stdin?: string } {
  const stdin = optionsAt === undefined ? undefined : args[optionsAt];
  if (stdin === undefined || optionsAt === undefined) return { args };
  return { args: args.with(optionsAt, '-'), stdin };
}

function checkArguments(args: readonly string[]): void {
  for (const argument of args) {
    const what = argument.startsWith('{') ? 'the JSON of the options' : `"${argument.slice(0, 60)}"`;
    const size = Buffer.byteLength(argument);
    if (size > MAX_ARGUMENT_BYTES) {
      throw new Failure(
        'invalid-request',
        `${what} has ${size} bytes, but Linux passes at most ${MAX_ARGUMENT_BYTES} in one argument of a program: shorten the volume's options`,
      );
    }
    if (argument.includes('\0')) {
      throw new Failure('invalid-request', `${what} holds a NUL byte, which no argument of a program can`);
    }
  }
}

/** A driver that is just being replaced in place cannot be started until its writer has closed it. */
async function runWhenWritten(run: Run, command: Command): Promise<Ended> {
  for (const wait of BUSY_WAITS_MS) {
    const ended = await run(command);
    if (ended.startError !== 'ETXTBSY') return ended;
    await sleep(wait);
  }
  return run(command);
}

function startProblem(startError: string): string {
  if (startError === 'ETXTBSY') return 'something has it open for writing (ETXTBSY)';
  if (startError === 'E2BIG') return 'its arguments and environment are too long together (E2BIG)';
  if (startError === 'EAGAIN') return 'no more processes are allowed (EAGAIN): raise the pids limit';
  return startError;
}
