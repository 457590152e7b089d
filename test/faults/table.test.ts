import { describe, expect, it } from 'vitest';
import type { Fault } from './fault.ts';
import { failuresOf, type Result, rowsOf, selection } from './table.ts';

const calls = ['attach', 'mount', 'unmount', 'detach', 'expand', 'delete'];
const fault = (names: readonly string[]): Fault => ({
  group: 'driver',
  name: 'hangs',
  cells: names.map((call) => ({ call, run: async () => 'OK' })),
});
const resultsOf = ({ cells }: Fault, texts: readonly string[]): Result[] =>
  cells.map((cell, index) => ({ cell, text: texts[index] ?? '', failed: texts[index] === 'broken' }));

describe('selection', () => {
  it('takes all cells of a fault that has few', () => {
    expect(selection(fault(calls), 3, 6)).toHaveLength(6);
    expect(selection(fault(calls), 3, Number.POSITIVE_INFINITY)).toHaveLength(6);
  });

  it.each([1, 2, 3, 4, 5])('of at most %i cells gives every call its turn', (most) => {
    const seen = new Set<string>();
    for (let turn = 0; turn < calls.length; turn++) {
      const chosen = selection(fault(calls), turn, most);
      expect(chosen).toHaveLength(most);
      for (const { call } of chosen) seen.add(call);
    }
    expect([...seen].sort()).toEqual([...calls].sort());
  });
});

describe('rowsOf', () => {
  const words = (text: string): string[][] => text.split('\n').map((line) => line.trim().split(/ {2,}/));

  it('puts calls with the same outcome into one row', () => {
    const some = fault(['attach', 'mount', 'unmount', 'detach', 'expand']);
    const results = resultsOf(some, ['OK', 'INTERNAL', 'OK', 'OK', 'INTERNAL']);
    expect(words(rowsOf(some, results, calls))).toEqual([
      ['hangs', 'attach; unmount; detach', 'OK'],
      ['mount; expand', 'INTERNAL'],
      ['delete', '–'],
    ]);
  });

  it('does not list what is senseless for most calls', () => {
    const some = fault(['mount']);
    expect(words(rowsOf(some, resultsOf(some, ['OK']), calls))).toEqual([
      ['hangs', 'mount', 'OK'],
      ['all others', '–'],
    ]);
  });

  it('breaks long lists of calls', () => {
    const many = fault(Array.from({ length: 9 }, (_, index) => `a call of some length ${index}`));
    const rows = rowsOf(many, resultsOf(many, Array(9).fill('OK')), []).split('\n');
    expect(rows.length).toBeGreaterThan(2);
    expect(rows.join(' ').match(/a call of some length \d/g)).toHaveLength(9);
    expect(rows.filter((row) => row.endsWith('OK'))).toHaveLength(1);
  });

  it('keeps what went wrong out of the table, and tells it apart', () => {
    const some = fault(['attach', 'mount']);
    const results = resultsOf(some, ['OK', 'broken']);
    expect(rowsOf(some, results, [])).toContain('FAILED, see below');
    expect(failuresOf(some, results)).toEqual(['FAILED driver: hangs: mount: broken']);
  });
});
