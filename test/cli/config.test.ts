import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { configOf, loadConfig, rulesFor } from '../../src/cli/config.ts';
import { Failure } from '../../src/errors.ts';
import { codeNames } from '../../src/flex/codes.ts';
import { verbNames } from '../../src/flex/verbs.ts';

let directory: string;
let file: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'flexcsi-config-'));
  file = join(directory, 'config.yaml');
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

async function load(content: string | Uint8Array) {
  writeFileSync(file, content);
  return loadConfig(file);
}

/** The lines of the failure, without the file's name. */
async function mistakes(content: string | Uint8Array): Promise<string[]> {
  const failure: unknown = await load(content).catch((error: unknown) => error);
  if (!(failure instanceof Failure)) throw new Error('it was accepted');
  expect(failure.kind).toBe('invalid-request');
  const lines = failure.message.split('\n');
  for (const line of lines) expect(line.startsWith(`${file}:`)).toBe(true);
  return lines.map((line) => line.slice(file.length + 1));
}

/** A file with one rule, whose first key is in line 4, column 9. */
function rule(...lines: string[]): string {
  return `drivers:\n  lvm:\n    failures:\n      - ${lines.join('\n        ')}\n`;
}

describe('loadConfig', () => {
  it('reads the rules of each driver, in their order', async () => {
    const config = await load(`
drivers:
  example.com/lvm: # the FlexVolume name
    failures:
      - message: no such (volume|snapshot)
        verbs: [attach, delete]
        code: NOT_FOUND
      - message: '\\bbusy\\b'
        code: CANCELED
  solo:
    failures:
      - {message: ü, code: ABORTED}
`);
    expect(rulesFor(config, 'example.com/lvm')).toEqual([
      { message: /no such (volume|snapshot)/iu, verbs: new Set(['attach', 'delete']), code: 'NOT_FOUND' },
      { message: /\bbusy\b/iu, code: 'CANCELLED' },
    ]);
    expect(rulesFor(config, 'solo')[0]?.message.test('Ü')).toBe(true);
    expect(rulesFor(config, 'lvm')).toEqual([]);
  });

  it('does not take names that objects have by birth for drivers', async () => {
    const config = await load('drivers:\n  toString:\n    failures: [{message: x, code: ABORTED}]\n');
    expect(rulesFor(config, 'toString')).toHaveLength(1);
    expect(rulesFor(config, 'constructor')).toEqual([]);
  });

  it.each([
    '',
    '# nothing yet\n',
    '---\n',
    'null\n',
    '{}\n',
    'drivers:\n',
    'drivers: {}\n',
    'drivers:\n  lvm:\n    # failures:\n',
    'drivers:\n  lvm:\n    failures:\n    # - message: x\n',
    'drivers:\n  lvm: {failures: []}\n',
  ])('takes %j for no rules', async (content) => {
    expect(rulesFor(await load(content), 'lvm')).toEqual([]);
  });

  it('reads a file as Windows writes it', async () => {
    const config = await load(`\ufeff${rule('message: full', 'code: ABORTED').replaceAll('\n', '\r\n')}`);
    expect(rulesFor(config, 'lvm')).toEqual([{ message: /full/iu, code: 'ABORTED' }]);
  });
});

it('sets the name and the ways of a driver', async () => {
  const config = await load(
    'drivers:\n  a/b:\n    name: b.example.com\n    attachOn: node\n    fsGroupKey: both\n',
  );
  expect(configOf(config, 'a/b')).toEqual({ name: 'b.example.com', attachOn: 'node', fsGroupKey: 'both' });
  expect(configOf(config, 'b')).toEqual({});
  expect(configOf(config, 'constructor')).toEqual({});
});

