/** Places: `--topology`, the driver's `topology`, and which volume is usable where. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Failure } from '../../../src/errors.ts';
import { Fields } from '../../../src/flex/fields.ts';
import { JsonObject, parseJson } from '../../../src/flex/json.ts';
import {
  checkSegments,
  formatTopologies,
  isWithin,
  parseSegments,
  readTopologies,
} from '../../../src/flex/topology.ts';
import { anyText } from '../support/bytes.ts';
import { anyValue, objectOf, stringOf } from '../support/json-model.ts';
import { target } from '../target.ts';

const letters = 'abzABZ019';
const label = fc
  .tuple(
    fc.constantFrom(...letters),
    fc.string({ unit: fc.constantFrom(...letters, '-', '_', '.'), maxLength: 66 }),
    fc.constantFrom('', ...letters),
  )
  .map((parts) => parts.join(''));
const prefix = fc.constantFrom(
  '',
  '',
  'example.com/',
  'a.b/',
  'Example.com/',
  `${'a'.repeat(64)}/`,
  '/',
  'a..b/',
);
const pairText = fc.tuple(
  prefix,
  fc.oneof(label, anyText),
  fc.constantFrom('=', '=', '=', '', '=='),
  fc.oneof(label, anyText),
);
const segmentsText = fc.oneof(
  anyText,
  fc
    .array(
      pairText.map((parts) => parts.join('')),
      { maxLength: 4 },
    )
    .map((pairs) => pairs.join(',')),
);

/** docs/driver-contract.md, "Topology and the number of volumes". */
function isAllowed(text: string): boolean {
  const pairs = text.split(',').map((pair) => pair.split('='));
  if (pairs.some((pair) => pair.length !== 2)) return false;
  const keys = pairs.map(([key]) => key ?? '');
  const word = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
  const domain = /^(?=.{1,63}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/;
  const prefixes = keys.map((key) => (key.includes('/') ? key.slice(0, key.indexOf('/')) : undefined));
  return (
    keys.every((key) => word.test(key.includes('/') ? key.slice(key.indexOf('/') + 1) : key)) &&
    prefixes.every((one) => one === undefined || domain.test(one)) &&
    pairs.every(([, value]) => word.test(value ?? '')) &&
    new Set(prefixes).size === 1 &&
    new Set(keys.map((key) => key.toLowerCase())).size === keys.length
  );
}

export const topologyText = target({
  name: 'topology',
  what: 'a text is a place exactly where the contract says so, and is written back as it was',
  share: 6,
  begin: () => ({
    of: segmentsText,
    holds: (text) => {
      const segments = attempt(() => parseSegments(text), 'invalid-request');
      assert.equal(segments !== undefined, isAllowed(text), JSON.stringify(text));
      if (segments === undefined) return;
      const written = formatTopologies([segments]);
      assert.deepEqual(written.split(',').sort(), text.split(',').sort());
      assert.deepEqual(parseSegments(written), segments);
    },
  }),
});

/** Of keys that differ, also in their case only: others are no place. */
const place = objectOf(
  fc
    .tuple(label.chain(stringOf), label.chain(stringOf))
    .map(([key, { bytes, says }]) => [key, { bytes, says: { kind: 'string', value: says } }] as const),
).filter(({ says }) => new Set(says.members.map(([key]) => key.toLowerCase())).size === says.members.length);

export const topologyAnswer = target({
  name: 'topology-answer',
  what: "a driver's topology is read, or named as wrong; a volume is where its places meet the request's",
  share: 4,
  begin: () => ({
    of: fc.tuple(
      fc.oneof(anyValue, place),
      fc.array(place, { maxLength: 3 }),
      fc.array(place, { maxLength: 3 }),
    ),
    holds: ([any, volume, wanted]) => {
      const object = parseJson(Buffer.concat([Buffer.from('{"Topology":'), any.bytes, Buffer.from('}')]));
      assert.ok(object instanceof JsonObject);
      const read = attempt(() => readTopologies(new Fields([object]), 'topology'), 'driver-failed');
      for (const segments of read ?? []) attempt(() => checkSegments(segments, 'x'), 'driver-failed');
      const [ours, theirs] = [volume, wanted].map((list) =>
        list.map(({ says }) =>
          Object.fromEntries(
            says.members.map(([key, value]) => [key, value.kind === 'string' ? value.value : '']),
          ),
        ),
      );
      if (ours === undefined || theirs === undefined) return;
      assert.equal(isWithin(ours, theirs), isWithin(theirs, ours));
      assert.ok(isWithin(ours, ours));
      assert.ok(isWithin(ours, []));
      // More places, more room.
      if (isWithin(ours, theirs) && theirs.length > 0) assert.ok(isWithin(ours, [...theirs, { x: 'y' }]));
    },
  }),
});

/** Undefined for a Failure of that kind, of one line; anything else is thrown on. */
function attempt<T>(work: () => T, kind: Failure['kind']): T | undefined {
  try {
    return work();
  } catch (error) {
    assert.ok(error instanceof Failure, String(error));
    assert.equal(error.kind, kind);
    assert.match(error.message, /^[^\r\n]{1,700}$/u);
    return undefined;
  }
}
