import { describe, expect, test } from 'vitest';
import { growthOf, median, percentile } from './trend.ts';

const tolerance = { part: 0.15, amount: 20 };

describe('growthOf', () => {
  test.each([
    ['grows by more than both', [100, 100, 100, 100, 150, 150], { from: 100, to: 150 }],
    ['grows only at first', [10, 50, 100, 100, 101, 99], undefined],
    ['grows by much, but little of the whole', [1000, 1000, 1000, 1000, 1100, 1100], undefined],
    ['doubles, but only by little', [5, 5, 5, 5, 10, 10], undefined],
    ['has a peak', [100, 100, 100, 100, 100, 900, 100, 100, 100], undefined],
    ['shrinks', [300, 300, 200, 200, 100, 100], undefined],
    ['there is nothing to compare', [], undefined],
  ] as const)('%s', (_name, values, growth) => {
    expect(growthOf(values, tolerance)).toEqual(growth);
  });
});

describe('percentile', () => {
  test.each([
    [[3, 1, 2], 0.5, 2],
    [[1, 2, 3, 4], 0.5, 2],
    [[1, 2, 3, 4], 0.99, 4],
    [[7], 0.01, 7],
    [[], 0.5, Number.NaN],
  ] as const)('of %j, %d', (values, part, expected) => {
    expect(percentile(values, part)).toBe(expected);
  });

  test('the median is the middle one', () => {
    expect(median([9, 1, 5])).toBe(5);
  });
});
