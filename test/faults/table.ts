/** The table fault × call → outcome, and which of its cells are run. Pure. */
import type { Cell, Fault } from './fault.ts';

/** How a cell ended. */
export interface Result {
  readonly cell: Cell;
  /** What `run` resolved with; for a cell that failed, what is wrong. */
  readonly text: string;
  readonly failed: boolean;
}

/**
 * At most `most` of a fault's cells, spread evenly over its calls. `turn`, the fault's number, shifts the choice, so
 * that all calls have their turn.
 */
export function selection(fault: Fault, turn: number, most: number): readonly Cell[] {
  const { cells } = fault;
  if (cells.length <= most) return cells;
  const chosen = Array.from(
    { length: most },
    (_, nth) => Math.floor((nth * cells.length) / most + turn) % cells.length,
  );
  return cells.filter((_, index) => chosen.includes(index));
}

const NAME_WIDTH = 44;
const CALLS_WIDTH = 58;

/** The heading of a group's table. */
export function heading(group: string): string {
  return ['', row(`${group} faults`, 'call', 'outcome'), '-'.repeat(NAME_WIDTH + CALLS_WIDTH + 20)].join(
    '\n',
  );
}

/**
 * The rows of one fault: calls with the same outcome share one. `calls` are all calls of the group's table: those in
 * which this fault makes no sense have the outcome `–`.
 */
export function rowsOf(fault: Fault, results: readonly Result[], calls: readonly string[]): string {
  const outcomes = new Map<string, string[]>();
  for (const { cell, text, failed } of results) {
    const outcome = failed ? 'FAILED, see below' : text;
    outcomes.set(outcome, [...(outcomes.get(outcome) ?? []), cell.call]);
  }
  const possible = new Set(fault.cells.map(({ call }) => call));
  const senseless = calls.filter((call) => !possible.has(call));
  if (senseless.length > 0)
    outcomes.set('–', senseless.length > calls.length / 2 ? ['all others'] : senseless);
  const rows = [...outcomes].flatMap(([outcome, names]) =>
    wrap(names, CALLS_WIDTH - 2).map((line, index) => ({ line, outcome: index === 0 ? outcome : '' })),
  );
  return rows.map(({ line, outcome }, index) => row(index === 0 ? fault.name : '', line, outcome)).join('\n');
}

/** What is wrong with the cells that failed, one line each. */
export function failuresOf(fault: Fault, results: readonly Result[]): string[] {
  const failed = results.filter((result) => result.failed);
  return failed.map(({ cell, text }) => `FAILED ${fault.group}: ${fault.name}: ${cell.call}: ${text}`);
}

function row(name: string, calls: string, outcome: string): string {
  return `${name.padEnd(NAME_WIDTH)}${calls.padEnd(CALLS_WIDTH)}${outcome}`.trimEnd();
}

/** Names joined by commas, in lines of at most that width where that is possible. */
function wrap(names: readonly string[], width: number): string[] {
  const lines: string[] = [];
  for (const [index, name] of names.entries()) {
    const text = index < names.length - 1 ? `${name}; ` : name;
    const last = lines.at(-1);
    if (last !== undefined && last.length + text.trimEnd().length <= width)
      lines[lines.length - 1] = last + text;
    else lines.push(text);
  }
  return lines.map((line) => line.trimEnd());
}
