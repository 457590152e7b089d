/**
 * `npm run soak`: flexcsi under a mixed load of many volumes, with a driver that misbehaves, for as long as is wanted.
 * Fails when anything grows or is left behind, and when an answer is wrong or missing.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';
import { optionsTakenByNpm } from '../../src/cli/here.ts';
import { privateNamespace } from '../support/namespace.ts';
import { soak } from './soak.ts';

interface Options {
  readonly minutes: number;
  readonly seed?: number;
  readonly inFlight: number;
}

const MAX = 2 ** 31 - 1;
const MOST_MINUTES = 7 * 24 * 60;
const MOST_IN_FLIGHT = 500;
/** Set in the process that is inside the namespace. */
const INSIDE = 'FLEXCSI_NAMESPACE';

const command = new Command('npm run soak --')
  .description('Puts flexcsi under a long mixed load with a driver that misbehaves, and looks for leaks.')
  .addOption(new Option('--minutes <n>', 'how long').argParser(wholeNumber(MOST_MINUTES)).default(2))
  .addOption(
    new Option('--seed <x>', "repeats the callers' random decisions (default: random)").argParser(
      wholeNumber(MAX),
    ),
  )
  .addOption(
    new Option('--in-flight <n>', 'calls at once').argParser(wholeNumber(MOST_IN_FLIGHT)).default(32),
  )
  .action(async (options: Options) => {
    try {
      process.exitCode = process.env[INSIDE] === undefined ? await enter() : await run(options);
    } catch (error) {
      console.error(`soak: ${error instanceof Error ? error.message : String(error)}`);
      process.exitCode = 1;
    }
    // Callers that a failure has left waiting must not hold it.
    process.exit();
  });

const taken = optionsTakenByNpm(process.env, ['minutes', 'seed', 'in-flight']);
if (taken.length > 0) {
  const names = taken.map((name) => `--${name}`).join(', ');
  console.error(
    `soak: npm took ${names} for its own: put -- before the options: npm run soak -- --minutes 30`,
  );
  process.exit(1);
}
await command.parseAsync();

/** @throws {Error} saying what the machine lacks: what is not run must not look like passed. */
async function enter(): Promise<number> {
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

async function run({ minutes, inFlight, ...options }: Options): Promise<number> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => stop.abort(new Error(`interrupted by ${signal}`)));
  const seed = options.seed ?? Math.floor(Math.random() * MAX);
  console.log(`seed ${seed}, ${minutes} min, ${inFlight} calls in flight`);
  const block = process.env[INSIDE] === 'root' && existsSync('/dev/loop-control');
  if (!block) console.log('without raw block volumes, for want of root or loop devices (/dev/loop-control)');
  const isGood = await soak({ minutes, seed, inFlight, block, stop: stop.signal });
  return isGood ? 0 : 1;
}

function wholeNumber(most: number): (text: string) => number {
  return (text) => {
    const number = Number(text);
    if (!Number.isInteger(number) || number < 1 || number > most) {
      throw new InvalidArgumentError(`expected a whole number from 1 to ${most}`);
    }
    return number;
  };
}
