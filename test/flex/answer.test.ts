import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Answer, judge, parseAnswer } from '../../src/flex/answer.ts';

const parse = (text: string) => parseAnswer(Buffer.from(text));

function problem(text: string): string | undefined {
  const parsed = parse(text);
  return parsed.ok ? undefined : parsed.problem;
}

describe('parseAnswer', () => {
  it('is total: any bytes are an answer or a problem of one line', () => {
    const pieces = fc.constantFrom(
      '{',
      '}',
      '"status":',
      '"Success"',
      '"',
      ',',
      '\n',
      ' ',
      '{"status":"Success"}',
      '[',
      ']',
      'x',
      '\\',
      '1',
      'null',
      '\0',
      '\xff',
    );
    const text = fc.array(pieces, { maxLength: 30 }).map((parts) => Buffer.from(parts.join(''), 'latin1'));
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array(), text), (bytes) => {
        const parsed = parseAnswer(bytes);
        if (parsed.ok) expect(typeof parsed.answer.status).toBe('string');
        else expect(parsed.problem).toMatch(/^.+$/);
      }),
      { numRuns: 3000 },
    );
  });

  it('reads all fields', () => {
    const parsed = parse(
      '{"status":"Success","message":"m","device":"/dev/x","volumeName":"v","attached":true,"volumeNewSize":9007199254740993,"code":"OK"}',
    );
    expect(parsed).toMatchObject({
      ok: true,
      answer: {
        status: 'Success',
        message: 'm',
        device: '/dev/x',
        volumeName: 'v',
        attached: true,
        volumeNewSize: 9007199254740993n,
      },
    });
    expect(parsed.ok && parsed.answer.fields.string('code')).toBe('OK');
  });

  it('takes null for an answer without a status', () => {
    expect(parse('null')).toMatchObject({ ok: true, answer: { status: '', message: '' } });
  });

  it.each([
    ['[{"status":"Success"}]', 'the output must be a JSON object, but is a JSON array'],
    ['"Success"', 'the output must be a JSON object, but is a JSON string'],
    ['0', 'the output must be a JSON object, but is a JSON number'],
    ['', 'no output'],
    [' \n', 'no output'],
    ['done\n', 'no JSON object in the output'],
    [
      '{"status":"Not supported","attached":"x"}',
      `the answer's "attached" must be true or false, but is a string`,
    ],
    ['log\n{"status":7}', `the answer's "status" must be a string, but is the number 7`],
    [
      '{"status":"Failure","message":"a\nb"}',
      "the JSON object in the output is broken: invalid character '\\n' in string literal (byte 33, line 1)",
    ],
  ])('says what is wrong with %j', (text, expected) => {
    expect(problem(text)).toBe(expected);
  });
});

describe('judge', () => {
  const answer = (status: string, message = ''): { ok: true; answer: Answer } => {
    const parsed = parse(JSON.stringify({ status, message }));
    if (!parsed.ok) throw new Error(parsed.problem);
    return parsed;
  };

  it.each([
    [{ exitCode: 0 }, answer('Success'), 'success'],
    [{ exitCode: 0 }, answer('Not supported'), 'not-supported'],
    [{ exitCode: 1 }, answer('Not supported'), 'not-supported'],
    [{ signal: 'SIGKILL' }, answer('Not supported'), 'not-supported'],
  ] as const)('%j with %j: %s', (ended, parsed, kind) => {
    expect(judge('mount', ended, parsed).kind).toBe(kind);
  });

  it.each([
    [
      { exitCode: 1 },
      answer('Success'),
      'mount failed: exit status 1, though its answer says Success (a bug of the driver)',
    ],
    [
      { signal: 'SIGTERM' },
      answer('Success'),
      'mount failed: killed by SIGTERM, though its answer says Success (a bug of the driver)',
    ],
    [{}, answer('Success'), 'mount failed: not ended, though its answer says Success (a bug of the driver)'],
    [
      { exitCode: 0 },
      answer('Failure', 'disk on fire'),
      'mount command failed, status: Failure, reason: disk on fire',
    ],
    [{ exitCode: 1 }, answer('success'), 'mount command failed, status: success, reason: '],
    [{ exitCode: 0 }, answer('Success '), 'mount command failed, status: Success , reason: '],
    [{ exitCode: 0 }, answer('not supported'), 'mount command failed, status: not supported, reason: '],
    [{ exitCode: 127 }, { ok: false, problem: 'no output' }, 'mount failed: exit status 127, no output'],
  ] as const)('%j with %j fails: %s', (ended, parsed, text) => {
    expect(judge('mount', ended, parsed)).toEqual({ kind: 'failed', text });
  });
});
