import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { target } from './target.ts';
import { functions } from './targets.ts';

/** A few of each here; many, and the whole plugin, by `npm run fuzz`. */
const CASES = 60;

describe('fuzz, a few cases', () => {
  it.each(functions.map((one) => [one.name, one] as const))('%s', async (_, { fuzz }) => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    const { cases, fault } = await fuzz({ cases: CASES, seed, onCase: () => {} });
    expect(fault).toBeUndefined();
    expect(cases).toBe(CASES);
  });
});

describe('target', () => {
  it('tells the seed and the simplest case that fails, and ends the trial once', async () => {
    let ended = 0;
    const { fuzz } = target<number>({
      name: 'small',
      what: 'numbers are small',
      share: 1,
      begin: () => ({
        of: fc.nat({ max: 10_000 }),
        holds: (number) => expect(number).toBeLessThan(500),
        end: async () => {
          ended += 1;
        },
      }),
    });
    const { cases, fault } = await fuzz({ cases: 1_000, seed: 7, onCase: () => {} });
    expect(fault).toMatch(/^seed 7, case \d+; the simplest that fails \(found in \d+ steps\):\n500\n/);
    expect(cases).toBeLessThan(1_000);
    expect(ended).toBe(1);
  });

  it('is tried as often as asked, counting what a case tries at once', async () => {
    let tried = 0;
    const { fuzz } = target({
      name: 'eight',
      what: 'all is well',
      share: 1,
      size: 8,
      begin: () => ({
        of: fc.constant(0),
        holds: () => {
          tried += 1;
        },
      }),
    });
    expect(await fuzz({ cases: 20, seed: 1, onCase: () => {} })).toEqual({ cases: 24 });
    expect(tried).toBe(3);
  });
});

describe('watchdog', () => {
  it('ends a process that does not come back from a case, and says how to see it again', () => {
    const program = `
      import { startWatchdog } from ${JSON.stringify(join(import.meta.dirname, 'watchdog.ts'))};
      const watchdog = startWatchdog(1_000);
      watchdog.watch('npm run fuzz -- --target x --seed 1');
      setTimeout(() => { watchdog.beat(); for (;;); }, 50);
    `;
    const { signal, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
      encoding: 'utf8',
      timeout: 50_000,
    });
    expect(signal).toBe('SIGKILL');
    expect(stderr).toContain(
      'a case does not end; to see it again: npm run fuzz -- --target x --seed 1 --cases 1',
    );
  });
});
