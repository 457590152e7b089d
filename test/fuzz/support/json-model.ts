/**
 * JSON texts whose meaning is known without reading them: each is made together with what it says. The rules are
 * those of Go's `encoding/json`.
 */
import fc from 'fast-check';

export type Meaning =
  | { readonly kind: 'null' }
  | { readonly kind: 'boolean'; readonly value: boolean }
  | { readonly kind: 'number'; readonly text: string }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'array'; readonly items: readonly Meaning[] }
  | { readonly kind: 'object'; readonly members: readonly (readonly [string, Meaning])[] };

/** A piece of JSON: its bytes, and what they say. */
export interface Piece<Said = Meaning> {
  readonly bytes: Buffer;
  readonly says: Said;
}

type ObjectMeaning = Extract<Meaning, { kind: 'object' }>;

const space = fc.constantFrom('', '', '', ' ', '\n', '\t', '\r\n  ');

const hex = (unit: number, upper: boolean): string => {
  const digits = unit.toString(16).padStart(4, '0');
  return `\\u${upper ? digits.toUpperCase() : digits}`;
};

function escaped(character: string, upper: boolean): string {
  const units = Array.from({ length: character.length }, (_, at) => character.charCodeAt(at));
  return units.map((unit) => hex(unit, upper)).join('');
}

const short: readonly (readonly [string, string])[] = [
  ['\\"', '"'],
  ['\\\\', '\\'],
  ['\\/', '/'],
  ['\\b', '\b'],
  ['\\f', '\f'],
  ['\\n', '\n'],
  ['\\r', '\r'],
  ['\\t', '\t'],
];

/** Parts of a string that mean the same whatever stands beside them. */
const part: fc.Arbitrary<Piece<string>> = fc.oneof(
  { weight: 6, arbitrary: fc.string({ unit: 'grapheme-ascii' }).map(plain) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 6 }).map(plain) },
  {
    weight: 2,
    arbitrary: fc.constantFrom(...short).map(([text, value]) => ({ bytes: Buffer.from(text), says: value })),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.string({ unit: 'binary', minLength: 1, maxLength: 2 }), fc.boolean())
      .map(([value, upper]) => ({
        bytes: Buffer.from(Array.from(value, (one) => escaped(one, upper)).join('')),
        says: value,
      })),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Piece<string>>(
      // Half a pair, which is not followed by the other half.
      { bytes: Buffer.from('\\udc80'), says: '\ufffd' },
      { bytes: Buffer.from('\\uD83Dx'), says: '\ufffdx' },
      { bytes: Buffer.from('\\ud83d\\n'), says: '\ufffd\n' },
      { bytes: Buffer.from('\\ud83d\\u0041'), says: '\ufffdA' },
      // Not UTF-8: each byte for itself.
      { bytes: Buffer.of(0xff), says: '\ufffd' },
      { bytes: Buffer.of(0x80), says: '\ufffd' },
      { bytes: Buffer.of(0xc3, 0x78), says: '\ufffdx' },
      { bytes: Buffer.of(0xe2, 0x82, 0x78), says: '\ufffd\ufffdx' },
      { bytes: Buffer.of(0xed, 0xa0, 0x80), says: '\ufffd\ufffd\ufffd' },
      { bytes: Buffer.of(0xc0, 0xaf), says: '\ufffd\ufffd' },
    ),
  },
);

/** As it is, but for what has to be escaped. */
function plain(text: string): Piece<string> {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they have to be escaped
  const spelt = text.replace(/["\\\u0000-\u001f]/g, (character) => escaped(character, false));
  return { bytes: Buffer.from(spelt), says: text };
}

export const string: fc.Arbitrary<Piece<string>> = fc.array(part, { maxLength: 4 }).map((parts) => ({
  bytes: Buffer.concat([Buffer.from('"'), ...parts.map(({ bytes }) => bytes), Buffer.from('"')]),
  says: parts.map(({ says }) => says).join(''),
}));

/** The string, some of its characters escaped. */
export function stringOf(value: string): fc.Arbitrary<Piece<string>> {
  const characters = Array.from(value);
  return fc
    .array(fc.nat({ max: 9 }), { minLength: characters.length, maxLength: characters.length })
    .map((ways) => ({
      bytes: Buffer.from(
        `"${characters.map((one, at) => ((ways[at] ?? 0) === 0 ? escaped(one, at % 2 === 0) : plain(one).bytes.toString())).join('')}"`,
      ),
      says: value,
    }));
}

export const numberText: fc.Arbitrary<string> = fc.oneof(
  fc.integer().map(String),
  fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n }).map(String),
  fc.constantFrom('0', '-0', '1024.0', '1e3', '-1E+2', '0.5', '9223372036854775807', '9223372036854775808'),
  fc.constantFrom('-9223372036854775808', '-9223372036854775809', '1e400', '12345678901234567890123'),
);

const scalar: fc.Arbitrary<Piece> = fc.oneof(
  fc.constant<Piece>({ bytes: Buffer.from('null'), says: { kind: 'null' } }),
  fc
    .boolean()
    .map((value): Piece => ({ bytes: Buffer.from(String(value)), says: { kind: 'boolean', value } })),
  numberText.map((text): Piece => ({ bytes: Buffer.from(text), says: { kind: 'number', text } })),
  string.map(({ bytes, says }): Piece => ({ bytes, says: { kind: 'string', value: says } })),
);

/** Any value. */
export const anyValue: fc.Arbitrary<Piece> = fc.letrec<{ value: Piece }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    scalar,
    arrayOf(tie('value')),
    objectOf(fc.tuple(string, tie('value'))),
  ),
})).value;

export function arrayOf(item: fc.Arbitrary<Piece>): fc.Arbitrary<Piece> {
  return fc.tuple(fc.array(item, { maxLength: 4 }), fc.array(space, { minLength: 2, maxLength: 10 })).map(
    ([items, spaces]): Piece => ({
      bytes: join(
        '[',
        items.map(({ bytes }) => [bytes]),
        ']',
        spaces,
      ),
      says: { kind: 'array', items: items.map(({ says }) => says) },
    }),
  );
}

/** An object of such members, equal keys included. */
export function objectOf(
  member: fc.Arbitrary<readonly [Piece<string>, Piece]>,
  maxLength = 4,
): fc.Arbitrary<Piece<ObjectMeaning>> {
  return fc
    .tuple(fc.array(member, { maxLength }), fc.array(space, { minLength: 2, maxLength: 10 }))
    .map(([members, spaces]) => ({
      bytes: join(
        '{',
        members.map(([key, value]) => [key.bytes, value.bytes]),
        '}',
        spaces,
      ),
      says: { kind: 'object', members: members.map(([key, value]) => [key.says, value.says] as const) },
    }));
}

/** Parts joined by colons, those by commas, with white space where it may be. */
function join(
  open: string,
  groups: readonly (readonly Buffer[])[],
  close: string,
  spaces: readonly string[],
): Buffer {
  let next = 0;
  const gap = (): Buffer => Buffer.from(spaces[next++ % spaces.length] ?? '');
  const tokens: Buffer[] = [Buffer.from(open), gap()];
  groups.forEach((group, index) => {
    if (index > 0) tokens.push(Buffer.from(','), gap());
    group.forEach((part, at) => {
      if (at > 0) tokens.push(Buffer.from(':'), gap());
      tokens.push(part, gap());
    });
  });
  return Buffer.concat([...tokens, Buffer.from(close)]);
}
