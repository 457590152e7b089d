/** The parts of `npm run crash` that decide without a plugin: what they overlook, it overlooks. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { difference } from './check.ts';
import { differences } from './contents.ts';
import { Pace } from './pace.ts';
import { Random } from './random.ts';

describe('what is expected and what is found', () => {
  it.each([
    [[], [], []],
    [['a', 'b'], ['b', 'a'], []],
    [['a'], [], ['missing: a']],
    [[], ['a'], ['1 too many: a']],
    // Mounted twice, one over the other.
    [['a'], ['a', 'a', 'a'], ['2 too many: a']],
  ])('of %j and %j: %j', (expected, found, told) => {
    expect(difference(expected, found)).toEqual(told);
  });

  it('of files: what is lost, changed, or came from elsewhere', () => {
    const expected = new Map([
      ['same', '1'],
      ['changed', '2'],
      ['gone', '3'],
    ]);
    const found = new Map([
      ['same', '1'],
      ['changed', 'other'],
      ['strange', '4'],
    ]);
    expect(differences(expected, expected)).toEqual([]);
    expect(differences(expected, found)).toEqual([
      'gone: lost',
      'changed: has other bytes',
      'strange: was never written there',
    ]);
  });
});

describe('random decisions', () => {
  const draw = (random: Random): number[] => Array.from({ length: 20 }, () => random.next());

  it('are the same for the same seed, and others for another', () => {
    expect(draw(new Random(1))).toEqual(draw(new Random(1)));
    expect(draw(new Random(1))).not.toEqual(draw(new Random(2)));
  });

  it('of one stream do not depend on another', () => {
    const random = new Random(1);
    const fresh = draw(random.fork('a'));
    draw(random);
    expect(draw(random.fork('a'))).toEqual(fresh);
    expect(draw(random.fork('b'))).not.toEqual(fresh);
  });

  it('stay within their bounds, and reach them', () => {
    const random = new Random(3);
    const drawn = new Set(Array.from({ length: 500 }, () => random.whole(2, 4)));
    expect([...drawn].sort()).toEqual([2, 3, 4]);
  });
});

describe('the pace', () => {
  it('brings workers to rest, and lets them go on', async () => {
    const pace = new Pace(2);
    const steps = [0, 0];
    const works = [0, 1].map(async (index) => {
      while ((steps[index] ?? 0) < 1000) {
        await pace.pass();
        steps[index] = (steps[index] ?? 0) + 1;
        await sleep(0);
      }
      pace.leave();
    });
    for (let round = 0; round < 3; round++) {
      await pace.rest();
      const before = [...steps];
      await sleep(10);
      expect(steps).toEqual(before);
      pace.resume();
    }
    await Promise.all(works);
    expect(steps).toEqual([1000, 1000]);
    // Nobody is left to wait for.
    await pace.rest();
  });
});
