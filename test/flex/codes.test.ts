import { describe, expect, it } from 'vitest';
import { codeNamed, codeNames, codeOfAnswer, codeOfMessage, type FailureRule } from '../../src/flex/codes.ts';
import { Fields } from '../../src/flex/fields.ts';
import { JsonObject, parseJson } from '../../src/flex/json.ts';

function fields(text: string): Fields {
  const object = parseJson(Buffer.from(text));
  if (!(object instanceof JsonObject)) throw new Error('not an object');
  return new Fields([object]);
}

describe('codeNamed', () => {
  it('knows the names of gRPC but OK, in capitals', () => {
    expect(codeNames).toHaveLength(16);
    for (const name of codeNames) expect(codeNamed(name)).toBe(name);
    for (const text of ['OK', 'not_found', 'NOT FOUND', ' NOT_FOUND', '', '5', 'toString']) {
      expect(codeNamed(text)).toBeUndefined();
    }
  });

  it('takes both spellings of CANCELLED', () => {
    expect(codeNamed('CANCELED')).toBe('CANCELLED');
  });
});

describe('codeOfMessage', () => {
  const rules: readonly FailureRule[] = [
    { message: /no such volume/iu, verbs: new Set(['attach', 'delete']), code: 'NOT_FOUND' },
    { message: /no such/iu, verbs: new Set(['attach']), code: 'FAILED_PRECONDITION' },
    { message: /full|quota/iu, code: 'RESOURCE_EXHAUSTED' },
  ];

  it.each([
    ['attach', 'lvs: No Such Volume pv-1', 'NOT_FOUND'],
    ['delete', 'no such volume', 'NOT_FOUND'],
    ['attach', 'no such node', 'FAILED_PRECONDITION'],
    ['delete', 'no such node', undefined],
    ['detach', 'no such volume', undefined],
    ['provision', 'pool is FULL', 'RESOURCE_EXHAUSTED'],
    ['mount', 'Disk quota exceeded', 'RESOURCE_EXHAUSTED'],
    ['mount', 'I/O error', undefined],
    ['mount', '', undefined],
  ])('of %s: %s', (verb, text, code) => {
    expect(codeOfMessage(rules, verb, text)).toBe(code);
  });

  it('is none without rules', () => {
    expect(codeOfMessage([], 'attach', 'no such volume')).toBeUndefined();
  });

  it('gives up an expression that takes for ever, says which, and tries no later rule', () => {
    const slow: FailureRule = { message: /(a+)+$/iu, code: 'ABORTED' };
    const text = `${'a'.repeat(1_000)} full`;
    const problems: string[] = [];
    expect(codeOfMessage([slow, ...rules], 'mount', text, (problem) => problems.push(problem))).toBe(
      undefined,
    );
    expect(problems).toEqual([expect.stringContaining('/(a+)+$/iu')]);
    expect(problems[0]).not.toContain('aaa');
    expect(codeOfMessage(rules, 'mount', text)).toBe('RESOURCE_EXHAUSTED');
  });
});

describe('codeOfAnswer', () => {
  it.each([
    ['{"code":"NOT_FOUND"}', 'NOT_FOUND'],
    ['{"Code":"CANCELED"}', 'CANCELLED'],
    ['{"code":"ABORTED","code":"OUT_OF_RANGE","code":null}', 'OUT_OF_RANGE'],
    ['{"code":7,"code":"INTERNAL"}', 'INTERNAL'],
  ])('of %s is %s', (text, code) => {
    expect(codeOfAnswer(fields(text))).toEqual({ code });
  });

  it.each(['{}', '{"code":null}'])('of %s is none', (text) => {
    expect(codeOfAnswer(fields(text))).toEqual({});
  });

  it.each([
    ['{"code":"E1234"}', 'E1234'],
    ['{"code":"not_found"}', 'not_found'],
    ['{"code":"OK"}', 'OK'],
    ['{"code":5}', '5'],
    ['{"code":true}', 'a JSON boolean'],
    ['{"code":{"NOT_FOUND":1}}', 'a JSON object'],
    ['{"code":["NOT_FOUND"]}', 'a JSON array'],
    ['{"code":"NOT_FOUND","code":"x"}', 'x'],
  ])('of %s is unknown: %s', (text, unknown) => {
    expect(codeOfAnswer(fields(text))).toEqual({ unknown });
  });
});
