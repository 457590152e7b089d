import { describe, expect, it } from 'vitest';
import { redactArgument } from '../../src/flex/redact.ts';
import { createMask, noSecrets } from '../../src/secrets.ts';

describe('redactArgument', () => {
  it('hides what carries secrets by its key, and nothing else', () => {
    const json =
      '{"a":"x\\u003cy","csi/mountOptions":"password=p","kubernetes.io/fsType":"ext4","kubernetes.io/secret/k":"c2VjcmV0"}';
    expect(redactArgument(json, noSecrets)).toBe(
      '{"a":"x\\u003cy","csi/mountOptions":"***","kubernetes.io/fsType":"ext4","kubernetes.io/secret/k":"***"}',
    );
  });

  it('shows what only begins like an object', () => {
    for (const name of ['{volume', '{}x', '{"a":']) expect(redactArgument(name, noSecrets)).toBe(name);
  });

  it('hides what the mask knows, anywhere', () => {
    const mask = createMask(['hunter22']);
    expect(redactArgument('{"a":"hunter22"}', mask)).toBe('{"a":"***"}');
    expect(redactArgument('/dev/hunter22', mask)).toBe('/dev/***');
  });
});
