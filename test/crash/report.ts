/** What `npm run crash` prints. */
import { existsSync, readFileSync } from 'node:fs';
import type { Batch, BatchOptions } from './batch.ts';
import { placesOf } from './setting.ts';
import { Violation } from './violation.ts';

const LOG_LINES = 100;
const LOG_WIDTH = 500;
const CALLS = 80;

/** One line when a batch is over; and if it failed, why, and all that may tell how it came to that. */
export function printBatch({ mode, attachOn, seed }: BatchOptions, batch: Batch, seconds: number): void {
  const { volumes, written, verified, expanded, snapshots, restored, abandoned } = batch.totals;
  const { calls, errors } = batch.history;
  console.log(
    `${mode.name}, attached on the ${attachOn}, seed ${seed}: ${batch.passed} kills survived, ${calls} calls, ` +
      `${volumes} volumes (${restored} restored, ${snapshots} snapshots, ${expanded} grown), ` +
      `${written} files written and read ${verified} times, ${abandoned} pods gone half way (${seconds} s)`,
  );
  const said = [...errors].sort().map(([what, count]) => `${what} ${count}`);
  if (said.length > 0) console.log(`  errors, all repaired: ${said.join(', ')}`);
  if (batch.error !== undefined) printFailure(batch);
}

function printFailure({ error, history, directory, processes }: Batch): void {
  const text = error instanceof Violation ? error.message : ((error as Error).stack ?? String(error));
  console.log(`\n  FAILED: ${text.replaceAll('\n', '\n  ')}`);
  const volume = /crash-[0-9a-z]+-w\d+-\d+/.exec(text)?.[0];
  if (volume !== undefined) print(`calls for ${volume}, and kills`, history.last(CALLS, volume));
  print('the last calls', history.last(CALLS));
  print('processes', processes);
  const { log } = placesOf(directory);
  const lines = existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n') : [];
  print(
    "flexcsi's log, its end",
    lines.slice(-LOG_LINES).map((line) => line.slice(0, LOG_WIDTH)),
  );
  console.log(`\n  all of it: ${directory}\n`);
}

function print(title: string, lines: readonly string[]): void {
  console.log(`\n  ${title}:`);
  for (const line of lines) console.log(`    ${line}`);
}
