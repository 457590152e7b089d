import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type JsonObject, parseJson } from '../../src/flex/json.ts';
import { driverOptions, encodeOptions, type MountDetails } from '../../src/flex/options.ts';

const pod = { name: 'web-0', namespace: 'shop', uid: 'u-1', serviceAccount: 'sa' };
const plain = { volumeName: 'pv-1', fsType: 'ext4', readOnly: false, options: {} };
const mount: MountDetails = { pod, secrets: {}, groupKey: 'current' };

describe('driverOptions', () => {
  it('gives every verb the file system type, the access and the name', () => {
    expect(driverOptions({ ...plain, options: { id: '7' } })).toEqual({
      'kubernetes.io/fsType': 'ext4',
      'kubernetes.io/readwrite': 'rw',
      'kubernetes.io/pvOrVolumeName': 'pv-1',
      id: '7',
    });
    expect(driverOptions({ ...plain, readOnly: true })).toMatchObject({ 'kubernetes.io/readwrite': 'ro' });
  });

  it('gives mount the pod, also what is not known of it', () => {
    const unknown = { name: '', namespace: '', uid: '', serviceAccount: '' };
    expect(driverOptions({ ...plain, mount: { ...mount, pod: unknown } })).toMatchObject({
      'kubernetes.io/pod.name': '',
      'kubernetes.io/pod.namespace': '',
      'kubernetes.io/pod.uid': '',
      'kubernetes.io/serviceAccount.name': '',
    });
  });

  it('gives mount the secrets as base64 of their bytes', () => {
    const secrets = { text: 'pä', bytes: Uint8Array.of(0, 255, 254), empty: '' };
    expect(driverOptions({ ...plain, mount: { ...mount, secrets } })).toMatchObject({
      'kubernetes.io/secret/text': 'cMOk',
      'kubernetes.io/secret/bytes': 'AP/+',
      'kubernetes.io/secret/empty': '',
    });
  });

  it.each([
    ['current', ['kubernetes.io/mounterArgs.FsGroup']],
    ['legacy', ['kubernetes.io/fsGroup']],
    ['both', ['kubernetes.io/fsGroup', 'kubernetes.io/mounterArgs.FsGroup']],
  ] as const)('writes the group under the %s key, also 0', (groupKey, keys) => {
    const options = driverOptions({ ...plain, mount: { ...mount, group: '0', groupKey } });
    expect(
      Object.keys(options)
        .filter((key) => /group/i.test(key))
        .sort(),
    ).toEqual(keys);
    for (const key of keys) expect(options[key]).toBe('0');
    const without = driverOptions({ ...plain, mount: { ...mount, groupKey } });
    expect(Object.keys(without).filter((key) => /group/i.test(key))).toEqual([]);
  });

  it('joins mount flags, and leaves the key out when there are none', () => {
    expect(driverOptions({ ...plain, mountFlags: ['vers=3.0', 'noatime'] })).toMatchObject({
      'csi/mountOptions': 'vers=3.0,noatime',
    });
    expect(driverOptions({ ...plain, mountFlags: [] })).not.toHaveProperty('csi/mountOptions');
  });

  it("lets the volume's own options win over all of them", () => {
    const input = { ...plain, mountFlags: ['a'], mount: { ...mount, secrets: { p: 'real' }, group: '1' } };
    const keys = Object.keys(driverOptions(input));
    const own = Object.fromEntries(keys.map((key) => [key, 'own']));
    expect(driverOptions({ ...input, options: own })).toEqual(own);
  });

  it('keeps keys that mean something to JavaScript', () => {
    const options = JSON.parse('{"__proto__":"a","constructor":"b"}');
    const secrets = JSON.parse('{"__proto__":"c"}');
    const text = encodeOptions(driverOptions({ ...plain, options, mount: { ...mount, secrets } }));
    expect(text).toContain('"__proto__":"a"');
    expect(text).toContain('"constructor":"b"');
    expect(text).toContain('"kubernetes.io/secret/__proto__":"Yw=="');
  });
});

/** Go's rules once more, from JSON.stringify's side. */
function reference(options: Record<string, string>): string {
  const encode = (text: string) =>
    JSON.stringify(text).replace(
      /[<>&\u2028\u2029]/g,
      (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
  const codePoints = (text: string) =>
    Array.from(text, (c) => (c.codePointAt(0) ?? 0).toString(16).padStart(6, '0')).join('');
  const keys = Object.keys(options).sort((a, b) => (codePoints(a) < codePoints(b) ? -1 : 1));
  return `{${keys.map((key) => `${encode(key)}:${encode(options[key] ?? '')}`).join(',')}}`;
}

describe('encodeOptions', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({
      unit: fc.constantFrom(
        '<',
        '>',
        '&',
        '"',
        '\\',
        '\b',
        '\f',
        '\n',
        '\v',
        '\0',
        '\x7f',
        '\u2028',
        '\u2029',
        'é',
        '\uffff',
        '\ue000',
        '😀',
      ),
    }),
  );

  it('writes what parses back to the same map, and equals a reference of another make', () => {
    fc.assert(
      fc.property(fc.dictionary(text, text), (options) => {
        const encoded = encodeOptions(options);
        // Not by JSON.parse: that of Node 26 (V8 14.6) takes keys that end in an escape for one another.
        const { members } = parseJson(Buffer.from(encoded)) as JsonObject;
        expect(Object.fromEntries(members)).toEqual(options);
        expect(encoded).toBe(reference(options));
      }),
      { numRuns: 2000 },
    );
  });

  it('writes each byte that was not UTF-8 as \\ufffd, and sorts by that byte', () => {
    expect(encodeOptions({ 'k\udcff': '1', 'k\udc80': '2', ké: '3', k: 'a\udce2\udc82b\ufffd' })).toBe(
      '{"k":"a\\ufffd\\ufffdb\ufffd","k\\ufffd":"2","ké":"3","k\\ufffd":"1"}',
    );
  });

  it('writes any other lone surrogate as \\ufffd too', () => {
    expect(encodeOptions({ a: '\ud800', b: 'x\udfff', c: '😀\udc80' })).toBe(
      '{"a":"\\ufffd","b":"x\\ufffd","c":"😀\\ufffd"}',
    );
  });
});
