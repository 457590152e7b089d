import { describe, expect, it } from 'vitest';
import { createMask } from '../src/secrets.ts';

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
  ])('hides a value %s', (_how, form) => {
    const text = mask(`before ${form} after`);
    expect(text).toContain('***');
    expect(text).not.toContain(form);
    expect(text).toMatch(/^before .*after$/);
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

  it('changes nothing without a value', () => {
    expect(createMask([])('text')).toBe('text');
    expect(createMask([''])('text')).toBe('text');
  });

  it('puts no meaning into a value that looks like a pattern', () => {
    expect(createMask(['$&.*(a+)+$'])('x $&.*(a+)+$ y')).toBe('x *** y');
  });
});
