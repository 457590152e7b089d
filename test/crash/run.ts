/**
 * `npm run crash`: flexcsi, the drivers that it runs, or both are killed at random moments while volumes are created,
 * attached, mounted, written to, grown, copied and taken down again. Every kill is a run: afterwards all that was
 * asked for is there and nothing else, and every byte that was written can be read.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';
import { optionsTakenByNpm } from '../../src/cli/here.ts';
import { privateNamespace } from '../support/namespace.ts';
import { type BatchOptions, runBatch } from './batch.ts';
import { type Mode, modes } from './modes.ts';
import { Random } from './random.ts';
import { printBatch } from './report.ts';

interface Options {
  readonly count: number;
  readonly seed?: number;
  readonly mode?: string;
}

const MAX = 2 ** 31 - 1;
/** Kills of one batch. A new one has new seeds, and takes everything down in between. */
const BATCH = 25;
/** After so many failures it ends. */
const ENOUGH = 5;
/** How often it is told how far it is, where no terminal shows it all the time. */
const EVERY = 10;
/** Set in the process that is inside the namespace. */
const INSIDE = 'FLEXCSI_NAMESPACE';

const command = new Command('npm run crash --')
  .description('Kills flexcsi and its drivers at random moments of a running workload, and looks for damage.')
  .addOption(new Option('--count <n>', 'how many kills, over all modes').argParser(wholeNumber).default(50))
  .addOption(
    new Option('--seed <x>', 'repeats the random decisions of a run (default: random)').argParser(
      wholeNumber,
    ),
  )
  .addOption(
    new Option('--mode <name>', 'one mode only (default: all)').choices(modes.map(({ name }) => name)),
  )
  .addHelpText(
    'after',
    ['', 'Modes:', ...modes.map(({ name, what }) => `  ${name.padEnd(8)}${what}`)].join('\n'),
  )
  .action(async (options: Options) => {
    try {
      process.exitCode = process.env[INSIDE] === undefined ? await enter() : await run(options);
    } catch (error) {
      console.error(`crash: ${error instanceof Error ? error.message : String(error)}`);
      process.exitCode = 1;
    }
    // What a failed batch has left waiting must not hold it.
    process.exit();
  });

const taken = optionsTakenByNpm(process.env, ['count', 'seed', 'mode']);
if (taken.length > 0) {
  const names = taken.map((name) => `--${name}`).join(', ');
  console.error(
    `crash: npm took ${names} for its own: put -- before the options: npm run crash -- --count 500`,
  );
  process.exit(1);
}
await command.parseAsync();

/** @throws {Error} saying what the machine lacks: what is not run must not look like passed. */
async function enter(): Promise<number> {
  const namespace = privateNamespace();
  if (namespace?.name !== 'root') throw new Error('root is needed, for mounts and loop devices');
  if (!existsSync('/dev/loop-control')) throw new Error('loop devices are needed (/dev/loop-control)');
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
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort(signal));
  const seed = options.seed ?? Math.floor(Math.random() * MAX);
  const chosen = modes.filter(({ name }) => options.mode === undefined || options.mode === name);
  console.log(`seed ${seed}: repeat with --seed ${seed} --count ${options.count}`);
  const random = new Random(seed);
  let passed = 0;
  let failed = 0;
  let notRun = 0;
  let told = 0;
  for (const [index, { mode, count }] of plan(chosen, options.count).entries()) {
    const start = Date.now();
    const batch: BatchOptions = {
      mode,
      count,
      seed: random.whole(1, MAX),
      attachOn: (index + Math.floor(index / chosen.length) + seed) % 2 === 0 ? 'node' : 'controller',
      onRun: (done) => {
        const isDue = process.stdout.isTTY || passed + done >= told + EVERY;
        if (!isDue) return;
        told = passed + done;
        showProgress(`${told} of ${options.count} kills, ${failed} failed (${mode.name})`);
      },
      stop: stop.signal,
    };
    const result = await runBatch(batch);
    clearProgress();
    printBatch(batch, result, Math.round((Date.now() - start) / 1000));
    passed += result.passed;
    // What was not run any more is not passed.
    if (result.error !== undefined) {
      failed += 1;
      notRun += Math.max(0, count - result.passed - 1);
    }
    if (stop.signal.aborted) throw new Error(`ended by ${stop.signal.reason} after ${passed} kills`);
    if (failed === ENOUGH) break;
  }
  if (notRun > 0) console.log(`${notRun} kills were left out after failures`);
  console.log(`crash: ${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

/** The modes in turn, with about as many kills each. */
function plan(chosen: readonly Mode[], count: number): { mode: Mode; count: number }[] {
  const rounds = Math.ceil(count / (BATCH * chosen.length));
  const batches = Array.from({ length: rounds }, () => chosen).flat();
  return batches
    .map((mode, index) => {
      const upTo = (part: number): number => Math.round((count * part) / batches.length);
      return { mode, count: upTo(index + 1) - upTo(index) };
    })
    .filter((batch) => batch.count > 0);
}

function showProgress(text: string): void {
  if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${text}`);
  else console.log(text);
}

function clearProgress(): void {
  if (process.stdout.isTTY) process.stdout.write('\r\x1b[K');
}

function wholeNumber(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1 || number > MAX) {
    throw new InvalidArgumentError(`expected a whole number from 1 to ${MAX}`);
  }
  return number;
}
