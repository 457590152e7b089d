/** A driver that answered `init`: calls its verbs. */
import { errorMessage, Failure, type FailureKind } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Ended, Run } from '../process.ts';
import { type Mask, noSecrets } from '../secrets.ts';
import { type Answer, describeEnd, judge, parseAnswer } from './answer.ts';
import type { Capabilities } from './capabilities.ts';
import { driverEnvironment } from './environment.ts';
import { invoke } from './invoke.ts';
import { redactArgument } from './redact.ts';
import { oneLine } from './text.ts';
import { type Call, init, type Verb } from './verbs.ts';

export interface DriverSettings {
  /** The executable, an absolute path. */
  readonly file: string;
  /** The FlexVolume name, `vendor/driver`, for messages. */
  readonly name: string;
  readonly run: Run;
  readonly log: Logger;
  /** Milliseconds for one call of any verb. */
  readonly timeoutMs: number;
  /** The drivers' whole environment; `driverEnvironment` of this process's own when left out. */
  readonly env?: Readonly<Record<string, string>> | undefined;
}

export type CallResult =
  | { readonly supported: true; readonly answer: Answer }
  | { readonly supported: false };

/** Where the driver to call comes from: asked at every operation, since the driver may have been replaced. */
export interface DriverSource {
  /** Throws a `Failure` (`driver-unusable`) when there is no initialised driver. */
  current(): Promise<Driver>;
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
   * passed). A driver that outlives its time limit and then succeeds has succeeded.
   */
  async call(call: Call, options: { readonly mask?: Mask | undefined } = {}): Promise<CallResult> {
    if (this.#unsupported.has(call.verb)) return { supported: false };
    const result = await execute(this.#settings, call, options.mask ?? noSecrets);
    if (!result.supported) this.#unsupported.add(call.verb);
    return result;
  }
}

async function execute(settings: DriverSettings, call: Call, mask: Mask): Promise<CallResult> {
  const { file, run, timeoutMs, env = driverEnvironment(process.env) } = settings;
  let ended: Ended;
  try {
    ended = await invoke({ file, run, timeoutMs, env }, call);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const message = `driver ${settings.name}: ${call.verb} was not started: ${error.message}`;
    throw new Failure(error.kind, oneLine(mask(message), MAX_WORDS), { cause: error });
  }
  logCall(settings, call, ended, mask);
  const fail = (kind: FailureKind, text: string, output: Uint8Array | undefined): never => {
    const words = oneLine(mask(text), MAX_WORDS);
    const excerpt = output === undefined ? '' : excerptOf(output, mask);
    throw new Failure(kind, `driver ${settings.name}: ${words}${excerpt === '' ? '' : `: ${excerpt}`}`);
  };

  if (ended.abandoned) {
    return fail('driver-timeout', `${call.verb} does not end, not even by SIGKILL`, ended.output);
  }
  if (ended.tooMuchOutput) {
    const text = `${call.verb} failed: more output than ${ended.output.length} bytes, it was ended`;
    return fail('driver-unclear', text, ended.output);
  }
  const parsed = parseAnswer(ended.output);
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
  const reason = parsed.answer.message === '' ? '(the driver gives none)' : '';
  return fail('driver-failed', `${verdict.text}${reason} (${describeEnd(ended)})`, undefined);
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
