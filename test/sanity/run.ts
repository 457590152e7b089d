/**
 * `npm run sanity`: csi-sanity, the conformance suite of the CSI project, against flexcsi with its bundled
 * drivers, in every mode. It runs in a private mount namespace, as `npm test` does.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';
import { optionsTakenByNpm } from '../../src/cli/here.ts';
import { privateNamespace } from '../support/namespace.ts';
import { modes } from './modes.ts';
import { csiSanity } from './suite.ts';
import { printSkipped, printTotal, printTrial } from './summary.ts';
import { runTrial, type Trial } from './trial.ts';

interface Options {
  readonly seeds: number;
  readonly seed?: number;
  readonly mode?: string;
  readonly verbose?: boolean;
}

const MAX_SEED = 2 ** 31 - 1;
/** Set in the process that is inside the namespace. */
const INSIDE = 'FLEXCSI_NAMESPACE';

const command = new Command('npm run sanity --')
  .description('Runs csi-sanity against flexcsi, in every mode.')
  .addOption(
    new Option('--seeds <n>', 'with how many seeds each mode is run').argParser(wholeNumber).default(1),
  )
  .addOption(
    new Option('--seed <x>', 'the first seed, to repeat a run (default: random)').argParser(wholeNumber),
  )
  .addOption(
    new Option('--mode <name>', 'one mode only (default: all)').choices(modes.map(({ name }) => name)),
  )
  .option('--verbose', "show csi-sanity's own output")
  .action(async (options: Options) => {
    try {
      process.exitCode = process.env[INSIDE] === undefined ? await enter() : await run(options);
    } catch (error) {
      console.error(`sanity: ${error instanceof Error ? error.message : String(error)}`);
      process.exitCode = 1;
    }
  });

const taken = optionsTakenByNpm(process.env, ['seeds', 'seed', 'mode', 'verbose']);
if (taken.length > 0) {
  const names = taken.map((name) => `--${name}`).join(', ');
  console.error(
    `sanity: npm took ${names} for its own: put -- before the options: npm run sanity -- --seeds 3`,
  );
  process.exit(1);
}
await command.parseAsync();

/** @throws {Error} saying what the machine lacks: what is not run must not look like passed. */
async function enter(): Promise<number> {
  csiSanity();
  const namespace = privateNamespace();
  if (namespace === undefined) {
    throw new Error('a private mount namespace is needed: run as root, or allow user namespaces');
  }
  const self = [process.execPath, ...process.argv.slice(1)];
  const env = { ...process.env, [INSIDE]: namespace.name };
  const child = spawn('unshare', [...namespace.unshare, ...self], { stdio: 'inherit', env });
  // Ctrl-C reaches both: the child puts things away, and this waits for it.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  const [code] = await once(child, 'exit');
  return typeof code === 'number' ? code : 1;
}

async function run(options: Options): Promise<number> {
  const first = options.seed ?? Math.floor(Math.random() * MAX_SEED);
  const seeds = Array.from({ length: options.seeds }, (_, index) => (first + index) % MAX_SEED);
  const wanted = modes.filter(({ name }) => options.mode === undefined || options.mode === name);
  const missing = missingForLoop();
  const possible = wanted.filter(({ driver }) => missing === undefined || !driver.includes('loop'));
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort());
  const trials: Trial[] = [];
  for (const seed of seeds) {
    for (const mode of possible) {
      const trial = await runTrial(mode, seed, { verbose: options.verbose === true, stop: stop.signal });
      if (stop.signal.aborted) throw new Error('interrupted');
      printTrial(trial);
      trials.push(trial);
    }
  }
  printSkipped(trials);
  const left = wanted.filter((mode) => !possible.includes(mode)).map(({ name }) => name);
  if (left.length > 0) console.log(`\nnot run, for want of ${missing}: ${left.join(', ')}`);
  printTotal(trials);
  return left.length === 0 && trials.every(({ failed }) => failed.length === 0) ? 0 : 1;
}

/** What the modes of the loop driver need of the machine, and it lacks. */
function missingForLoop(): string | undefined {
  if (process.env[INSIDE] !== 'root') return 'root';
  return existsSync('/dev/loop-control') ? undefined : 'loop devices (/dev/loop-control)';
}

function wholeNumber(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1 || number > MAX_SEED) {
    throw new InvalidArgumentError(`expected a whole number from 1 to ${MAX_SEED}`);
  }
  return number;
}
