/** What a soak prints: a line of progress, the windows as a table, the rules and whether they held. */
import type { Monitor, Window } from './monitor.ts';
import type { Problems } from './problems.ts';
import { MIB } from './setting.ts';
import { median } from './trend.ts';

export function progressLine(monitor: Monitor, calls: number, problems: number): string {
  const { now } = monitor;
  if (now === undefined) return 'no sample yet';
  return [
    `${Math.round(monitor.seconds)} s`,
    `${calls} calls`,
    `${mib(now.rss)} MiB`,
    `${now.descriptors}+${now.pipes} descriptors`,
    `${now.children} children`,
    `${now.mounts} mounts`,
    `${now.records} records`,
    `${problems} problems`,
  ].join(', ');
}

const columns: readonly (readonly [string, (window: Window) => number])[] = [
  ['until s', ({ until }) => until],
  ['calls/s', ({ callsPerSecond }) => callsPerSecond],
  ['rss MiB', ({ rss }) => rss / MIB],
  ['in use MiB', ({ heap }) => heap / MIB],
  ['fds', ({ samples }) => median(samples.map(({ descriptors }) => descriptors))],
  ['pipes', ({ samples }) => median(samples.map(({ pipes }) => pipes))],
  ['threads', ({ samples }) => median(samples.map(({ threads }) => threads))],
  ['children', ({ samples }) => median(samples.map(({ children }) => children))],
  ['zombies', ({ samples }) => median(samples.map(({ zombies }) => zombies.length))],
  ['mounts', ({ samples }) => median(samples.map(({ mounts }) => mounts))],
  ['records', ({ samples }) => median(samples.map(({ records }) => records))],
  ['temp', ({ samples }) => median(samples.map(({ temporary }) => temporary))],
  ['probe p50 ms', ({ probeP50 }) => probeP50],
  ['p99 ms', ({ probeP99 }) => probeP99],
];

export function printWindows(windows: readonly Window[]): void {
  const rows = windows.map((window) => columns.map(([, of]) => of(window).toFixed(1).replace(/\.0$/, '')));
  const widths = columns.map(([name], index) =>
    Math.max(name.length, ...rows.map((row) => row[index]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    cells.map((cell, index) => cell.padStart(widths[index] ?? 0)).join('  ');
  console.log(line(columns.map(([name]) => name)));
  for (const row of rows) console.log(line(row));
}

/** Prints the rules, and answers how many were broken. */
export function printRules(problems: Problems): number {
  const rules = problems.all();
  for (const { rule, count, examples } of rules) {
    console.log(count === 0 ? `ok      ${rule}` : `FAILED  ${rule} (${count})`);
    for (const example of examples) console.log(`        ${example}`);
  }
  const failed = rules.filter(({ count }) => count > 0).length;
  console.log(`soak: ${rules.length - failed} passed, ${failed} failed`);
  return failed;
}

export function mib(bytes: number): string {
  return (bytes / MIB).toFixed(1);
}
