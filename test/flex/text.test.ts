import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { oneLine } from '../../src/flex/text.ts';

describe('oneLine', () => {
  it.each([
    ['one', 'one'],
    ['  one \n\n two\r\nthree\n', 'one | two | three'],
    ['a\u2028b\u2029c\u0085d', 'a | b | c | d'],
    ['\u001b[31mred\u001b[0m', 'red'],
    ['a\0b\x07c\td', 'a b c d'],
    ['\u202egnp.exe\u202c', 'gnp.exe'],
    ['half\ud83d', 'half\ufffd'],
    ['é 😀 "q"', 'é 😀 "q"'],
    ['', ''],
  ])('shows %j as %j', (text, expected) => {
    expect(oneLine(text, 300)).toBe(expected);
  });

  it('cuts between characters and says so', () => {
    expect(oneLine('ééé', 5)).toBe('éé…');
    expect(oneLine('😀😀', 7)).toBe('😀…');
    expect(oneLine('abc', 3)).toBe('abc');
    expect(oneLine(`${' '.repeat(10_000)}abc`, 3)).toBe('…');
  });

  it('is always one bounded, well-formed line', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), fc.nat(60), (text, limit) => {
        const line = oneLine(`${text}\ud800`, limit + 1);
        expect(line.isWellFormed()).toBe(true);
        expect(line).not.toMatch(/[\p{Cc}\u2028\u2029]/u);
        expect(Buffer.byteLength(line)).toBeLessThanOrEqual(limit + 4);
      }),
    );
  });
});
