/** The chart's schema and the code: what flexcsi itself takes or refuses. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { codeNames } from '../../src/flex/codes.ts';
import { csiNameFault, isQualifiedName } from '../../src/flex/names.ts';
import { verbNames } from '../../src/flex/verbs.ts';
import { chart } from './helm.ts';

const schema = JSON.parse(readFileSync(join(chart, 'values.schema.json'), 'utf8'));
const driver = schema.definitions.driver.properties;

describe('the schema', () => {
  it('has the codes and verbs of rules for failures', () => {
    const { code, verbs } = driver.failures.items.properties;
    expect(code.enum).toEqual(codeNames);
    expect(verbs.items.enum).toEqual(verbNames);
  });

  it.each([
    'example.com/lvm',
    'lvm',
    'LVM_2.x',
    'a',
    'a/b',
    `${'a.'.repeat(126)}a/lvm`,
    `${'a.'.repeat(126)}ab/lvm`,
    `example.com/${'a'.repeat(63)}`,
    `example.com/${'a'.repeat(64)}`,
    'a'.repeat(64),
    'example..com/lvm',
    'a-.b/lvm',
    '-a/lvm',
    '.a/lvm',
    'a./lvm',
    'A.com/lvm',
    'a_b/lvm',
    'a/b/c',
    'a/',
    '/a',
    'a/-b',
    'a/b_',
    'a~b',
    'a b',
    'a\n',
    '',
  ])('takes the FlexVolume name %j if flexcsi does', (name) => {
    const fits = driver.driver.allOf.every(({ pattern }: { pattern: string }) =>
      new RegExp(pattern).test(name),
    );
    expect(fits).toBe(isQualifiedName(name));
  });

  it.each([
    'lvm.example.com',
    'LVM',
    'a',
    '1e3',
    'a'.repeat(63),
    'a'.repeat(64),
    'a..b',
    'a-.b',
    '.a',
    'a.',
    'a_b',
    '',
  ])('takes the CSI name %j if flexcsi does', (name) => {
    const { pattern, maxLength } = driver.name;
    expect(name.length <= maxLength && new RegExp(pattern).test(name)).toBe(csiNameFault(name) === undefined);
  });
});
