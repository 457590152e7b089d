import { describe, expect, it } from 'vitest';
import { parseAnswer } from '../../src/flex/answer.ts';
import { defaultCapabilities, extension } from '../../src/flex/capabilities.ts';

function capabilities(text: string) {
  const parsed = parseAnswer(Buffer.from(`{"status":"Success"${text}}`));
  if (!parsed.ok) throw new Error(parsed.problem);
  return parsed.answer.capabilities;
}

describe('capabilities', () => {
  it.each(['', ',"capabilities":{}', ',"capabilities":null', ',"capabilities":{"attach":null}'])(
    'are the defaults after %j',
    (text) => {
      expect(capabilities(text)).toEqual(defaultCapabilities);
    },
  );

  it('say whether supportsMetrics was said', () => {
    expect(capabilities('').supportsMetrics).toBeUndefined();
    expect(capabilities(',"capabilities":{"supportsMetrics":false}').supportsMetrics).toBe(false);
    expect(capabilities(',"capabilities":{"supportsMetrics":true}').supportsMetrics).toBe(true);
  });

  it('may be given in parts', () => {
    const parts = ',"capabilities":{"attach":false,"fsGroup":false},"Capabilities":{"FSGROUP":true}';
    expect(capabilities(parts)).toMatchObject({ attach: false, fsGroup: true, selinuxRelabel: true });
  });

  it.each(['{"attach":"false"}', '{"fsGroup":1}', '{"requiresFSResize":{}}', '"all"', '[]'])(
    'of the wrong type are an error: %s',
    (text) => {
      expect(() => capabilities(`,"capabilities":${text}`)).toThrow('the answer\'s "capabilities');
    },
  );

  it('include extensions by any spelling, and ignore what no extension can be', () => {
    const found = capabilities(
      ',"capabilities":{"Provision":true,"secrets":"stdin","snapshot":[],"modifyVolume":7,"clone":false,"CLONE":null}',
    );
    expect(extension(found, 'provision')).toBe(true);
    expect(extension(found, 'SECRETS')).toBe('stdin');
    expect(extension(found, 'clone')).toBe(false);
    expect(extension(found, 'snapshot')).toBeUndefined();
    expect(extension(found, 'modifyVolume')).toBeUndefined();
    expect(extension(found, 'attach')).toBeUndefined();
  });
});
