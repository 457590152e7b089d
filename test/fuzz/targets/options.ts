/** The options: which keys a verb gets, and the bytes that carry them. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  modifyOptions,
  namedOptions,
  provisionOptions,
  snapshotOptions,
} from '../../../src/flex/extended-options.ts';
import { JsonObject, parseJson } from '../../../src/flex/json.ts';
import { driverOptions, encodeOptions } from '../../../src/flex/options.ts';
import { redactArgument } from '../../../src/flex/redact.ts';
import { noSecrets } from '../../../src/secrets.ts';
import { anyText } from '../support/bytes.ts';
import { recordedOptions } from '../support/golden.ts';
import { target } from '../target.ts';

export const key = fc.oneof(
  anyText,
  fc.constantFrom('__proto__', 'constructor', 'dir', 'size', '10', '9', 'a', 'a/b', 'ä', '\uffff', '😀', ''),
  fc.constantFrom('kubernetes.io/fsType', 'kubernetes.io/readwrite', 'csi/mountOptions', 'requestBytes'),
);
export const map = fc
  .array(fc.tuple(key, anyText), { maxLength: 8 })
  .map((pairs) => Object.fromEntries(pairs));

/**
 * docs/driver-contract.md, "The options": one object of strings, keys sorted by their bytes, no spaces; `\"` `\\`
 * `\b` `\f` `\n` `\r` `\t`; other control characters, `<` `>` `&`, U+2028 and U+2029 as `\u` and four lower-case
 * digits; all else as it is.
 */
function written(options: Readonly<Record<string, string>>): Buffer {
  const pairs = Object.entries(options).map(
    ([name, value]) => [Buffer.from(name), Buffer.from(value)] as const,
  );
  pairs.sort(([a], [b]) => (a.toString('hex') < b.toString('hex') ? -1 : 1));
  const members = pairs.map(([name, value]) =>
    Buffer.concat([quoted(name), Buffer.from(':'), quoted(value)]),
  );
  const bytes: number[] = [0x7b];
  for (const member of members) {
    if (bytes.length > 1) bytes.push(0x2c);
    bytes.push(...member);
  }
  return Buffer.from([...bytes, 0x7d]);
}

const named: Readonly<Record<number, string>> = {
  34: '"',
  92: '\\',
  8: 'b',
  12: 'f',
  10: 'n',
  13: 'r',
  9: 't',
};

/** Byte by byte: the two separators are the only ones above ASCII that are escaped, E2 80 A8 and E2 80 A9. */
function quoted(utf8: Buffer): Buffer {
  let out = '"';
  for (let at = 0; at < utf8.length; at += 1) {
    const byte = utf8[at] ?? 0;
    const letter = named[byte];
    const last = utf8[at + 2];
    if (letter !== undefined) out += `\\${letter}`;
    else if (byte < 0x10) out += `\\u000${'0123456789abcdef'[byte]}`;
    else if (byte < 0x20) out += `\\u001${'0123456789abcdef'[byte - 0x10]}`;
    else if (byte === 0x3c) out += '\\u003c';
    else if (byte === 0x3e) out += '\\u003e';
    else if (byte === 0x26) out += '\\u0026';
    else if (byte === 0xe2 && utf8[at + 1] === 0x80 && (last === 0xa8 || last === 0xa9)) {
      out += last === 0xa8 ? '\\u2028' : '\\u2029';
      at += 2;
    } else out += String.fromCharCode(byte);
  }
  return Buffer.from(`${out}"`, 'latin1');
}

export const encoder = target({
  name: 'options',
  what: 'options are written in the bytes of the contract, and read back as they were',
  share: 10,
  begin: () => {
    const golden = recordedOptions();
    // The oracle itself is right: it writes what kubelet wrote.
    for (const { given, text } of golden) {
      const all = {
        'kubernetes.io/fsType': given.fsType,
        'kubernetes.io/readwrite': given.readOnly ? 'ro' : 'rw',
        'kubernetes.io/pvOrVolumeName': given.pvName,
        ...given.options,
      };
      assert.equal(written(all).toString(), text);
    }
    assert.ok(golden.length > 10);
    const recorded = fc.constantFrom(...golden.map(({ given }) => given.options ?? {}));
    return {
      of: fc.oneof(
        map,
        fc.tuple(recorded, map).map((two) => Object.assign({}, ...two) as Record<string, string>),
      ),
      holds: (options) => {
        const text = encodeOptions(options);
        assert.equal(text, written(options).toString());
        const read = parseJson(Buffer.from(text));
        assert.ok(read instanceof JsonObject);
        assert.deepEqual(Object.fromEntries(read.members), options);
      },
    };
  },
});

