/** A driver that answered `init`: calls its verbs. */
import { setTimeout } from 'node:timers/promises';
import { errorMessage, Failure, type FailureKind } from '../errors.ts';
import type { Files } from '../files.ts';
import type { Logger } from '../log.ts';
import type { Ended, Run } from '../process.ts';
import { type Mask, noSecrets } from '../secrets.ts';
import { type Answer, describeEnd, judge, type ParsedAnswer, parseAnswer } from './answer.ts';
import { type Capabilities, defaultCapabilities } from './capabilities.ts';
import { codeOfAnswer, codeOfMessage, type FailureRule } from './codes.ts';
import { driverEnvironment } from './environment.ts';
import type { Fields } from './fields.ts';
import { invoke } from './invoke.ts';
import type { Options } from './options.ts';
import type { Places } from './places.ts';
import { redactArgument } from './redact.ts';
import { oneLine } from './text.ts';
import { type Call, type ExtensionVerb, extended, init, type Verb } from './verbs.ts';

export interface DriverSettings {
  /** The executable, an absolute path. */
  readonly file: string;
  /** The FlexVolume name, `vendor/driver`, for messages. */
  readonly name: string;
  readonly run: Run;
  readonly log: Logger;
  /** Milliseconds for one call of any verb. */
  readonly timeoutMs: number;
  /** The driver's whole environment; `driverEnvironment` of this process's own when left out. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** The node's name for the driver's environment; empty when there is none. */
  readonly nodeId?: string | undefined;
  /** Where its files are looked at; below this process's own root when left out. */
  readonly files?: Files | undefined;
  /** Places for the calls of this driver and of others; without them any number runs. `init` needs none. */
  readonly places?: Places | undefined;
  /** gRPC codes for failures of a driver that does not name them itself. */
  readonly failureRules?: readonly FailureRule[] | undefined;
}

export type CallResult =
  | { readonly supported: true; readonly answer: Answer }
  | { readonly supported: false };

/** Where the driver to call comes from: asked at every operation, since the driver may have been replaced. */
export interface DriverSource {
  /** Throws a `Failure` (`driver-unusable`) when there is no initialised driver. */
  current(): Promise<Driver>;
  /**
   * The driver for taking away what is there. Where its `init` fails or hangs (10 s), as it was before, or without
   * an `init`: its verb is tried, and says what is wrong.
   */
  forCleanUp(): Promise<Driver>;
}

/** How long taking something away waits for an `init`. */
const CLEAN_UP_WAIT_MS = 10_000;

/** `current` of a source, or what `fallback` answers when that fails or takes too long. */
export async function orForCleanUp(current: Promise<Driver>, fallback: () => Driver): Promise<Driver> {
  const isLate = Symbol('late');
  const waiting = new AbortController();
  try {
    const late = setTimeout(CLEAN_UP_WAIT_MS, isLate, { ref: false, signal: waiting.signal });
    const first = await Promise.race([current, late]);
    return first === isLate ? fallback() : (first as Driver);
  } catch {
    return fallback();
  } finally {
    waiting.abort();
  }
}

/** Bytes of a driver's words in an error, and of its other output there and in the debug log. */
const MAX_WORDS = 1024;
const MAX_EXCERPT = 300;
const MAX_LOGGED = 4096;

export class Driver {
  readonly #settings: DriverSettings;
  readonly capabilities: Capabilities;
  readonly #unsupported = new Set<Verb>();

  private constructor(settings: DriverSettings, capabilities: Capabilities) {
    this.#settings = settings;
    this.capabilities = capabilities;
  }

  /** Runs `init`. Throws a `Failure` (`driver-unusable`) when that fails, whatever the reason. */
  static async initialise(settings: DriverSettings): Promise<Driver> {
    let result: CallResult;
    try {
      result = await execute(settings, init(), noSecrets);
    } catch (error) {
      throw new Failure('driver-unusable', errorMessage(error), { cause: error });
    }
    if (result.supported) return new Driver(settings, result.answer.capabilities);
    throw new Failure('driver-unusable', `driver ${settings.name}: init answers "Not supported"`);
  }

