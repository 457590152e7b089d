/** A driver's answer: what its output says, and what that means together with how it ended. */
import { Failure } from '../errors.ts';
import type { Ended } from '../process.ts';
import { type Capabilities, readCapabilities } from './capabilities.ts';
import { Fields } from './fields.ts';
import { type Json, JsonObject, JsonSyntaxError, kindOf, parseJson } from './json.ts';
import { findAnswer } from './noise.ts';
import type { Verb } from './verbs.ts';

export interface Answer {
  /** `Success`, `Not supported`, or anything else for a failure; empty when the driver gave none. */
  readonly status: string;
  readonly message: string;
  readonly device?: string | undefined;
  readonly volumeName?: string | undefined;
  readonly attached?: boolean | undefined;
  /** The defaults when the answer has none. */
  readonly capabilities: Capabilities;
  /** Bytes. */
  readonly volumeNewSize?: bigint | undefined;
  /** All fields, for the verbs whose answers have more. */
  readonly fields: Fields;
}

export type ParsedAnswer =
  | { readonly ok: true; readonly answer: Answer }
  /** `problem` is one line in plain words and holds nothing of the output but a character. */
  | { readonly ok: false; readonly problem: string };

/**
 * Reads the output of a driver, both streams in the order of writing. All of it is one JSON value, as kubelet
 * demands; only when that is not so, the answer is looked for among other output (see `findAnswer`). A value
 * of the wrong type is a problem in every known field, used or not. Never throws.
 */
export function parseAnswer(output: Uint8Array): ParsedAnswer {
  const document = readDocument(output);
  if ('problem' in document) return { ok: false, problem: document.problem };
  try {
    return { ok: true, answer: readAnswer(document.object) };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { ok: false, problem: error.message };
  }
}

function readDocument(output: Uint8Array): { readonly object: JsonObject } | { readonly problem: string } {
  let value: Json;
  try {
    value = parseJson(output);
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    return findAnswer(output);
  }
  if (value instanceof JsonObject) return { object: value };
  // Go leaves everything at its default then: an answer without a status.
  if (value === null) return { object: new JsonObject([]) };
  return { problem: `the output must be a JSON object, but is a JSON ${kindOf(value)}` };
}

function readAnswer(object: JsonObject): Answer {
  const fields = new Fields([object]);
  return {
    status: fields.string('status') ?? '',
    message: fields.string('message') ?? '',
    device: fields.string('device'),
    volumeName: fields.string('volumeName'),
    attached: fields.boolean('attached'),
    capabilities: readCapabilities(fields.object('capabilities')),
    volumeNewSize: fields.integer('volumeNewSize'),
    fields,
  };
}

export type Verdict =
  | { readonly kind: 'success'; readonly answer: Answer }
  | { readonly kind: 'not-supported' }
  /** `text` may hold the driver's own words, as they are. */
  | { readonly kind: 'failed'; readonly text: string };

/**
 * What a call has come to, as kubelet decides it (recordings `answers.*`): a success is the exit status 0
 * and the status `Success`; `Not supported` counts with any exit status; all else is a failure. A `Success`
 * with another exit status is the driver's bug, and nobody can tell which of the two is true.
 */
export function judge(verb: Verb, ended: Pick<Ended, 'exitCode' | 'signal'>, parsed: ParsedAnswer): Verdict {
  if (!parsed.ok) return { kind: 'failed', text: `${verb} failed: ${describeEnd(ended)}, ${parsed.problem}` };
  const { answer } = parsed;
  if (answer.status === 'Not supported') return { kind: 'not-supported' };
  if (answer.status !== 'Success') {
    const text = `${verb} command failed, status: ${answer.status}, reason: ${answer.message}`;
    return { kind: 'failed', text };
  }
  if (ended.exitCode === 0) return { kind: 'success', answer };
  const text = `${verb} failed: ${describeEnd(ended)}, though its answer says Success (a bug of the driver)`;
  return { kind: 'failed', text };
}

/** `exit status 1` or `killed by SIGTERM`. */
export function describeEnd({ exitCode, signal }: Pick<Ended, 'exitCode' | 'signal'>): string {
  if (signal !== undefined) return `killed by ${signal}`;
  return exitCode === undefined ? 'not ended' : `exit status ${exitCode}`;
}
