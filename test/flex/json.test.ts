import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Json,
  JsonNumber,
  JsonObject,
  JsonSyntaxError,
  kindOf,
  parseJson,
  parseJsonAt,
} from '../../src/flex/json.ts';

const parse = (text: string | Buffer) => parseJson(Buffer.from(text as string));

/** As JSON.parse would give it. */
function plain(value: Json): unknown {
  if (value instanceof JsonNumber) return Number(value.text);
  if (value instanceof JsonObject)
    return Object.fromEntries(value.members.map(([key, one]) => [key, plain(one)]));
  return Array.isArray(value) ? value.map(plain) : value;
}

describe('parseJson', () => {
  it('reads what JSON.stringify writes', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(undefined, 1, '\t'), (value, indent) => {
        const text = JSON.stringify(value, undefined, indent);
        expect(plain(parse(text))).toEqual(JSON.parse(text));
      }),
    );
  });

  it('accepts what JSON.parse accepts, and nothing else, where text is UTF-8', () => {
    const token = fc.constantFrom(
      ...'{}[],:"\\ \n\t\r01-.eE+',
      'true',
      'false',
      'null',
      '"a"',
      '\\u00e9',
      '\0',
      'é',
      '\f',
      '\u00a0',
      '\ufeff',
    );
    fc.assert(
      fc.property(fc.array(token, { maxLength: 12 }), (tokens) => {
        const text = tokens.join('');
        let expected: unknown;
        try {
          expected = JSON.parse(text);
        } catch {
          expect(() => parse(text)).toThrow(JsonSyntaxError);
          return;
        }
        expect(plain(parse(text))).toEqual(expected);
      }),
      { numRuns: 5000 },
    );
  });

  it('keeps duplicates in order and numbers as they are written', () => {
    const value = parse('{"a":1.0,"b":-0,"a":1e3}');
    expect(value).toEqual(
      new JsonObject([
        ['a', new JsonNumber('1.0')],
        ['b', new JsonNumber('-0')],
        ['a', new JsonNumber('1e3')],
      ]),
    );
  });

  it.each([
    ['ff', '\ufffd'],
    ['e282', '\ufffd\ufffd'],
    ['f09f98', '\ufffd\ufffd\ufffd'],
    ['eda080', '\ufffd\ufffd\ufffd'],
    ['c0af', '\ufffd\ufffd'],
    ['f4908080', '\ufffd\ufffd\ufffd\ufffd'],
    ['e28261', '\ufffd\ufffda'],
    ['c3a9ffc3a9', 'é\ufffdé'],
    ['efbfbd', '\ufffd'],
  ])('reads the bytes %s in a string as %j', (hex, expected) => {
    expect(parse(Buffer.concat([Buffer.from('"'), Buffer.from(hex, 'hex'), Buffer.from('"')]))).toBe(
      expected,
    );
  });

  it.each([
    ['"\\ud83d\\ude00"', '😀'],
    ['"\\ud800"', '\ufffd'],
    ['"\\ud800x"', '\ufffdx'],
    ['"\\udc00"', '\ufffd'],
    ['"\\ud800\\u0041"', '\ufffdA'],
    ['"\\ud800\\ud83d\\ude00"', '\ufffd😀'],
    ['"\\b\\f\\n\\r\\t\\/\\\\\\""', '\b\f\n\r\t/\\"'],
  ])('reads the escapes %s', (text, expected) => {
    expect(parse(text)).toBe(expected);
  });

  it.each([
    ['', 'unexpected end of JSON input (byte 1, line 1)'],
    ['{"a":1', 'unexpected end of JSON input (byte 7, line 1)'],
    ['\ufeff{}', "invalid character '\\xef' looking for beginning of value (byte 1, line 1)"],
    ['{"a":"x\ny"}', "invalid character '\\n' in string literal (byte 8, line 1)"],
    ['{\n"a":1,\n}', "invalid character '}' looking for beginning of object key string (byte 10, line 3)"],
    ["{'a':1}", "invalid character '\\'' looking for beginning of object key string (byte 2, line 1)"],
    ['{"a" 1}', "invalid character '1' after object key (byte 6, line 1)"],
    ['{"a":1 "b":2}', "invalid character '\"' after object key:value pair (byte 8, line 1)"],
    ['[1 2]', "invalid character '2' after array element (byte 4, line 1)"],
    ['{} x', "invalid character 'x' after top-level value (byte 4, line 1)"],
    ['"\\q"', "invalid character 'q' in string escape code (byte 3, line 1)"],
    ['"\\u12g4"', "invalid character 'g' in \\u hexadecimal character escape (byte 6, line 1)"],
    ['trux', "invalid character 'x' in literal true (expecting 'e') (byte 4, line 1)"],
    ['-x', "invalid character 'x' in numeric literal (byte 2, line 1)"],
    ['1.x', "invalid character 'x' after decimal point in numeric literal (byte 3, line 1)"],
    ['1ex', "invalid character 'x' in exponent of numeric literal (byte 3, line 1)"],
  ])('says what is wrong with %j, and where', (text, message) => {
    expect(() => parse(text)).toThrow(message);
  });

  it('reads 10000 levels and refuses one more', () => {
    const nested = (open: string, close: string, levels: number) =>
      open.repeat(levels) + close.repeat(levels);
    expect(kindOf(parse(nested('[', ']', 10_000)))).toBe('array');
    expect(() => parse(nested('[', ']', 10_001))).toThrow('exceeded max depth');
    expect(() => parse('{"a":'.repeat(10_001))).toThrow('exceeded max depth');
  });

  // Each is a mebibyte; quadratic work on it would take minutes.
  it.each([
    ['brackets', '['.repeat(1 << 20)],
    ['escapes', `"${'\\u0000'.repeat((1 << 20) / 6)}"`],
    ['bad bytes', Buffer.concat([Buffer.from('"'), Buffer.alloc(1 << 20, 0xe2), Buffer.from('"')])],
    ['digits', '1'.repeat(1 << 20)],
    ['white space', ' '.repeat(1 << 20)],
    ['members', `{${'"":0,'.repeat((1 << 20) / 5)}"":0}`],
    ['line breaks before an error', `${'\n'.repeat(1 << 20)}x`],
  ])('reads a mebibyte of %s at once', (_, text) => {
    const started = performance.now();
    try {
      parse(text);
    } catch (error) {
      expect(error).toBeInstanceOf(JsonSyntaxError);
    }
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});

describe('parseJsonAt', () => {
  it('reads one value and says where it ends', () => {
    const text = Buffer.from('log {"a":[1]} more {');
    const { value, end } = parseJsonAt(text, 4);
    expect(plain(value)).toEqual({ a: [1] });
    expect(end).toBe(13);
  });
});
