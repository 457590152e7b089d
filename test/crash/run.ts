/**
 * `npm run crash`: flexcsi, the drivers that it runs, or both are killed at random moments while volumes are created,
 * attached, mounted, written to, grown, copied and taken down again. Every kill is a run: afterwards all that was
 * asked for is there and nothing else, and every byte that was written can be read.
 */
import { existsSync } from 'node:fs';
import { Command, Option } from 'commander';
import { anySeed, MAX_SEED, runSuite, wholeNumber } from '../support/suite.ts';
import { type BatchOptions, runBatch } from './batch.ts';
import { type Mode, modes } from './modes.ts';
import { Random } from './random.ts';
import { printBatch } from './report.ts';

interface Options {
  readonly count: number;
  readonly seed?: number;
  readonly mode?: string;
}

/** Kills of one batch. A new one has new seeds, and takes everything down in between. */
const BATCH = 25;
/** After so many failures it ends. */
const ENOUGH = 5;
/** How often it is told how far it is, where no terminal shows it all the time. */
const EVERY = 10;

await runSuite<Options>({
  name: 'crash',
  example: '--count 500',
  command: new Command('npm run crash --')
    .description(
      'Kills flexcsi and its drivers at random moments of a running workload, and looks for damage.',
    )
    .addOption(
      new Option('--count <n>', 'how many kills, over all modes')
        .argParser(wholeNumber(MAX_SEED))
        .default(50),
    )
    .addOption(
      new Option('--seed <x>', 'repeats the random decisions of a run (default: random)').argParser(
        wholeNumber(MAX_SEED),
      ),
    )
    .addOption(
      new Option('--mode <name>', 'one mode only (default: all)').choices(modes.map(({ name }) => name)),
    )
    .addHelpText(
      'after',
      ['', 'Modes:', ...modes.map(({ name, what }) => `  ${name.padEnd(8)}${what}`)].join('\n'),
    ),
  enter: (inside, namespace) => {
    if (namespace !== 'root') throw new Error('root is needed, for mounts and loop devices');
    if (!existsSync('/dev/loop-control')) throw new Error('loop devices are needed (/dev/loop-control)');
    return inside();
  },
  run,
});

async function run(options: Options, stop: AbortSignal): Promise<number> {
  const seed = options.seed ?? anySeed();
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
      seed: random.whole(1, MAX_SEED),
      attachOn: (index + Math.floor(index / chosen.length) + seed) % 2 === 0 ? 'node' : 'controller',
      onRun: (done) => {
        const isDue = process.stdout.isTTY || passed + done >= told + EVERY;
        if (!isDue) return;
        told = passed + done;
        showProgress(`${told} of ${options.count} kills, ${failed} failed (${mode.name})`);
      },
      stop,
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
    stop.throwIfAborted();
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
