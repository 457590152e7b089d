import { describe, expect, it } from 'vitest';
import { Places } from '../../src/flex/places.ts';

/** Work that ends when told. */
function work(log: string[], name: string) {
  const { promise, resolve } = Promise.withResolvers<void>();
  return {
    end: resolve,
    run: async () => {
      log.push(name);
      await promise;
      return name;
    },
  };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('places', () => {
  it('let in as many as there are, the others in the order in which they came', async () => {
    const places = new Places(2);
    const log: string[] = [];
    const works = ['a', 'b', 'c', 'd', 'e'].map((name) => work(log, name));
    const results = works.map(({ run }) => places.use(run));
    await settled();
    expect(log).toEqual(['a', 'b']);
    works[1]?.end();
    await settled();
    expect(log).toEqual(['a', 'b', 'c']);
    for (const { end } of works) end();
    expect(await Promise.all(results)).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(log).toEqual(['a', 'b', 'c', 'd', 'e']);
  });

  it('are given back by work that fails', async () => {
    const places = new Places(1);
    await expect(places.use(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await places.use(async () => 'yes')).toBe('yes');
  });

  it('are lent by work that hangs, and not given back twice', async () => {
    const places = new Places(1, 20);
    const log: string[] = [];
    const hung = work(log, 'hung');
    const next = work(log, 'next');
    const last = work(log, 'last');
    const results = [hung, next, last].map(({ run }) => places.use(run));
    await expect.poll(() => log).toContain('next');
    hung.end();
    await results[0];
    // Its end frees no second place; `next` lends its own in time.
    expect(log.indexOf('last')).not.toBe(1);
    await expect.poll(() => log).toEqual(['hung', 'next', 'last']);
    next.end();
    last.end();
    await Promise.all(results);
    const [one, two] = [work(log, 'one'), work(log, 'two')];
    const again = [places.use(one.run), places.use(two.run)];
    await settled();
    expect(log.slice(3)).toEqual(['one']);
    one.end();
    two.end();
    await Promise.all(again);
  });
});