const names = fc.oneof(fc.constantFrom('pv-1', 'v'), anyText);
const modes = fc.constantFrom('ro', 'rw');
const text = anyText;

export const keys = target({
  name: 'options-keys',
  what: "own options win over kubelet's keys, flexcsi's keys over parameters, and no secret is shown",
  share: 4,
  begin: () => ({
    of: fc.record({
      options: map,
      secrets: map,
      name: names,
      fsType: text,
      mode: modes,
      group: fc.option(fc.nat()),
    }),
    holds: ({ options, secrets, name, fsType, mode, group }) => {
      const pod = { name: 'p', namespace: 'n', uid: 'u', serviceAccount: 's' };
      const common = { volumeName: name, fsType, readOnly: mode === 'ro', options };
      const kubelet = {
        'kubernetes.io/fsType': fsType,
        'kubernetes.io/readwrite': mode,
        'kubernetes.io/pvOrVolumeName': name,
      };
      assert.deepEqual(driverOptions(common), { ...kubelet, ...options });
      const base64 = (prefix: string) =>
        Object.fromEntries(
          Object.entries(secrets).map(([key, value]) => [
            prefix + key,
            btoa(String.fromCharCode(...Buffer.from(value))),
          ]),
        );
      const secret = base64('kubernetes.io/secret/');
      const groupKey = 'both';
      const mount = driverOptions({
        ...common,
        mount: { pod, secrets, groupKey, ...(group === null ? {} : { group: String(group) }) },
      });
      assert.deepEqual(mount, {
        ...kubelet,
        ...secret,
        ...(group === null
          ? {}
          : { 'kubernetes.io/mounterArgs.FsGroup': String(group), 'kubernetes.io/fsGroup': String(group) }),
        'kubernetes.io/pod.name': 'p',
        'kubernetes.io/pod.namespace': 'n',
        'kubernetes.io/pod.uid': 'u',
        'kubernetes.io/serviceAccount.name': 's',
        ...options,
      });
      const own = { 'kubernetes.io/pvOrVolumeName': name, ...secret };
      const volume = { name, options };
      assert.deepEqual(namedOptions(volume, secrets), { ...options, ...own });
      const prefixed = Object.fromEntries(
        Object.entries(options).map(([key, value]) => [`csi/parameter/${key}`, value]),
      );
      assert.deepEqual(modifyOptions(volume, options, secrets), { ...options, ...own, ...prefixed });
      assert.deepEqual(
        snapshotOptions(volume, { name: fsType, parameters: options, topology: [], secrets }),
        {
          ...options,
          ...own,
          'csi/snapshotName': fsType,
          ...prefixed,
        },
      );
      const wish = { fsType, accessModes: [], mountFlags: [], topology: [], secrets };
      assert.deepEqual(
        provisionOptions({ ...wish, name, parameters: options, requestBytes: 1025n * 1024n ** 2n }),
        {
          ...options,
          'kubernetes.io/fsType': fsType,
          ...own,
          requestBytes: '1074790400',
          requestMiB: '1025',
          requestGiB: '2',
        },
      );
      hidesSecrets(mount);
    },
  }),
});

/** In a log every value under a secret's key is masked, and no other. */
function hidesSecrets(options: Readonly<Record<string, string>>): void {
  const shown = parseJson(Buffer.from(redactArgument(encodeOptions(options), noSecrets)));
  assert.ok(shown instanceof JsonObject);
  const expected = Object.entries(options).map(([key, value]) => {
    const isSecret = key.startsWith('kubernetes.io/secret/') || key === 'csi/mountOptions';
    return [key, isSecret ? '***' : value];
  });
  assert.deepEqual(Object.fromEntries(shown.members), Object.fromEntries(expected));
}
