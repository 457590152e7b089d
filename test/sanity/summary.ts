/** What `npm run sanity` prints of its trials. */
import { readFileSync } from 'node:fs';
import type { TestResult } from './report.ts';
import type { Trial } from './trial.ts';

/** One line when a trial is over; and for each test that failed, why, and the log of flexcsi while it ran. */
export function printTrial(trial: Trial): void {
  const { mode, seed, seconds, passed, failed, skipped, directory, logs } = trial;
  const counts = `${passed.length} passed, ${failed.length} failed, ${skipped.length} skipped`;
  console.log(`${mode.name}, seed ${seed}: ${counts} (${seconds} s)`);
  for (const test of failed) {
    console.log(`\n  FAILED ${mode.name}: ${test.test}\n${indent(shorten(test.message), 6)}`);
    const log = logDuring(test, logs);
    if (log.length > 0) console.log(`    flexcsi's log while it ran:\n${indent(log.join('\n'), 6)}`);
  }
  if (failed.length > 0) console.log(`\n  all logs: ${directory}\n`);
}

/** Without the dump of the error's inside, which repeats the line before it. */
function shorten(message: string): string {
  return message.replaceAll(/^( *)\{\n[\s\S]*?^\1\}\n/gm, '').trim();
}

const LOG_LINES = 12;
const LOG_WIDTH = 600;
/** csi-sanity asks them before every test. */
const NOISE = /"rpc":"(GetPluginCapabilities|ControllerGetCapabilities|NodeGetCapabilities|NodeGetInfo)"/;

/** What the logs say of the time in which a test ran: the last warnings, or the last lines where there are none. */
function logDuring({ from, to }: TestResult, logs: readonly string[]): string[] {
  const lines = logs.flatMap((log) => readFileSync(log, 'utf8').split('\n'));
  const during = lines
    .map((line) => ({ line, at: Date.parse(/"time":"([^"]+)"/.exec(line)?.[1] ?? '') }))
    .filter(({ line, at }) => at >= from && at <= to && !NOISE.test(line))
    .sort((one, other) => one.at - other.at);
  const warnings = during.filter(({ line }) => /^\{"level":"(?:warn|error)"/.test(line));
  const shown = (warnings.length > 0 ? warnings : during).slice(-LOG_LINES);
  return shown.map(({ line }) => line.slice(0, LOG_WIDTH));
}

function indent(text: string, by: number): string {
  return text.replaceAll(/^/gm, ' '.repeat(by));
}

/** Every test that was skipped, under the reason for it, with the modes it was skipped in. */
export function printSkipped(trials: readonly Trial[]): void {
  const all = new Set(trials.map(({ mode }) => mode.name));
  const reasons = new Map<string, Map<string, Set<string>>>();
  for (const { mode, skipped } of trials) {
    for (const { test, message, why } of skipped) {
      const said = /^[^\n]*/.exec(message)?.[0];
      const line = said ? `${test}: ${said}` : test;
      const tests = reasons.get(why) ?? new Map<string, Set<string>>();
      reasons.set(why, tests.set(line, (tests.get(line) ?? new Set()).add(mode.name)));
    }
  }
  for (const [why, tests] of reasons) {
    console.log(`\nskipped: ${why}`);
    for (const [line, inModes] of [...tests].sort()) {
      console.log(`  ${line} [${inModes.size === all.size ? 'all modes' : [...inModes].join(', ')}]`);
    }
  }
}

/** The table of all trials, and the line that counts them. */
export function printTotal(trials: readonly Trial[]): void {
  const row = (...cells: readonly (string | number)[]): string =>
    cells.map((cell, index) => (index === 0 ? String(cell).padEnd(21) : String(cell).padStart(11))).join('');
  console.log(`\n${row('mode', 'seed', 'passed', 'failed', 'skipped', 'seconds')}`);
  for (const { mode, seed, passed, failed, skipped, seconds } of trials) {
    console.log(row(mode.name, seed, passed.length, failed.length, skipped.length, seconds));
  }
  const sum = (of: 'passed' | 'failed' | 'skipped'): number =>
    trials.reduce((total, trial) => total + trial[of].length, 0);
  console.log(`\nsanity: ${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`);
}
