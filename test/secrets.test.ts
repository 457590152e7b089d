import { describe, expect, it } from 'vitest';
import { encodeOptions } from '../src/flex/options.ts';
import { createMask } from '../src/secrets.ts';

const percent = (text: string): string =>
  [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0').toUpperCase()}`).join('');

describe('createMask', () => {
  const secret = 'p&<s\'w "ö\\/rd';
  const mask = createMask([secret]);

  it.each([
    ['as it is', secret],
    ['in base64', Buffer.from(secret).toString('base64')],
    ['in base64 without padding', Buffer.from(secret).toString('base64').replace(/=+$/, '')],
    ['in base64url', Buffer.from(secret).toString('base64url')],
    ['URL-encoded', encodeURIComponent(secret)],
    ['in a form', encodeURIComponent(secret).replaceAll('%20', '+')],
    ['in JSON', JSON.stringify(secret)],
    ['in the trace of a shell', `'${secret.replaceAll("'", "'\\''")}'`],
    ['in a JSON string in a JSON string', JSON.stringify(JSON.stringify(secret))],
    ['in a JSON string four times', [1, 2, 3, 4].reduce((text) => JSON.stringify(text), secret)],
    ['in the options of a driver', encodeOptions({ key: secret })],
    ['URL-encoded to the last character', percent(secret)],
    ['URL-encoded in small letters', percent(secret).toLowerCase()],
    ['URL-encoded as a path', encodeURIComponent(secret).replaceAll('%2F', '/')],
    [
      'all in \\u',
      [...secret].map((one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`).join(''),
    ],
    ['in the trace of a shell in JSON', JSON.stringify(secret.replaceAll("'", "'\\''"))],
  ])('hides a value %s', (_how, form) => {
    const text = mask(`before ${form} after`);
    expect(text).toContain('***');
    expect(text).not.toContain(form);
    expect(text).toMatch(/^before ['"\\{}key:]*\*\*\*['"\\{}]* after$/);
  });

  const long = Array.from({ length: 30 }, (_, index) => `secret ${index}, `).join('');
  const folded = Buffer.from(long)
    .toString('base64')
    .replace(/.{76}/g, (line) => `${line}\n`);
  const coloured = `${long.slice(0, 9)}\u001b[1;31m${long.slice(9, 20)}\u001b[0m${long.slice(20)}`;

  it.each([
    ['folded as base64(1) does', folded],
    ['folded by a program of Windows', folded.replaceAll('\n', '\r\n')],
    ['folded, in JSON', JSON.stringify(folded).slice(1, -1)],
    ['with colours in it', coloured],
    ['with colours in it, in JSON', JSON.stringify(coloured).slice(1, -1)],
  ])('hides a long value %s', (_how, form) => {
    expect(createMask([long])(`before ${form} after`)).toBe('before *** after');
  });

  it('hides each line of a long value, and the value without its last line break', () => {
    const key = '-----BEGIN-----\nabcdefghijklmnop\nqrstuvwxyz012345\n-----END-----\n';
    const text = createMask([key])(`+ echo abcdefghijklmnop; ${key.trim()}; qrstuvwxyz012345`);
    expect(text).not.toMatch(/abcdefg|qrstuvw/);
  });

  it('hides a short value as a whole word only', () => {
    expect(createMask(['ro'])('mounted ro in the grotto, ro')).toBe('mounted *** in the grotto, ***');
  });

  it('leaves nothing of a value that contains another', () => {
    expect(createMask(['secret', 'secret-and-more'])('secret-and-more secret')).toBe('*** ***');
  });

  it('takes values of any size and number', () => {
    const large = Buffer.alloc(200_000, 'k9(*$&').toString();
    expect(createMask([large])(`x ${large} y`)).toBe('x *** y');
    expect(createMask(Array.from({ length: 500 }, (_, n) => `value-${n}-of-many`))('value-77-of-many')).toBe(
      '***',
    );
  });

  // Values are a client's, texts a driver's: no pair of them may stop the process.
  it.each([
    ['backslashes', '\\'.repeat(300), '\\'.repeat(100_000)],
    ['quotes', "'".repeat(300), "'\\''".repeat(30_000)],
    ['percent signs', '%'.repeat(300), '%25'.repeat(50_000)],
    ['one letter', 'a'.repeat(300), 'a'.repeat(500_000)],
  ])('takes no time for many %s', (_what, value, text) => {
    expect(createMask([value])(text).length).toBeLessThan(text.length);
  });

  it('leaves the rest of the text as it is', () => {
    const text = 'é €\\n\\u0041 100% {"a":"b\\"c"} hunter2 \\u00e9';
    expect(createMask(['hunter2'])(text)).toBe(text.replace('hunter2', '***'));
  });

  it('changes nothing without a value', () => {
    expect(createMask([])('text')).toBe('text');
    expect(createMask([''])('text')).toBe('text');
  });

  it('puts no meaning into a value that looks like a pattern', () => {
    expect(createMask(['$&.*(a+)+$'])('x $&.*(a+)+$ y')).toBe('x *** y');
  });
});