  /** The driver without its `init`, with kubelet's defaults for what that says. */
  static uninitialised(settings: DriverSettings): Driver {
    return new Driver(settings, defaultCapabilities);
  }

  get name(): string {
    return this.#settings.name;
  }

  get file(): string {
    return this.#settings.file;
  }

  /**
   * Runs one verb. A verb that once answered `Not supported` is not run again by this object.
   *
   * Throws a `Failure` of one line that names the driver and the verb, and has the driver's own words, masked:
   * `driver-failed` (it ran and says that it failed), `driver-unclear` (its answer cannot be used, or contradicts its
   * exit status), `driver-timeout` (its time passed, what
   * it did is not known), `driver-unusable` (not started), `invalid-request` (an argument that cannot be
   * passed). A driver that outlives its time limit and then succeeds has succeeded. The failure has a `code` where
   * the driver, or its configuration, gives it one.
   */
  async call(call: Call, options: { readonly mask?: Mask | undefined } = {}): Promise<CallResult> {
    if (this.#unsupported.has(call.verb)) return { supported: false };
    const onStdin = this.capabilities.extensions.secretsOnStdin;
    const result = await execute(this.#settings, call, options.mask ?? noSecrets, onStdin);
    if (!result.supported) this.#unsupported.add(call.verb);
    return result;
  }

  /**
   * Runs a verb beyond kubelet's, which the driver has announced, and reads its answer. Unlike those of kubelet it
   * is run again after `Not supported`, which may be meant for this one request.
   *
   * Throws as `call` does; `unsupported` after `Not supported`; `driver-unclear` when `read` cannot use the answer.
   */
  async ask<T>(
    verb: ExtensionVerb,
    options: Options,
    read: (fields: Fields) => T,
    mask: Mask = noSecrets,
  ): Promise<T> {
    const { secretsOnStdin } = this.capabilities.extensions;
    const result = await execute(this.#settings, extended(verb, options), mask, secretsOnStdin);
    if (!result.supported) {
      throw new Failure('unsupported', `driver ${this.name}: ${verb} answers "Not supported"`);
    }
    try {
      return read(result.answer.fields);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      const message = `driver ${this.name}: ${verb}: ${mask(error.message)}`;
      throw new Failure('driver-unclear', oneLine(message, MAX_WORDS), { cause: error });
    }
  }
}

async function execute(
  settings: DriverSettings,
  call: Call,
  mask: Mask,
  optionsOnStdin = false,
): Promise<CallResult> {
  const { file, run, timeoutMs, files, env = driverEnvironment(process.env, settings.nodeId) } = settings;
  let ended: Ended;
  try {
    const start = () => invoke({ file, files, run, timeoutMs, env, optionsOnStdin }, call);
    // Without init nothing else can be done: it does not wait for what hangs.
    const { places } = settings;
    ended = await (places === undefined || call.verb === 'init' ? start() : places.use(start));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const message = `driver ${settings.name}: ${call.verb} was not started: ${error.message}`;
    throw new Failure(error.kind, oneLine(mask(message), MAX_WORDS), { cause: error });
  }
  logCall(settings, call, ended, mask);
  const parsed = parseAnswer(ended.output);
  const fail = (kind: FailureKind, text: string, output: Uint8Array | undefined): never => {
    const words = oneLine(mask(text), MAX_WORDS);
    const excerpt = output === undefined ? '' : excerptOf(output, mask);
    const message = `driver ${settings.name}: ${words}${excerpt === '' ? '' : `: ${excerpt}`}`;
    const code = kind === 'driver-timeout' ? undefined : failureCode(settings, call, parsed, ended, mask);
    throw new Failure(kind, message, code === undefined ? {} : { code });
  };

  if (ended.abandoned) {
    return fail('driver-timeout', `${call.verb} does not end, not even by SIGKILL`, ended.output);
  }
  if (ended.tooMuchOutput) {
    const text = `${call.verb} failed: more output than ${ended.output.length} bytes, it was ended`;
    return fail('driver-unclear', text, ended.output);
  }
  const verdict = judge(call.verb, ended, parsed);
  if (verdict.kind === 'success') return { supported: true, answer: verdict.answer };
  if (ended.timedOut && (verdict.kind === 'failed' || ended.exitCode !== 0)) {
    const text = `${call.verb} did not end within ${timeoutMs / 1000} s and was ended (${describeEnd(ended)}): what it did is not known`;
    return fail('driver-timeout', text, ended.output);
  }
  if (verdict.kind === 'not-supported') return { supported: false };
  if (!parsed.ok) {
    const cause = ended.output.length === 0 ? likelyCause(ended) : '';
    return fail('driver-unclear', verdict.text + cause, ended.output);
  }
  if (parsed.answer.status === 'Success') return fail('driver-unclear', verdict.text, undefined);
  const { status } = parsed.answer;
  const hint =
    status === ''
      ? ', the answer has no "status"'
      : isAlmostSuccess(status)
        ? ', it has to be spelt Success'
        : '';
  const reason = parsed.answer.message === '' ? `(the driver gives none${hint})` : '';
  return fail('driver-failed', `${verdict.text}${reason} (${describeEnd(ended)})`, undefined);
}

/**
 * The driver's own code, else the one that its configuration has for what it says: for its message, or for all
 * that it printed where that is no answer.
 */
function failureCode(
  { name, log, failureRules = [] }: DriverSettings,
  { verb }: Call,
  parsed: ParsedAnswer,
  ended: Ended,
  mask: Mask,
): string | undefined {
  const { code, unknown } = parsed.ok ? codeOfAnswer(parsed.answer.fields) : {};
  if (unknown !== undefined) {
    log.warn(
      { driver: name, verb, code: oneLine(mask(unknown), 60) },
      "the answer's code is no gRPC code's name: ignored",
    );
  }
  const words = parsed.ok ? parsed.answer.message : ended.output.toString();
  const told =
    code ??
    codeOfMessage(failureRules, verb, oneLine(words, MAX_WORDS), (problem) =>
      log.warn({ driver: name, verb, problem }, 'no failure rule applied'),
    );
  // "lvs: command not found" must not pass for a volume that is gone: detaching and deleting would be skipped.
  return !parsed.ok && told === 'NOT_FOUND' ? undefined : told;
}

function isAlmostSuccess(status: string): boolean {
  return ['success', 'ok'].includes(status.trim().toLowerCase());
}

/** What usually lies behind an end without a word. */
function likelyCause({ exitCode, signal }: Ended): string {
  if (exitCode === 127) return ' (a command of the script is not installed where the driver runs?)';
  if (exitCode === 126) return ' (a command of the script could not be executed?)';
  if (signal === 'SIGKILL') return ' (out of memory?)';
  if (exitCode === 0) return ' (a driver must print a JSON object for every verb)';
  return '';
}

function excerptOf(output: Uint8Array, mask: Mask): string {
  return oneLine(mask(Buffer.from(output).toString()), MAX_EXCERPT);
}

function logCall({ name, log }: DriverSettings, call: Call, ended: Ended, mask: Mask): void {
  if (!log.isLevelEnabled('debug')) return;
  log.debug(
    {
      driver: name,
      verb: call.verb,
      exit: ended.abandoned ? 'abandoned' : describeEnd(ended),
      ...(ended.timedOut ? { timedOut: true } : {}),
      durationMs: Math.round(ended.durationMs),
      args: call.args.map((argument) => redactArgument(argument, mask)),
      output: oneLine(mask(ended.output.toString()), MAX_LOGGED),
    },
    'driver called',
  );
}
