/** Finds a driver's answer among other output: traces of `set -x`, warnings, the chatter of tools. */
import { foldName } from './fields.ts';
import { isJsonSpace, JsonObject, JsonSyntaxError, parseJsonAt } from './json.ts';

export type Found = { readonly object: JsonObject } | { readonly problem: string };

const LINE_FEED = 0x0a;
const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/**
 * The one object with a `status` in an output that is not JSON as a whole. Kubelet failed on all of these, so
 * every doubt is a failure: a false `Success` is worse.
 *
 * The first `{` of a line may start the answer (after an object that was read, the rest of its line counts as
 * a line of its own). An object without `status` is noise, as is a `{` that no name and no end follows. But one
 * that begins like an object and is broken makes the whole output unusable, and so does an answer that seems
 * to stand inside something else: an object inside a broken answer must never be taken for the answer. More
 * than one answer is none. Linear in the size of the output.
 */
export function findAnswer(output: Uint8Array): Found {
  const found: JsonObject[] = [];
  let at = output.indexOf(OPEN_BRACE);
  if (at === -1) {
    return { problem: skipSpace(output, 0) === output.length ? 'no output' : 'no JSON object in the output' };
  }
  while (at !== -1) {
    let next: number;
    if (beginsLikeObject(output, at)) {
      const read = readObject(output, at);
      if ('problem' in read) return read;
      if (hasStatus(read.object)) {
        if (isInside(output, at, read.end)) {
          return { problem: 'a JSON object with a "status" in the output is part of something broken' };
        }
        found.push(read.object);
      }
      next = read.end;
    } else {
      next = output.indexOf(LINE_FEED, at);
      if (next === -1) break;
    }
    at = output.indexOf(OPEN_BRACE, next);
  }
  const [object] = found;
  if (object === undefined) return { problem: 'no JSON object with a "status" in the output' };
  if (found.length > 1) {
    return { problem: `${found.length} JSON objects with a "status" in the output, where one is expected` };
  }
  return { object };
}

/** `{"`, `{}` or `{` at the very end: not the `{` of a shell function or of a template. */
function beginsLikeObject(output: Uint8Array, at: number): boolean {
  const next = output[skipSpace(output, at + 1)];
  return next === QUOTE || next === CLOSE_BRACE || next === undefined;
}

function readObject(
  output: Uint8Array,
  at: number,
): { object: JsonObject; end: number } | { problem: string } {
  try {
    const { value, end } = parseJsonAt(output, at);
    if (value instanceof JsonObject) return { object: value, end };
    return { problem: 'no JSON object in the output' };
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    return { problem: `the JSON object in the output is broken: ${error.message}` };
  }
}

/** Whether what is around an object reads as the list or object that contains it: `[{}`, `"name":{}`, `{},`. */
function isInside(output: Uint8Array, start: number, end: number): boolean {
  const next = output[skipSpace(output, end)];
  if (next === COMMA || next === CLOSE_BRACKET || next === CLOSE_BRACE) return true;
  const before = skipSpaceBack(output, start - 1);
  if (output[before] === OPEN_BRACKET) return true;
  return output[before] === COLON && output[skipSpaceBack(output, before - 1)] === QUOTE;
}

function hasStatus(object: JsonObject): boolean {
  return object.members.some(([name]) => foldName(name) === 'status');
}

function skipSpace(output: Uint8Array, from: number): number {
  let at = from;
  while (isJsonSpace(output[at])) at += 1;
  return at;
}

function skipSpaceBack(output: Uint8Array, from: number): number {
  let at = from;
  while (isJsonSpace(output[at])) at -= 1;
  return at;
}
