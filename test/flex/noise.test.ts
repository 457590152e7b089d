import { describe, expect, it } from 'vitest';
import { parseAnswer } from '../../src/flex/answer.ts';

const parse = (text: string) => parseAnswer(Buffer.from(text));

describe('an answer among other output', () => {
  it.each([
    ['a trace of set -x', '+ mount -t nfs\n++ date \'+%s\'\n{"status":"Success"}\n'],
    ['text behind it', '{"status":"Success"}\nbye\n'],
    ['text on its line', 'answer {"status":"Success"} (end)\n'],
    ['pretty-printed, with text around', 'start\n{\n  "status": "Success"\n}\nend\n'],
    ['log lines in JSON', '{"level":"info","data":{"status":"x"}}\n{}\n{"status":"Success"}\n'],
    ['a shell function and a template', 'f () { echo; }\n$ {x} {{ y }}\n{"status":"Success"}\n'],
    ['text after an object without status', '{"a":1} {"status":"Success"}\n'],
    ['a byte order mark', '\ufeff{"status":"Success"}'],
    ['a broken array before it', '[1, 2\n{"status":"Success"}'],
    ['an escaped name, folded', 'x\n{"\\u0053TATU\u017f":"Success"}'],
  ])('is found: %s', (_, text) => {
    expect(parse(text)).toMatchObject({ ok: true, answer: { status: 'Success' } });
  });

  it.each([
    ['nothing like it', 'a { b } c\n', 'no JSON object with a "status" in the output'],
    [
      'the second object of a line that has a { before',
      'x { y {"status":"Success"}\n',
      'no JSON object with a "status" in the output',
    ],
    ['objects without status', '{"a":1}\n{"b":2}\n', 'no JSON object with a "status" in the output'],
    [
      'two answers',
      '{"status":"Success"}\n{"status":"Success"}\n',
      '2 JSON objects with a "status" in the output, where one is expected',
    ],
    ['two answers on one line', '{"status":"Success"}{"status":"Failure"}', '2 JSON objects'],
    ['a trace that repeats it', '+ echo \'{"status":"Success"}\'\n{"status":"Success"}\n', '2 JSON objects'],
    [
      'a broken answer around a whole one',
      'x\n{"status":"Failure",\n"volume":\n{"status":"Success"}',
      'the JSON object in the output is broken: unexpected end of JSON input',
    ],
    [
      'a broken answer after a whole one',
      '{"status":"Success"}\n{"status":"Fail',
      'the JSON object in the output is broken',
    ],
    [
      'an answer that breaks off at once',
      '{"status":"Success"}\n{\n',
      'the JSON object in the output is broken',
    ],
    [
      'a broken answer before a whole one',
      '{"status":"Failure","message":"a\nb"}\n{"status":"Success"}\n',
      'the JSON object in the output is broken',
    ],
    ['an element of a broken list', '[{"status":"Success"}\nx', 'is part of something broken'],
    ['an element followed by another', 'x {"status":"Success"}, 7', 'is part of something broken'],
    ['the value of a name', '{\'volume\':\n"x": {"status":"Success"}\n', 'is part of something broken'],
    ['a list with noise', '[{"status":"Success"}] bye', 'is part of something broken'],
    ['no name in quotes', "{'status':'Success'}", 'no JSON object with a "status" in the output'],
  ])('is not taken: %s', (_, text, expected) => {
    const parsed = parse(text);
    expect(parsed.ok ? 'taken' : parsed.problem).toContain(expected);
  });

  // Each is a mebibyte; quadratic work on it would take minutes.
  it.each([
    ['opening braces', '{'.repeat(1 << 20)],
    ['lines of opening braces', '{\n'.repeat(1 << 19)],
    ['lines that look like objects', '{x\n'.repeat((1 << 20) / 3)],
    ['small objects', 'x\n{"a":1}'.repeat((1 << 20) / 9)],
    ['answers', `x${'{"status":""}'.repeat((1 << 20) / 13)}`],
    ['white space after braces', `x{${' '.repeat(1 << 20)}x`],
    ['white space before answers', `x${`${' '.repeat(1000)}{"status":""}`.repeat(1000)}`],
    ['nested objects', `x${'{"a":'.repeat((1 << 20) / 5)}`],
  ])('is looked for in linear time: %s', (_, text) => {
    const started = performance.now();
    expect(parse(text).ok).toBe(false);
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});
