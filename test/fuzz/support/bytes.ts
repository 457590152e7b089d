/** Arbitrary bytes and texts that break parsers, and ways to spoil good ones. */
import fc from 'fast-check';

/** Bytes of any kind; biased towards what texts are made of. */
export const anyBytes: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc
    .array(fc.constantFrom(...Buffer.from('{}[]",:\\ \n\tu0aeE+-.1ſtnf/\0\x7f')), { maxLength: 80 })
    .map(asBytes),
);

/** Any text, lone surrogates left out. */
export const anyText: fc.Arbitrary<string> = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({
    unit: fc.constantFrom(...'<>&"\\\b\f\n\v\0\x7f\u2028\u2029é\uffff\ue000😀/ =,;:%+\'`$#-{}[]*?~'),
    maxLength: 30,
  }),
);

export function asBytes(bytes: readonly number[]): Uint8Array {
  return Uint8Array.from(bytes);
}

/** One change of a text: something cut out, doubled, put in, or a bit turned over, at a place between 0 and 1. */
export interface Spoil {
  readonly at: number;
  readonly how: 'cut' | 'head' | 'tail' | 'double' | 'insert' | 'flip';
  readonly length: number;
  readonly bytes: Uint8Array;
}

export const spoils: fc.Arbitrary<readonly Spoil[]> = fc.array(
  fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    how: fc.constantFrom<Spoil['how']>('cut', 'head', 'tail', 'double', 'insert', 'flip'),
    length: fc.nat({ max: 12 }),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 6 }),
  }),
  { maxLength: 3 },
);

export function spoiled(good: Uint8Array, changes: readonly Spoil[]): Uint8Array {
  let bytes = Buffer.from(good);
  for (const { at, how, length, bytes: others } of changes) {
    const from = Math.floor(at * bytes.length);
    const before = bytes.subarray(0, from);
    const piece = bytes.subarray(from, from + length);
    const after = bytes.subarray(from + length);
    if (how === 'cut') bytes = Buffer.concat([before, after]);
    else if (how === 'head') bytes = Buffer.from(before);
    else if (how === 'tail') bytes = Buffer.from(bytes.subarray(from));
    else if (how === 'double') bytes = Buffer.concat([before, piece, piece, after]);
    else if (how === 'insert') bytes = Buffer.concat([before, others, bytes.subarray(from)]);
    else if (from < bytes.length)
      bytes = Buffer.from(bytes.map((byte, i) => (i === from ? byte ^ (1 << (length % 8)) : byte)));
  }
  return bytes;
}
