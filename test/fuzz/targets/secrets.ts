/** Masks: no secret survives in a text that people read, in any of its usual spellings. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { secretValues, stripSecrets } from '../../../src/csi/proto.ts';
import { statusMessage } from '../../../src/csi/status.ts';
import { oneLine } from '../../../src/flex/text.ts';
import { createMask } from '../../../src/secrets.ts';
import { anyText } from '../support/bytes.ts';
import { formsOf } from '../support/forms.ts';
import { target } from '../target.ts';

/** Not the mask's own stars: what is left of a text and the mask could be such a secret. */
const secret = fc
  .oneof(
    fc.string({
      unit: fc.constantFrom(...'abcXYZ019+/=&%$"\'\\ é😀<>-_.!?#\n\t'),
      minLength: 5,
      maxLength: 40,
    }),
    fc.string({ unit: 'grapheme', minLength: 6, maxLength: 20 }),
    fc.constant(`-----BEGIN KEY-----\n${'MIIEpAIBAAKCAQEA7'.repeat(8)}\n-----END KEY-----\n`),
  )
  // One that is mostly spaces is in many texts.
  .filter((text) => text.trim().length >= 5 && !text.includes('*'));

const around = anyText.filter((text) => !text.includes('*'));

export const masks = target({
  name: 'secrets',
  what: 'a secret does not survive in a masked text: plain, base64, URL-encoded, escaped as JSON or by a shell',
  share: 8,
  begin: () => ({
    of: fc.tuple(
      fc.array(secret, { minLength: 1, maxLength: 3 }),
      fc.array(fc.tuple(around, fc.nat(), fc.nat()), { minLength: 1, maxLength: 5 }),
    ),
    holds: ([secrets, parts]) => {
      const text = parts
        .map(([words, which, how]) => {
          const forms = formsOf(secrets[which % secrets.length] ?? '');
          return `${words} ${forms[how % forms.length]} `;
        })
        .join('');
      const masked = createMask(secrets)(text);
      for (const shown of [masked, oneLine(masked, 1024), statusMessage(masked)]) {
        for (const form of secrets.flatMap(formsOf)) {
          assert.ok(!shown.includes(form), `${JSON.stringify(form)} is left in ${JSON.stringify(shown)}`);
        }
      }
    },
  }),
});

export const lines = target({
  name: 'one-line',
  what: 'texts of drivers are shown on one line, well-formed, without control characters, within their limit',
  share: 4,
  begin: () => ({
    of: fc.tuple(
      fc.oneof(
        anyText,
        fc.string({ unit: 'binary', maxLength: 9_000, size: 'max' }),
        fc.array(fc.nat({ max: 65_535 })).map((units) => String.fromCharCode(...units)),
      ),
      fc.nat({ max: 300 }),
    ),
    holds: ([text, limit]) => {
      const line = oneLine(text, limit);
      assert.ok(Buffer.byteLength(line) <= limit + 3);
      const status = statusMessage(text);
      assert.ok(status.length <= 2_001);
      for (const shown of [line, status]) {
        assert.ok(shown.isWellFormed());
        // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
        assert.ok(!/[\u0000-\u001f\u007f]/.test(shown), JSON.stringify(shown));
      }
    },
  }),
});

const type = 'csi.v1.NodePublishVolumeRequest';
const dictionary = fc.dictionary(anyText, secret, { maxKeys: 4 });

export const messages = target({
  name: 'secret-fields',
  what: 'the secrets of a request are found by their mark, and a copy for logs has none of them',
  share: 3,
  begin: () => ({
    of: fc.tuple(dictionary, fc.array(secret, { maxLength: 3 }), fc.array(secret, { maxLength: 3 })),
    holds: ([secrets, passwords, others]) => {
      const mount_flags = passwords.map((one) => `password=${one}`);
      const request = {
        volume_id: others.join(),
        secrets,
        volume_capability: { mount: { fs_type: 'ext4', mount_flags } },
      };
      const values = secretValues(type, request);
      for (const value of [
        ...Object.values(secrets),
        ...mount_flags.flatMap((flag) => flag.split(',')).filter((flag) => flag.includes('=')),
      ]) {
        assert.ok(values.includes(value), `${JSON.stringify(value)} is not masked`);
      }
      const { volume_id, ...copy } = stripSecrets(type, request);
      assert.equal(volume_id, others.join());
      assert.deepEqual(copy, {
        secrets: Object.fromEntries(Object.keys(secrets).map((key) => [key, '***'])),
        volume_capability: { mount: { fs_type: 'ext4', mount_flags: mount_flags.map(() => '***') } },
      });
    },
  }),
});
