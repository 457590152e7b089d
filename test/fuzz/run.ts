/**
 * `npm run fuzz`: random cases for everything that reads what others wrote, and for the whole plugin on its socket.
 * It runs in a private mount namespace in which nothing but one directory can be written.
 */
import { rmdirSync } from 'node:fs';
import { Command, Option } from 'commander';
import { anySeed, MAX_SEED, runSuite, wholeNumber } from '../support/suite.ts';
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
/** Set inside: the directory that may be written. */
const CELL = 'FLEXCSI_FUZZ_CELL';

await runSuite<Options>({
  name: 'fuzz',
  example: '--cases 100',
  command: new Command('npm run fuzz --')
    .description('Tries random cases, and prints the simplest one of each failure.')
    .addOption(
      new Option('--cases <n>', 'how many, of all targets together')
        .argParser(wholeNumber(MAX_SEED))
        .default(CASES),
    )
    .addOption(new Option('--seed <x>', 'to repeat a run (default: random)').argParser(wholeNumber(MAX_SEED)))
    .addOption(
      new Option('--target <name>', 'one target only, which then has all cases (default: all)').choices(
        targets.map(({ name }) => name),
      ),
    )
    .addHelpText(
      'after',
      `\nTargets:\n${targets.map(({ name, what }) => `  ${name.padEnd(20)} ${what}`).join('\n')}`,
    ),
  enter: async (inside) => {
    const cell = makeCellDirectory();
    try {
      return await inside({ [CELL]: cell });
    } finally {
      // What was in it was a file system of the namespace, and has gone with it.
      rmdirSync(cell);
    }
  },
  run,
});

async function run(options: Options, stop: AbortSignal): Promise<number> {
  enterCell(process.env[CELL] ?? '');
  const { cases, seed = anySeed() } = options;
  const wanted = targets.filter(({ name }) => options.target === undefined || options.target === name);
  const shares = wanted.reduce((sum, { share }) => sum + share, 0);
  const watchdog = startWatchdog();
  let tried = 0;
  const failed: string[] = [];
  for (const one of wanted) {
    stop.throwIfAborted();
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
