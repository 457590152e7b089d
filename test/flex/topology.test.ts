import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Failure } from '../../src/errors.ts';
import { Fields } from '../../src/flex/fields.ts';
import { JsonObject, parseJson } from '../../src/flex/json.ts';
import {
  checkSegments,
  formatTopologies,
  isWithin,
  parseSegments,
  readTopologies,
  type Segments,
} from '../../src/flex/topology.ts';

function failureOf(work: () => unknown): Failure {
  try {
    work();
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('parseSegments', () => {
  it.each<[string, Segments]>([
    ['zone=a', { zone: 'a' }],
    [
      'example.com/zone=a,example.com/Rack=R-7_b.c',
      { 'example.com/zone': 'a', 'example.com/Rack': 'R-7_b.c' },
    ],
    ['constructor=a', { constructor: 'a' } as unknown as Segments],
  ])('reads %s', (text, segments) => {
    expect(parseSegments(text)).toEqual(segments);
  });

  it.each([
    ['', 'expected key=value,key=value, not ""'],
    ['zone', 'expected key=value,key=value, not "zone"'],
    ['zone=a,', 'expected key=value,key=value, not "zone=a,"'],
    ['zone=a=b', 'expected key=value,key=value, not "zone=a=b"'],
    ['zone=a,zone=a', 'the key "zone" is given twice'],
    ['zone=a, rack=1', '" rack" is no topology key'],
    ['__proto__=a', '"__proto__" is no topology key'],
    ['zone=', '"" cannot be the value of the topology key "zone"'],
  ])('refuses %j', (text, message) => {
    const failure = failureOf(() => parseSegments(text));
    expect(failure.kind).toBe('invalid-request');
    expect(failure.message).toContain(message);
  });
});

describe('checkSegments', () => {
  const long = 'x'.repeat(63);

  it.each<[Segments]>([
    [{}],
    [{ zone: 'a' }],
    [{ Zone_1: 'A.b-c_d', rack: '7' }],
    [{ [`${long}/${long}`]: long }],
    [{ '0.example-1.com/z': '0', '0.example-1.com/y': '1' }],
  ])('accepts %j', (segments) => {
    expect(() => checkSegments(segments, 'here')).not.toThrow();
  });

  it.each<[Segments, string]>([
    [{ '': 'a' }, '"" is no topology key'],
    [{ '/zone': 'a' }, '"/zone" is no topology key'],
    [{ 'a/b/c': 'a' }, '"a/b/c" is no topology key'],
    [{ 'Example.com/zone': 'a' }, '"Example.com/zone" is no topology key'],
    [{ 'example..com/zone': 'a' }, '"example..com/zone" is no topology key'],
    [{ '-zone': 'a' }, '"-zone" is no topology key'],
    [{ 'zone.': 'a' }, '"zone." is no topology key'],
    [{ zöne: 'a' }, '"zöne" is no topology key'],
    [{ 'zone\n': 'a' }, 'is no topology key'],
    [{ [`${long}x`]: 'a' }, 'is no topology key'],
    [{ [`${long}x/zone`]: 'a' }, 'is no topology key'],
    [{ zone: '' }, '"" cannot be the value of the topology key "zone"'],
    [{ zone: 'a,b' }, '"a,b" cannot be the value'],
    [{ zone: 'a;b' }, '"a;b" cannot be the value'],
    [{ zone: 'a=b' }, '"a=b" cannot be the value'],
    [{ zone: '_a' }, '"_a" cannot be the value'],
    [{ zone: 'a\n' }, 'cannot be the value'],
    [{ zone: `${long}x` }, 'cannot be the value'],
    [{ zone: 'a', Zone: 'a' }, 'the topology keys "zone" and "Zone" differ only in case'],
    [{ 'a.b/zone': 'a', 'a.c/rack': '1' }, '"a.b/zone" and "a.c/rack" must have the same prefix, or none'],
    [{ zone: 'a', 'a.c/rack': '1' }, '"zone" and "a.c/rack" must have the same prefix, or none'],
  ])('refuses %j', (segments, message) => {
    const failure = failureOf(() => checkSegments(segments, 'capability topology'));
    expect(failure.kind).toBe('driver-failed');
    expect(failure.message).toMatch(/^capability topology: /);
    expect(failure.message).toContain(message);
  });

  it('fails with the kind that the caller names, on one short line', () => {
    const failure = failureOf(() =>
      checkSegments({ [`a\n${'b'.repeat(9_000)}`]: 'x' }, 'x', 'invalid-request'),
    );
    expect(failure.kind).toBe('invalid-request');
    expect(failure.message).not.toContain('\n');
    expect(failure.message.length).toBeLessThan(500);
  });
});

describe('formatTopologies', () => {
  it('sorts keys, and leaves the places in their order of preference', () => {
    expect(
      formatTopologies([
        { zone: 'b', rack: '2' },
        { rack: '1', zone: 'a' },
      ]),
    ).toBe('rack=2,zone=b;rack=1,zone=a');
    expect(formatTopologies([{ 'example.com/rack': '7' }])).toBe('example.com/rack=7');
    expect(formatTopologies([])).toBe('');
  });

  it('writes what parseSegments reads', () => {
    const name = fc.stringMatching(/^[a-z0-9]([-a-z0-9_.]{0,20}[a-z0-9])?$/);
    fc.assert(
      fc.property(fc.dictionary(name, name, { minKeys: 1 }), (segments) => {
        expect(parseSegments(formatTopologies([segments]))).toEqual({ ...segments });
      }),
    );
  });
});

describe('readTopologies', () => {
  function read(text: string) {
    const object = parseJson(Buffer.from(text));
    if (!(object instanceof JsonObject)) throw new Error('not an object');
    return readTopologies(new Fields([object]), 'topology');
  }

  it.each<[string, Segments[] | undefined]>([
    ['{}', undefined],
    ['{"topology":null}', undefined],
    ['{"topology":{"Zone":"a","rack":"7"}}', [{ Zone: 'a', rack: '7' }]],
    ['{"TOPOLOGY":[{"zone":"a"},{"zone":"b"}]}', [{ zone: 'a' }, { zone: 'b' }]],
    ['{"topology":[]}', []],
    ['{"topology":{}}', []],
    ['{"topology":[{"zone":"a"},{}]}', []],
    ['{"topology":{"zone":"a"},"topology":{"zone":"b"},"topology":null}', [{ zone: 'b' }]],
    ['{"topology":{"zone":"a","zone":"b"}}', [{ zone: 'b' }]],
  ])('reads %s', (text, places) => {
    expect(read(text)).toEqual(places);
  });

  it.each([
    ['{"topology":"zone=a"}', 'has a JSON string in that place'],
    ['{"topology":[["zone"]]}', 'has a JSON array in that place'],
    ['{"topology":[null]}', 'has a JSON null in that place'],
    ['{"topology":{"rack":7}}', 'its "rack" is a JSON number'],
    ['{"topology":{"rack":null}}', 'its "rack" is a JSON null'],
    ['{"topology":7,"topology":{"zone":"a"}}', 'has a JSON number in that place'],
  ])('refuses %s', (text, message) => {
    const failure = failureOf(() => read(text));
    expect(failure.kind).toBe('driver-failed');
    expect(failure.message).toBe(
      `the answer's "topology" must be an object of strings or a list of such objects, but ${message}`,
    );
  });
});

describe('isWithin', () => {
  const a1 = { zone: 'a', rack: '1' };
  const a2 = { zone: 'a', rack: '2' };
  const b1 = { zone: 'b', rack: '1' };

  it.each<[string, Segments[], Segments[], boolean]>([
    ['a volume that is usable everywhere', [], [a1], true],
    ['a requirement of nothing', [a1], [], true],
    ['the same place', [a1], [a1], true],
    ['another rack', [a1], [a2], false],
    ['the same rack number in another zone', [a1], [b1], false],
    ['one of several places of the volume', [b1, a2], [a2], true],
    ['one of several wanted places', [a2], [b1, a2], true],
    ['parts of two wanted places', [a2], [a1, b1], false],
    ['a volume of the whole zone', [{ zone: 'a' }], [a2], true],
    ['a volume of another zone', [{ zone: 'a' }], [b1], false],
    ['a rack in the wanted zone', [a2], [{ zone: 'a' }], true],
    ['a rack in another zone', [a2], [{ zone: 'b' }], false],
    ['places that have no key in common', [{ rack: '1' }], [{ zone: 'a' }], true],
    ['a key in another case', [{ Zone: 'a' }], [{ zone: 'b' }], false],
    ['a value in another case', [{ zone: 'A' }], [{ zone: 'a' }], false],
    [
      'a key that objects have by birth',
      [{ constructor: 'a' } as unknown as Segments],
      [{ zone: 'a' }],
      true,
    ],
  ])('%s', (_, volume, requisite, expected) => {
    expect(isWithin(volume, requisite)).toBe(expected);
  });
});
