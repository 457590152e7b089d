/** The answer parser: whatever a driver prints, there is an answer or a problem, and the right one. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Failure } from '../../../src/errors.ts';
import { judge, type ParsedAnswer, parseAnswer } from '../../../src/flex/answer.ts';
import { codeOfAnswer } from '../../../src/flex/codes.ts';
import { readRoom, readSnapshots, readVolume, readVolumes } from '../../../src/flex/described.ts';
import type { Fields } from '../../../src/flex/fields.ts';
import { answerText, meantBy } from '../support/answer-model.ts';
import { anyBytes, spoiled, spoils } from '../support/bytes.ts';
import { recordedOutputs } from '../support/golden.ts';
import { anyValue } from '../support/json-model.ts';
import { target } from '../target.ts';

/** Beginnings of texts that go on and on, as large as a driver's output may be. */
const large = fc
  .tuple(
    fc.constantFrom(
      '{"a":',
      '[',
      '{',
      '{"',
      '"',
      '{}',
      '{"status":"Success"}',
      '{}\n',
      '\\u',
      '{ ',
      '{"a',
      '},',
      '\n{',
    ),
    fc.constantFrom('', '{"status":"Success"', '[1,', '"', '{"message":"', '-'),
    fc.constantFrom('', '}', ']', '"}', '{"status":"Success"}'),
    fc.constantFrom(9_999, 10_001, 1024 * 1024),
  )
  .map(([piece, before, after, size]) =>
    Buffer.from(before + piece.repeat(Math.ceil(size / piece.length)) + after),
  );

const recorded = fc.constantFrom(...recordedOutputs());

/** What drivers print, and what they might. */
const outputs: fc.Arbitrary<Uint8Array> = fc.oneof(
  { weight: 20, arbitrary: anyBytes },
  { weight: 20, arbitrary: recorded },
  { weight: 40, arbitrary: fc.tuple(recorded, spoils).map(([good, changes]) => spoiled(good, changes)) },
  {
    weight: 30,
    arbitrary: fc.tuple(answerText, spoils).map(([{ bytes }, changes]) => spoiled(bytes, changes)),
  },
  { weight: 20, arbitrary: fc.tuple(recorded, anyBytes, recorded).map((parts) => Buffer.concat(parts)) },
  { weight: 1, arbitrary: large },
);

export const anyAnswer = target({
  name: 'answer',
  what: 'any output is an answer or a problem on one line, and its extension fields are read or named as wrong',
  share: 20,
  begin: () => ({
    of: outputs,
    holds: (output) => {
      const parsed = parseAnswer(output);
      if (!parsed.ok) {
        // Only a character or a number of the output is in it.
        assert.match(parsed.problem, /^[^\r\n]{1,300}$/u);
      } else {
        readEverything(parsed.answer.fields);
      }
      for (const ended of [{ exitCode: 0 }, { exitCode: 1 }, { signal: 'SIGKILL' }]) {
        const verdict = judge('mount', ended, parsed);
        assert.equal(verdict.kind === 'success', isSuccess(parsed) && ended.exitCode === 0);
      }
    },
  }),
});

function isSuccess(parsed: ParsedAnswer): boolean {
  return parsed.ok && parsed.answer.status === 'Success';
}

/** Reads all that an answer of any verb may hold: a value, or a Failure that names the field. */
function readEverything(fields: Fields): void {
  codeOfAnswer(fields);
  for (const read of [readVolume, readVolumes, readSnapshots, readRoom]) {
    try {
      read(fields);
    } catch (error) {
      assert.ok(error instanceof Failure && error.kind === 'driver-failed', String(error));
      assert.match(error.message, /"/);
    }
  }
}

export const wholeAnswer = target({
  name: 'answer-meaning',
  what: "one JSON object means what Go's rules for structs say: case, order, null, types",
  share: 10,
  begin: () => ({
    of: answerText,
    holds: ({ bytes, says }) => {
      const parsed = parseAnswer(bytes);
      const meant = meantBy(says);
      if (meant === undefined) {
        assert.ok(!parsed.ok, 'a field of the wrong type must spoil the answer');
        return;
      }
      assert.ok(parsed.ok, parsed.ok ? '' : parsed.problem);
      const { status, message, device, volumeName, attached, volumeNewSize, capabilities } = parsed.answer;
      const { attach, selinuxRelabel, fsGroup, requiresFSResize, supportsMetrics } = capabilities;
      assert.deepEqual(
        {
          ...{ status, message, device, volumeName, attached, volumeNewSize },
          capabilities: { attach, selinuxRelabel, fsGroup, requiresFSResize, supportsMetrics },
        },
        meant,
      );
    },
  }),
});

export const brokenAnswer = target({
  name: 'answer-cut',
  what: 'a JSON text that is cut off, at its end or its beginning, never holds an answer',
  share: 8,
  begin: () => ({
    of: fc.tuple(
      fc.oneof(answerText, anyValue).filter(({ says }) => says.kind === 'object' || says.kind === 'array'),
      fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
      fc.boolean(),
      fc.constantFrom('', '+ mount /x\n', 'warning: [deprecated] option\n'),
    ),
    holds: ([{ bytes }, at, keepsHead, noise]) => {
      const cut = Math.max(1, Math.floor(at * bytes.length));
      const half = keepsHead ? bytes.subarray(0, cut) : bytes.subarray(cut);
      // Spaces alone at the other end are nothing that is missing.
      if (half.length >= bytes.length) return;
      for (const text of [half, Buffer.concat([Buffer.from(noise), half])]) {
        assert.ok(!isSuccess(parseAnswer(text)), `taken for a success: ${JSON.stringify(text.toString())}`);
      }
    },
  }),
});
