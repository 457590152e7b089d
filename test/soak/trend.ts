/** Whether something grows. Pure. */

/** What is tolerated: a growth counts when it is more than both. */
export interface Tolerance {
  /** Of the earlier value. */
  readonly part: number;
  /** In the unit of the values. */
  readonly amount: number;
}

export interface Growth {
  readonly from: number;
  readonly to: number;
}

/**
 * The growth from the second to the last third of the values, by their medians; undefined when it is within the
 * tolerance. The first third does not count: caches fill, code is compiled.
 */
export function growthOf(values: readonly number[], { part, amount }: Tolerance): Growth | undefined {
  const third = Math.ceil(values.length / 3);
  const from = median(values.slice(third, 2 * third));
  const to = median(values.slice(2 * third));
  return to - from > amount && to > from * (1 + part) ? { from, to } : undefined;
}

/** NaN of none. */
export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** The smallest value that so large a part of all does not pass; NaN of none. */
export function percentile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)] ?? Number.NaN;
}