describe('a mistake in the file', () => {
  const codes = codeNames.join(', ');
  const verbs = verbNames.join(', ');

  it.each([
    [
      rule('message: x', 'code: NOTFOUND'),
      `5:15: drivers.lvm.failures[0].code: expected one of ${codes}, not "NOTFOUND"`,
    ],
    [
      rule('message: x', 'code: 5'),
      `5:15: drivers.lvm.failures[0].code: expected one of ${codes}, not the number 5`,
    ],
    [
      rule('message: x', 'code: [ABORTED]'),
      `5:15: drivers.lvm.failures[0].code: expected one of ${codes}, not a list`,
    ],
    [rule('message: x'), `4:9: drivers.lvm.failures[0].code: missing; expected one of ${codes}`],
    [rule('code: ABORTED'), '4:9: drivers.lvm.failures[0].message: missing; expected a regular expression'],
    [
      rule('message: 404', 'code: ABORTED'),
      '4:18: drivers.lvm.failures[0].message: expected a regular expression, not the number 404',
    ],
    [
      rule('message:', 'code: ABORTED'),
      '4:17: drivers.lvm.failures[0].message: expected a regular expression, not nothing',
    ],
    [
      rule("message: ''", 'code: ABORTED'),
      '4:18: drivers.lvm.failures[0].message: an empty expression fits every failure; write .* if that is meant',
    ],
    [
      rule('message: no (volume', 'code: ABORTED'),
      '4:18: drivers.lvm.failures[0].message: not a regular expression: Unterminated group',
    ],
    [
      rule("message: 'a\\-b'", 'code: ABORTED'),
      '4:18: drivers.lvm.failures[0].message: not a regular expression: Invalid escape',
    ],
    [
      rule("message: 'a/iu: **'", 'code: ABORTED'),
      '4:18: drivers.lvm.failures[0].message: not a regular expression: Nothing to repeat',
    ],
    [
      rule('message: "\\bbusy"', 'code: ABORTED'),
      '4:18: drivers.lvm.failures[0].message: holds a control character and can never fit; write the expression in single quotes, where YAML leaves \\ alone',
    ],
    [
      rule('message: x', 'code: ABORTED', 'verbs: [attach, dleete]'),
      `6:25: drivers.lvm.failures[0].verbs[1]: expected one of ${verbs}, not "dleete"`,
    ],
    [
      rule('message: x', 'code: ABORTED', 'verbs: attach'),
      '6:16: drivers.lvm.failures[0].verbs: expected a list of verbs, not "attach"',
    ],
    [
      rule('message: x', 'code: ABORTED', 'verbs: []'),
      '6:16: drivers.lvm.failures[0].verbs: an empty list fits no failure; leave it out for all verbs',
    ],
    [
      rule('message: x', 'code: ABORTED', 'verb: [attach]'),
      '6:9: drivers.lvm.failures[0].verb: unknown key; expected one of message, verbs, code',
    ],
    [
      rule('no such volume'),
      '4:9: drivers.lvm.failures[0]: expected a map with message, verbs, code, not "no such volume"',
    ],
    [
      'drivers:\n  lvm:\n    failures: {}\n',
      '3:15: drivers.lvm.failures: expected a list of rules, not a map',
    ],
    [
      'drivers:\n  lvm:\n    failure: []\n',
      '3:5: drivers.lvm.failure: unknown key; expected one of name, attachOn, fsGroupKey, failures',
    ],
    [
      'drivers:\n  lvm: true\n',
      '2:8: drivers.lvm: expected a map with name, attachOn, fsGroupKey, failures, not true',
    ],
    [
      'drivers:\n  lvm:\n    name: under_score\n',
      '3:11: drivers.lvm.name: "under_score" is no CSI name: it is no DNS name (lower-case letters, digits, - and ., each part beginning and ending with a letter or digit)',
    ],
    [
      'drivers:\n  lvm:\n    attachOn: nodes\n',
      '3:15: drivers.lvm.attachOn: expected one of controller, node, not "nodes"',
    ],
    [
      'drivers:\n  Example.com/lvm: {}\n',
      `2:3: drivers."Example.com/lvm": expected a driver's FlexVolume name, such as example.com/lvm or lvm`,
    ],
    [
      'drivers:\n  example.com~lvm: {}\n',
      `2:3: drivers."example.com~lvm": expected a driver's FlexVolume name, such as example.com/lvm or lvm`,
    ],
    ['drivers: [lvm]\n', "1:10: drivers: expected a map of drivers' FlexVolume names, not a list"],
    ['driver: {}\n', '1:1: driver: unknown key; expected one of drivers'],
    ['- drivers\n', '1:1: expected a map with drivers, not a list'],
    ['drivers:\n  lvm: {}\n  lvm: {}\n', '3:3: the key "lvm" is there twice'],
    ['drivers:\n  __proto__: {}\n', '2:3: the key "__proto__" cannot be used'],
    [
      'drivers: {<<: {lvm: {}}}\n',
      `1:11: drivers."<<": expected a driver's FlexVolume name, such as example.com/lvm or lvm`,
    ],
    ['drivers: &all {}\nmore: *all\n', '2:7: the alias *all cannot be used here: write the value again'],
    ['drivers: *all\n', '1:10: the alias *all cannot be used here: write the value again'],
    ['drivers: !!set {lvm}\n', '1:10: Unresolved tag: tag:yaml.org,2002:set'],
    ['drivers: !secret x\n', '1:10: Unresolved tag: !secret'],
    ['drivers: {}\n---\ndrivers: {}\n', '2:1: a second YAML document begins here; one is expected'],
    ['drivers:\n\tlvm: {}\n', '2:1: Tabs are not allowed as indentation'],
    ['? [a]\n: b\n', '1:3: With stringKeys, all keys must be strings'],
    [
      rule('message: error: not found', 'code: ABORTED'),
      '4:18: a second ": " on this line; if it belongs to a text, put the text in single quotes',
    ],
    [rule('message: "\\d+"', 'code: ABORTED'), '4:19: Invalid escape sequence \\d'],
  ])('%j', async (content, line) => {
    expect(await mistakes(content)).toEqual([line]);
  });

  it('is told with all others, in the order of the file', async () => {
    const lines = await mistakes(
      'drivers:\n  lvm:\n    failures:\n      - code: X\n        message: (\n  -x: {}\nother: 1\n',
    );
    expect(lines.map((line) => line.split(': ').slice(0, 2))).toEqual([
      ['4:15', 'drivers.lvm.failures[0].code'],
      ['5:18', 'drivers.lvm.failures[0].message'],
      ['6:3', 'drivers."-x"'],
      ['7:1', 'other'],
    ]);
  });

  it('is one of ten that are told', async () => {
    const names = (count: number) => Array.from({ length: count }, (_, index) => `  d${index}: 1\n`).join('');
    expect(await mistakes(`drivers:\n${names(10)}`)).toHaveLength(10);
    const lines = await mistakes(`drivers:\n${names(5_000)}`);
    expect(lines).toHaveLength(11);
    expect(lines.at(-1)).toBe(' and more mistakes');
  });

  it('is on one line, however long the text', async () => {
    const [line, ...more] = await mistakes(rule('message: x', `code: "a\\n${'b'.repeat(9_000)}"`));
    expect(more).toEqual([]);
    expect(line?.length).toBeLessThan(1_000);
  });

  it.each([
    [Buffer.from([0x23, 0x0a, 0x23, 0xfc, 0x0a]), '2: the file must be UTF-8'],
    [Buffer.from([0x23, 0x0a, 0x23, 0xfc]), '2: the file must be UTF-8'],
    [Buffer.from('\ufeffdrivers:\n', 'utf16le'), '1: the file must be UTF-8'],
  ])('may be another encoding: %j', async (content, line) => {
    expect(await mistakes(content)).toEqual([line]);
  });

  it('may be nesting that would overflow the stack', async () => {
    expect(await mistakes(`drivers: ${'['.repeat(20_000)}`)).toEqual([
      expect.stringMatching(/^1:\d+: nested too deeply$/),
    ]);
  });
});

describe('a file that cannot be read', () => {
  const problem = (path: string) =>
    loadConfig(path).then(
      () => 'accepted',
      (error: unknown) => (error instanceof Failure ? error.message : error),
    );

  it('is named', async () => {
    expect(await problem(file)).toMatch(`--config: ${file} cannot be read: ENOENT`);
    expect(await problem(directory)).toBe(
      `--config: ${directory} is a directory, where a YAML file is expected`,
    );
    execFileSync('mkfifo', [file]);
    expect(await problem(file)).toBe(`--config: ${file} is no regular file`);
  });

  it('may have 1 MiB, and no more', async () => {
    const comment = '#'.repeat(1024 * 1024);
    await load(comment);
    writeFileSync(file, `${comment}#`);
    expect(await problem(file)).toBe(`--config: ${file} has 1048577 bytes; at most 1048576 are read`);
  });
});
