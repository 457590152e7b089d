/** A suite as a command, `npm run <name>`: in a private mount namespace, as `npm test` is. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type Command, InvalidArgumentError } from 'commander';
import { optionsTakenByNpm } from '../../src/cli/here.ts';
import { type Namespace, privateNamespace } from './namespace.ts';

export interface Suite<Options> {
  /** Of the npm script. */
  readonly name: string;
  /** Options, to show where the `--` belongs. */
  readonly example: string;
  /** The arguments of the command, without an action. */
  readonly command: Command;
  /**
   * What is done outside, around the suite (optional). `inside` runs it, with more variables in its environment.
   *
   * @throws {Error} saying what the machine lacks: what is not run must not look like passed.
   */
  enter?(inside: Inside, namespace: Namespace['name']): Promise<number>;
  /** The suite; answers its exit code. Stops early when told to. */
  run(options: Options, stop: AbortSignal, namespace: Namespace['name']): Promise<number>;
}

type Inside = (env?: Readonly<Record<string, string>>) => Promise<number>;

/** Set in the process that is inside the namespace. */
const INSIDE = 'FLEXCSI_SUITE';
/** For everything below, tests as well: which namespace it is. */
const NAMESPACE = 'FLEXCSI_NAMESPACE';
/** The largest seed. */
export const MAX_SEED = 2 ** 31 - 1;

/** Parses the command line, runs the suite and ends the process. */
export async function runSuite<Options>(suite: Suite<Options>): Promise<never> {
  const { name, command, example } = suite;
  const names = command.options.map(({ long }) => (long ?? '').slice(2));
  const taken = optionsTakenByNpm(process.env, names).map((option) => `--${option}`);
  if (taken.length > 0) {
    const all = taken.join(', ');
    console.error(
      `${name}: npm took ${all} for its own: put -- before the options: npm run ${name} -- ${example}`,
    );
    process.exit(1);
  }
  try {
    const options = command.parse().opts<Options & object>();
    process.exitCode = process.env[INSIDE] === name ? await runInside(suite, options) : await enter(suite);
  } catch (error) {
    console.error(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
  // What a failure has left waiting must not hold it.
  process.exit();
}

async function runInside<Options>(suite: Suite<Options>, options: Options): Promise<number> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => stop.abort(new Error(`interrupted by ${signal}`)));
  }
  return await suite.run(options, stop.signal, process.env[NAMESPACE] === 'root' ? 'root' : 'user');
}

async function enter<Options>({ name, enter: around }: Suite<Options>): Promise<number> {
  const namespace = privateNamespace();
  if (namespace === undefined) {
    throw new Error('a private mount namespace is needed: run as root, or allow user namespaces');
  }
  // A developer's cluster is none of the suites' business.
  delete process.env.KUBECONFIG;
  const inside: Inside = async (more = {}) => {
    const self = [process.execPath, ...process.argv.slice(1)];
    const env = { ...process.env, ...more, [INSIDE]: name, [NAMESPACE]: namespace.name };
    const child = spawn('unshare', [...namespace.unshare, ...self], { stdio: 'inherit', env });
    // Ctrl-C reaches both: the child puts things away, and this waits for it.
    process.on('SIGINT', () => {});
    process.on('SIGTERM', () => child.kill('SIGTERM'));
    const [code, signal] = await once(child, 'exit');
    if (typeof code === 'number') return code;
    throw new Error(`ended by ${signal}`);
  };
  return around === undefined ? await inside() : await around(inside, namespace.name);
}

/** Reads an option's value. */
export function wholeNumber(most: number): (text: string) => number {
  return (text) => {
    const number = Number(text);
    if (!Number.isInteger(number) || number < 1 || number > most) {
      throw new InvalidArgumentError(`expected a whole number from 1 to ${most}`);
    }
    return number;
  };
}

/** A seed, where none was given. */
export function anySeed(): number {
  return 1 + Math.floor(Math.random() * (MAX_SEED - 1));
}
