/**
 * `npm run fuzz`: random cases for everything that reads what others wrote, and for the whole plugin on its socket.
 * It runs in a private mount namespace in which nothing but one directory can be written.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmdirSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';
import { optionsTakenByNpm } from '../../src/cli/here.ts';
import { privateNamespace } from '../support/namespace.ts';
import { enterCell, makeCellDirectory } from './grpc/cell.ts';
import type { Target } from './target.ts';
import { targets } from './targets.ts';
import { startWatchdog, type Watchdog } from './watchdog.ts';

interface Options {
  readonly cases: number;
  readonly seed?: number;
  readonly target?: string;
}

/** In CI; all of it is 100,000. */
const CASES = 5_000;
const MAX_SEED = 2 ** 31 - 1;
/** Set in the process that is inside the namespace: the directory that it may write. */
const CELL = 'FLEXCSI_FUZZ_CELL';

const command = new Command('npm run fuzz --')
  .description('Tries random cases, and prints the simplest one of each failure.')
  .addOption(
    new Option('--cases <n>', 'how many, of all targets together').argParser(wholeNumber).default(CASES),
  )
  .addOption(new Option('--seed <x>', 'to repeat a run (default: random)').argParser(wholeNumber))
  .addOption(
    new Option('--target <name>', 'one target only, which then has all cases (default: all)').choices(
      targets.map(({ name }) => name),
    ),
  )
  .addHelpText(
    'after',
    `\nTargets:\n${targets.map(({ name, what }) => `  ${name.padEnd(20)} ${what}`).join('\n')}`,
  )
  .action(async (options: Options) => {
    try {
      const cell = process.env[CELL];
      process.exitCode = cell === undefined ? await enter() : await run(options, cell);
    } catch (error) {
      console.error(`fuzz: ${error instanceof Error ? error.message : String(error)}`);
      process.exitCode = 1;
    }
  });

const taken = optionsTakenByNpm(process.env, ['cases', 'seed', 'target']);
if (taken.length > 0) {
  const names = taken.map((name) => `--${name}`).join(', ');
  console.error(
    `fuzz: npm took ${names} for its own: put -- before the options: npm run fuzz -- --cases 100`,
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
  const cell = makeCellDirectory();
  try {
    const env = { ...process.env, FLEXCSI_NAMESPACE: namespace.name, [CELL]: cell };
    const child = spawn('unshare', [...namespace.unshare, ...self], { stdio: 'inherit', env });
    // Ctrl-C reaches both: this waits for the other.
    process.on('SIGINT', () => {});
    process.on('SIGTERM', () => child.kill('SIGTERM'));
    const [code, signal] = await once(child, 'exit');
    if (typeof code === 'number') return code;
    throw new Error(`ended by ${signal}`);
  } finally {
    // What was in it was a file system of the namespace, and has gone with it.
    rmdirSync(cell);
  }
}

async function run(options: Options, cell: string): Promise<number> {
  enterCell(cell);
  const { cases, seed = 1 + Math.floor(Math.random() * MAX_SEED) } = options;
  const wanted = targets.filter(({ name }) => options.target === undefined || options.target === name);
  const shares = wanted.reduce((sum, { share }) => sum + share, 0);
  const watchdog = startWatchdog();
  let tried = 0;
  const failed: string[] = [];
  for (const one of wanted) {
    const count = Math.max(1, Math.round((cases * one.share) / shares));
    const outcome = await runTarget(one, count, seed, watchdog);
    tried += outcome.cases;
    if (!outcome.isGood) failed.push(one.name);
  }
  await watchdog.stop();
  console.log(`\n${tried} cases, seed ${seed}${failed.length > 0 ? `; failed: ${failed.join(', ')}` : ''}`);
  console.log(`fuzz: ${wanted.length - failed.length} passed, ${failed.length} failed`);
  return failed.length === 0 ? 0 : 1;
}

async function runTarget(
  { name, what, fuzz }: Target,
  count: number,
  seed: number,
  watchdog: Watchdog,
): Promise<{ cases: number; isGood: boolean }> {
  const again = `npm run fuzz -- --target ${name} --seed ${seed} --cases ${count}`;
  watchdog.watch(again);
  const started = performance.now();
  const outcome = await fuzz({ cases: count, seed, onCase: watchdog.beat }).catch((error: unknown) => ({
    cases: 0,
    fault: error instanceof Error ? (error.stack ?? error.message) : String(error),
  }));
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const { cases, fault } = outcome;
  console.log(`${fault === undefined ? 'ok    ' : 'FAILED'} ${name}: ${cases} cases, ${seconds} s (${what})`);
  if (fault !== undefined) console.log(`${fault}\nagain: ${again}\n`);
  return { cases, isGood: fault === undefined };
}

function wholeNumber(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1 || number > MAX_SEED) {
    throw new InvalidArgumentError(`expected a whole number from 1 to ${MAX_SEED}`);
  }
  return number;
}
