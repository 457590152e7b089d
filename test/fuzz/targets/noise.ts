/** The answer among other output. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseAnswer } from '../../../src/flex/answer.ts';
import { answerText } from '../support/answer-model.ts';
import { anyValue, objectOf, type Piece, string } from '../support/json-model.ts';
import { target } from '../target.ts';

/** A line of an output, and what it does to the answer. */
interface Line {
  readonly bytes: Buffer;
  readonly is: 'noise' | 'answer' | 'broken';
}

const words = fc
  .string({ unit: fc.constantFrom(...'abcXYZ019 +-/.=$()<>&|\'"\\\tß*%#!'), maxLength: 20 })
  // What begins or ends so could be what is around an object.
  .map((text) => `+ ${text}.`);

const noise: fc.Arbitrary<Line> = fc
  .oneof(
    words,
    fc
      .tuple(words, fc.constantFrom('{ true; }', '{x,y}', '{', '{{name}}', '{[x'))
      .map((two) => two.join(' ')),
    fc.constant(''),
  )
  .map((text) => ({ bytes: Buffer.from(text), is: 'noise' }));

const hasStatus = ({ says }: Piece<{ members: readonly (readonly [string, unknown])[] }>): boolean =>
  says.members.some(([key]) => /^[s\u017f]tatu[s\u017f]$/i.test(key));

const stranger: fc.Arbitrary<Line> = objectOf(fc.tuple(string, anyValue))
  .filter((one) => !hasStatus(one))
  .map(({ bytes }) => ({ bytes, is: 'noise' }));

const answer: fc.Arbitrary<Line> = answerText.filter(hasStatus).map(({ bytes }) => ({ bytes, is: 'answer' }));

/** Begins like an object and is none: from there on nothing can be trusted. */
const broken: fc.Arbitrary<Line> = fc
  .constantFrom('{"status":"Succ', '{"status":Success}', '{"a":1,}', '{"', '{"a" 1}', '{}{"x":tru')
  .map((text) => ({ bytes: Buffer.from(text), is: 'broken' }));

const lines = fc.array(
  fc.tuple(
    fc.oneof(
      { weight: 6, arbitrary: noise },
      { weight: 3, arbitrary: stranger },
      { weight: 3, arbitrary: answer },
      { weight: 1, arbitrary: broken },
    ),
    // On one line with what precedes: only behind words is an object not at the first brace of its line.
    words,
    fc.boolean(),
  ),
  { minLength: 1, maxLength: 6 },
);

export const answerInNoise = target({
  name: 'answer-noise',
  what: 'among noise exactly one unbroken answer is found, and none where there are more, or something broken',
  share: 8,
  begin: () => ({
    of: lines,
    holds: (all) => {
      const text = Buffer.concat([
        ...all.flatMap(([line, before, hasBefore]) => [
          ...(hasBefore && line.is !== 'noise' ? [Buffer.from(before)] : []),
          line.bytes,
          Buffer.from('\n'),
        ]),
        // A brace at the very end would be an object that is cut off.
        Buffer.from('done\n'),
      ]);
      const parsed = parseAnswer(text);
      const answers = all.filter(([line]) => line.is === 'answer');
      const [first] = answers;
      if (first === undefined || answers.length > 1 || all.some(([line]) => line.is === 'broken')) {
        // One object alone is an answer without a status: kubelet reads it so.
        assert.ok(!parsed.ok || parsed.answer.status === '', JSON.stringify(text.toString()));
        return;
      }
      const alone = parseAnswer(first[0].bytes);
      // Not by the fields as they are: there are functions among them.
      assert.deepEqual(shown(parsed), shown(alone), JSON.stringify(text.toString()));
    },
  }),
});

function shown(parsed: ReturnType<typeof parseAnswer>): unknown {
  if (!parsed.ok) return parsed;
  const { fields, ...answer } = parsed.answer;
  return { ...answer, fields: [...fields.names()].map((name) => [name, fields.values(name)]) };
}
