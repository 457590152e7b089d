/** The file of `--config`: a configuration, or what is wrong with it and in which line. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { loadConfig, rulesFor } from '../../../src/cli/config.ts';
import { Failure } from '../../../src/errors.ts';
import { codeNames, codeOfMessage } from '../../../src/flex/codes.ts';
import { anyBytes, anyText, spoiled, spoils } from '../support/bytes.ts';
import { target } from '../target.ts';

const good = `# rules
drivers:
  example.com/lvm:
    failures:
      - message: 'no such (volume|snapshot)'
        verbs: [attach, delete]
        code: NOT_FOUND
      - message: "full"
        code: RESOURCE_EXHAUSTED
  lvm:
    failures: # none
`;

const token = fc.constantFrom(
  ...[
    'drivers',
    'failures',
    'message',
    'verbs',
    'code',
    'example.com/lvm',
    'lvm',
    'NOT_FOUND',
    'attach',
    '__proto__',
  ],
  ...[
    ': ',
    ':',
    '\n',
    '\n  ',
    '\n    ',
    '\n      - ',
    '- ',
    '? ',
    '| ',
    '>\n',
    '"',
    "'",
    '#',
    ', ',
    '{',
    '}',
    '[',
    ']',
  ],
  ...[
    '&a ',
    '*a',
    '!!set ',
    '!x ',
    '%YAML 1.1\n',
    '---\n',
    '...\n',
    '<<: ',
    '~',
    'null',
    '.nan',
    '0x1f',
    '1e999',
    '\t',
  ],
  ...['\u0000', '\ufeff', '\u2028', 'é', '(a+)+$', '.*', '\\', '\r', '\r\n', '@', '`'],
);

const large = fc
  .tuple(
    fc.constantFrom('[', '{', '- ', '? ', 'a: ', '"', '&a [', '\n ', '!', '- a\n', 'a: b\n', '  '),
    fc.constantFrom(2_000, 60_000),
  )
  .map(([piece, size]) => piece.repeat(size / piece.length));

export const config = target({
  name: 'config',
  what: 'any file is a configuration, or errors that name a line of it, each on one line',
  share: 5,
  begin: () => {
    const directory = mkdtempSync(join(tmpdir(), 'flexcsi-fuzz-'));
    const file = join(directory, 'config.yaml');
    return {
      of: fc.oneof(
        {
          weight: 20,
          arbitrary: fc.array(token, { maxLength: 40 }).map((tokens) => Buffer.from(tokens.join(''))),
        },
        {
          weight: 20,
          arbitrary: fc.tuple(fc.constant(Buffer.from(good)), spoils).map((two) => spoiled(...two)),
        },
        { weight: 5, arbitrary: anyBytes },
        { weight: 5, arbitrary: anyText.map((text) => Buffer.from(text)) },
        { weight: 1, arbitrary: large.map((text) => Buffer.from(text)) },
      ),
      holds: async (bytes) => {
        writeFileSync(file, bytes);
        try {
          const loaded = await loadConfig(file);
          for (const [name, { failures }] of loaded.drivers) {
            const rules = rulesFor(loaded, name);
            assert.deepEqual(rules, failures ?? []);
            for (const { code } of rules) assert.ok(codeNames.includes(code));
            codeOfMessage(rules, 'attach', 'no such volume aaaaaaaaaaaaaaaaaaaa!');
          }
        } catch (error) {
          assert.ok(error instanceof Failure, String(error));
          assert.equal(error.kind, 'invalid-request');
          const last = Buffer.from(bytes)
            .toString('latin1')
            .split(/\r\n|[\r\n]/).length;
          const problems = error.message.split('\n');
          assert.ok(problems.length <= 11);
          for (const problem of problems) {
            const [, line] = /^[^:]+:(\d+)(?::\d+)?: ./u.exec(problem) ?? [];
            if (problem.endsWith(': and more mistakes')) continue;
            assert.ok(Number(line) >= 1 && Number(line) <= last, `${problem} (of ${last} lines)`);
          }
        }
      },
      end: async () => rmSync(directory, { recursive: true }),
    };
  },
});
