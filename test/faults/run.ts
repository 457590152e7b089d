/**
 * `npm run faults`: the fault matrix. Drivers, clients and the world around flexcsi misbehave, and each cell of the
 * table checks what flexcsi makes of it. It runs in a private mount namespace, as `npm test` does.
 */
import { Command, Option } from 'commander';
import { runSuite } from '../support/suite.ts';
import type { Cell, Fault } from './fault.ts';
import { failuresOf, heading, type Result, rowsOf, selection } from './table.ts';

interface Options {
  readonly group?: Fault['group'];
  readonly fault?: string;
  readonly full?: boolean;
}

const groups = ['driver', 'world', 'client'] as const satisfies readonly Fault['group'][];
/** Cells of one fault that are run without --full. */
const REDUCED = 5;
/** Cells that run at the same time. */
const PARALLEL = 8;
/** A cell that is not done by then is stuck. */
const STUCK_MS = 5 * 60 * 1000;

await runSuite<Options>({
  name: 'faults',
  example: '--full',
  command: new Command('npm run faults --')
    .description('Prints what flexcsi makes of faults: a table fault × call → outcome, per group.')
    .addOption(new Option('--group <name>', 'one group only (default: all)').choices(groups))
    .option('--fault <name>', 'only faults whose name contains this, all their cells')
    .option('--full', `all cells (default: at most ${REDUCED} of each fault)`),
  run,
});

async function run(options: Options, stop: AbortSignal): Promise<number> {
  const failures: string[] = [];
  let passed = 0;
  let left = 0;
  for (const group of groups) {
    if (options.group !== undefined && options.group !== group) continue;
    const faults = await faultsOf(group);
    const wanted = faults.filter(({ name }) => options.fault === undefined || name.includes(options.fault));
    if (wanted.length === 0) continue;
    const calls = [...new Set(faults.flatMap(({ cells }) => cells.map(({ call }) => call)))];
    const isFull = options.full === true || options.fault !== undefined;
    const most = isFull ? Number.POSITIVE_INFINITY : REDUCED;
    console.log(heading(group));
    for await (const { fault, results } of resultsOf(wanted, most, stop)) {
      console.log(rowsOf(fault, results, calls));
      failures.push(...failuresOf(fault, results));
      passed += results.filter(({ failed }) => !failed).length;
      left += fault.cells.length - results.length;
    }
  }
  if (passed + failures.length === 0)
    throw new Error(`no fault's name contains ${JSON.stringify(options.fault)}`);
  if (failures.length > 0) console.log(`\n${failures.join('\n')}`);
  if (left > 0) console.log(`\n${left} more cells are run with --full`);
  console.log(`\nfaults: ${passed} passed, ${failures.length} failed`);
  stop.throwIfAborted();
  return failures.length === 0 ? 0 : 1;
}

async function faultsOf(group: Fault['group']): Promise<readonly Fault[]> {
  const { faults } = (await import(`./${group}.ts`)) as { faults: readonly Fault[] };
  return faults;
}

/** Runs the cells, some at a time, and yields fault by fault in their order. */
async function* resultsOf(
  faults: readonly Fault[],
  most: number,
  stop: AbortSignal,
): AsyncGenerator<{ fault: Fault; results: readonly Result[] }> {
  let running = 0;
  const waiting: (() => void)[] = [];
  const inTurn = async (cell: Cell): Promise<Result | undefined> => {
    if (running >= PARALLEL) await new Promise<void>((resolve) => waiting.push(resolve));
    else running += 1;
    try {
      return stop.aborted ? undefined : await runCell(cell);
    } finally {
      const next = waiting.shift();
      if (next === undefined) running -= 1;
      else next();
    }
  };
  const started = faults.map((fault, turn) => ({
    fault,
    results: Promise.all(selection(fault, turn, most).map(inTurn)),
  }));
  for (const { fault, results } of started) {
    const done = (await results).filter((result) => result !== undefined);
    if (done.length > 0) yield { fault, results: done };
  }
}

/** Never rejects. */
async function runCell(cell: Cell): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const stuck = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`stuck: not done within ${STUCK_MS / 60_000} minutes`)),
      STUCK_MS,
    );
  });
  try {
    return { cell, text: await Promise.race([cell.run(), stuck]), failed: false };
  } catch (error) {
    return { cell, text: error instanceof Error ? error.message : String(error), failed: true };
  } finally {
    clearTimeout(timer);
  }
}
