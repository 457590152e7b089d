import { describe, expect, it } from 'vitest';
import { parseAnswer } from '../../src/flex/answer.ts';
import { defaultCapabilities } from '../../src/flex/capabilities.ts';

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
});
