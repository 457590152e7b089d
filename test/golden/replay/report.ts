/** The sum of a replay, for people. */
import { rules } from './exceptions.ts';
import type { Replayed } from './replay.ts';

export function report(results: readonly Replayed[]): string {
  const failed = results.filter(({ problems }) => problems.length > 0);
  const good = results.filter(({ problems }) => problems.length === 0);
  const excepted = good.filter(({ exceptions }) => exceptions.length > 0);
  const passed = good.length - excepted.length;
  return [
    `golden: ${passed} passed, ${failed.length} failed, ${excepted.length} excepted`,
    ...rules.flatMap(({ name, why }) => {
      const count = excepted.filter(({ exceptions }) => exceptions.includes(name)).length;
      return count === 0 ? [] : [`  excepted ${count}: ${name} (${why})`];
    }),
  ].join('\n');
}
