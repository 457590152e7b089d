/**
 * `npm run sanity`: csi-sanity, the conformance suite of the CSI project, against flexcsi with its bundled
 * drivers, in every mode. It runs in a private mount namespace, as `npm test` does.
 */
import { existsSync } from 'node:fs';
import { Command, Option } from 'commander';
import type { Namespace } from '../support/namespace.ts';
import { anySeed, MAX_SEED, runSuite, wholeNumber } from '../support/suite.ts';
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

await runSuite<Options>({
  name: 'sanity',
  example: '--seeds 3',
  command: new Command('npm run sanity --')
    .description('Runs csi-sanity against flexcsi, in every mode.')
    .addOption(
      new Option('--seeds <n>', 'with how many seeds each mode is run')
        .argParser(wholeNumber(MAX_SEED))
        .default(1),
    )
    .addOption(
      new Option('--seed <x>', 'the first seed, to repeat a run (default: random)').argParser(
        wholeNumber(MAX_SEED),
      ),
    )
    .addOption(
      new Option('--mode <name>', 'one mode only (default: all)').choices(modes.map(({ name }) => name)),
    )
    .option('--verbose', "show csi-sanity's own output"),
  enter: (inside) => {
    csiSanity();
    return inside();
  },
  run,
});

async function run(options: Options, stop: AbortSignal, namespace: Namespace['name']): Promise<number> {
  const first = options.seed ?? anySeed();
  const seeds = Array.from({ length: options.seeds }, (_, index) => (first + index) % MAX_SEED);
  const wanted = modes.filter(({ name }) => options.mode === undefined || options.mode === name);
  const missing = missingForLoop(namespace);
  const possible = wanted.filter(({ driver }) => missing === undefined || !driver.includes('loop'));
  const trials: Trial[] = [];
  for (const seed of seeds) {
    for (const mode of possible) {
      const trial = await runTrial(mode, seed, { verbose: options.verbose === true, stop });
      stop.throwIfAborted();
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
function missingForLoop(namespace: Namespace['name']): string | undefined {
  if (namespace !== 'root') return 'root';
  return existsSync('/dev/loop-control') ? undefined : 'loop devices (/dev/loop-control)';
}
