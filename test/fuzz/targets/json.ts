/** The JSON reader: it takes what JSON.parse takes, and understands the same. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type Json, JsonNumber, JsonObject, JsonSyntaxError, parseJson } from '../../../src/flex/json.ts';
import { anyBytes, spoiled, spoils } from '../support/bytes.ts';
import { recordedOutputs } from '../support/golden.ts';
import { anyValue, type Meaning } from '../support/json-model.ts';
import { target } from '../target.ts';

const recorded = fc.constantFrom(...recordedOutputs());

export const jsonMeaning = target({
  name: 'json-meaning',
  what: 'a JSON text means what it was made from: escapes, halves of pairs, bytes that are not UTF-8',
  share: 8,
  begin: () => ({
    of: anyValue,
    holds: ({ bytes, says }) => assert.deepEqual(meaningOf(parseJson(bytes)), says),
  }),
});

export const jsonSyntax = target({
  name: 'json-syntax',
  what: 'a text is JSON, with the same values, exactly where JSON.parse says so',
  share: 12,
  begin: () => ({
    of: fc.oneof(
      anyBytes,
      fc.tuple(recorded, spoils).map(([good, changes]) => spoiled(good, changes)),
      fc.tuple(anyValue, spoils).map(([{ bytes }, changes]) => spoiled(bytes, changes)),
    ),
    holds: (bytes) => {
      const text = goText(bytes);
      const ours = attempt(() => parseJson(bytes), JsonSyntaxError);
      const theirs = attempt(() => JSON.parse(text) as unknown, SyntaxError);
      assert.equal(ours === undefined, theirs === undefined, JSON.stringify(text));
      if (ours === undefined || theirs === undefined || mayBeMisread(text)) return;
      assert.deepEqual(plainOf(ours.value), wellFormed(theirs.value));
    },
  }),
});

/**
 * JSON.parse of Node 26 takes a key that ends in an escape for a similar one that it has seen before, and is no
 * judge of such texts. Neither is it of keys with halves of surrogate pairs, which may become equal.
 */
function mayBeMisread(text: string): boolean {
  return /\\(?:[^u]|u[0-9a-fA-F]{4})"[ \t\r\n]*:/.test(text) || /\\u[dD][89a-fA-F]/.test(text);
}

function attempt<T>(read: () => T, expected: new () => Error): { value: T } | undefined {
  try {
    return { value: read() };
  } catch (error) {
    if (error instanceof expected) return undefined;
    throw error;
  }
}

/** Go's reading of bytes as UTF-8: one U+FFFD for each byte that does not belong. */
function goText(bytes: Uint8Array): string {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let text = '';
  for (let at = 0; at < bytes.length; ) {
    const found = [1, 2, 3, 4].find((length) =>
      isCharacter(decoder, bytes.subarray(at, at + length), length),
    );
    text += found === undefined ? '\ufffd' : decoder.decode(bytes.subarray(at, at + found));
    at += found ?? 1;
  }
  return text;
}

function isCharacter(decoder: TextDecoder, bytes: Uint8Array, length: number): boolean {
  try {
    return bytes.length === length && [...decoder.decode(bytes)].length === 1;
  } catch {
    return false;
  }
}

function meaningOf(value: Json): Meaning {
  if (value === null) return { kind: 'null' };
  if (typeof value === 'boolean') return { kind: 'boolean', value };
  if (typeof value === 'string') return { kind: 'string', value };
  if (value instanceof JsonNumber) return { kind: 'number', text: value.text };
  if (value instanceof JsonObject) {
    return { kind: 'object', members: value.members.map(([key, inner]) => [key, meaningOf(inner)]) };
  }
  return { kind: 'array', items: value.map(meaningOf) };
}

function plainOf(value: Json): unknown {
  if (value instanceof JsonNumber) return Number(value.text);
  if (value instanceof JsonObject) {
    return Object.fromEntries(value.members.map(([key, inner]) => [key, plainOf(inner)]));
  }
  return Array.isArray(value) ? value.map(plainOf) : value;
}

function wellFormed(value: unknown): unknown {
  if (typeof value === 'string') return value.toWellFormed();
  if (Array.isArray(value)) return value.map(wellFormed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, wellFormed(inner)]));
}
