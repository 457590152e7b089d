import { describe, expect, it } from 'vitest';
import { SharedRun } from '../../src/flex/shared-run.ts';

/** A job whose runs end when they are told to. */
function controlled() {
  const runs: { overlapped: number | undefined; gate: PromiseWithResolvers<number> }[] = [];
  const shared = new SharedRun<number>((overlapped) => {
    const gate = Promise.withResolvers<number>();
    runs.push({ overlapped, gate });
    return gate.promise;
  });
  return { runs, shared };
}

describe('SharedRun', () => {
  it('runs once for all who ask while another run is under way', async () => {
    const { runs, shared } = controlled();
    const first = shared.ask();
    const others = [shared.ask(), shared.ask()];
    expect(runs).toHaveLength(1);
    runs[0]?.gate.resolve(1);
    expect(await first).toBe(1);
    const late = shared.ask();
    expect(runs).toHaveLength(2);
    expect(runs[1]?.overlapped).toBe(1);
    runs[1]?.gate.resolve(2);
    expect(await Promise.all(others)).toEqual([2, 2]);
    runs[2]?.gate.resolve(3);
    expect(await late).toBe(3);
    expect(runs).toHaveLength(3);
  });

  it('does not tell a run of one that had ended before', async () => {
    const { runs, shared } = controlled();
    const first = shared.ask();
    runs[0]?.gate.resolve(1);
    await first;
    const second = shared.ask();
    expect(runs[1]?.overlapped).toBeUndefined();
    runs[1]?.gate.resolve(2);
    expect(await second).toBe(2);
  });

  it('goes on after a run that failed', async () => {
    const { runs, shared } = controlled();
    const first = shared.ask();
    const second = shared.ask();
    runs[0]?.gate.reject(new Error('failed'));
    await expect(first).rejects.toThrow('failed');
    await Promise.resolve();
    runs[1]?.gate.resolve(2);
    expect(await second).toBe(2);
  });
});
