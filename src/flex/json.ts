/**
 * A strict JSON reader that accepts, refuses and understands exactly what Go's `encoding/json` does: kubelet
 * read drivers' answers with that, and drivers were written against it. `JSON.parse` differs: it drops
 * duplicate keys and the text of numbers, and text has to be decoded before it.
 */
import { decodeUtf8 } from './utf8.ts';

/** A number as it was written: `1024`, `1024.0` and `1e3` are not the same to a reader of integers. */
export class JsonNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export type JsonMember = readonly [key: string, value: Json];

/** An object with all its members in the order of the text, equal keys included. */
export class JsonObject {
  readonly members: readonly JsonMember[];

  constructor(members: readonly JsonMember[]) {
    this.members = members;
  }
}

export type Json = null | boolean | string | JsonNumber | readonly Json[] | JsonObject;

/** The message says what is wrong, in Go's words, and where: bytes and lines count from 1. */
export class JsonSyntaxError extends Error {
  override readonly name = 'JsonSyntaxError';
}

/** The kind of a value, as a word for messages. */
export function kindOf(value: Json): 'null' | 'boolean' | 'string' | 'number' | 'array' | 'object' {
  if (value === null) return 'null';
  if (typeof value === 'boolean') return 'boolean';
  if (typeof value === 'string') return 'string';
  if (value instanceof JsonNumber) return 'number';
  return value instanceof JsonObject ? 'object' : 'array';
}

/** The one value that the text holds. Throws a `JsonSyntaxError`, also for a byte order mark. */
export function parseJson(text: Uint8Array): Json {
  const reader = new Reader(text, 0);
  const value = reader.readValue();
  reader.expectEnd();
  return value;
}

/** The value that starts at `start`, and where it ends: what follows is not looked at. Throws a `JsonSyntaxError`. */
export function parseJsonAt(text: Uint8Array, start: number): { value: Json; end: number } {
  const reader = new Reader(text, start);
  const value = reader.readValue();
  return { value, end: reader.position };
}

/** Whether the byte is white space between JSON's tokens. */
export function isJsonSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** Go's own limit. Deeper nesting is a syntax error. */
const MAX_DEPTH = 10_000;

const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS = 0x2d;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** A container whose end has not been read yet; `key` is the one whose value is next. */
type Open = { readonly items: Json[] } | { readonly members: JsonMember[]; key: string };

class Reader {
  readonly #text: Buffer;
  #at: number;

  constructor(text: Uint8Array, start: number) {
    this.#text = Buffer.from(text.buffer, text.byteOffset, text.byteLength);
    this.#at = start;
  }

  get position(): number {
    return this.#at;
  }

  /** Not recursive: a hostile text must not be able to overflow the stack. */
  readValue(): Json {
    const open: Open[] = [];
    for (;;) {
      let value = this.#begin(open);
      // Whatever this value completes is complete as well.
      while (value !== undefined) {
        const container = open.at(-1);
        if (container === undefined) return value;
        value = this.#add(container, value, open);
      }
    }
  }

  expectEnd(): void {
    this.#skipSpace();
    if (this.#at < this.#text.length) this.#unexpected('after top-level value');
  }

  /** Reads a value, or only its start: then the container is on the stack and its first value comes next. */
  #begin(open: Open[]): Json | undefined {
    this.#skipSpace();
    const byte = this.#text[this.#at];
    if (byte === OPEN_BRACE) {
      this.#enter(open.length);
      if (this.#take(CLOSE_BRACE)) return new JsonObject([]);
      open.push({ members: [], key: this.#readKey() });
      return undefined;
    }
    if (byte === OPEN_BRACKET) {
      this.#enter(open.length);
      if (this.#take(CLOSE_BRACKET)) return [];
      open.push({ items: [] });
      return undefined;
    }
    return this.#readScalar(byte);
  }

  /** Adds a value to its container. Returns the container if that ended there. */
  #add(container: Open, value: Json, open: Open[]): Json | undefined {
    if ('items' in container) {
      container.items.push(value);
      if (this.#take(COMMA)) return undefined;
      if (!this.#take(CLOSE_BRACKET)) this.#unexpected('after array element');
      open.pop();
      return container.items;
    }
    container.members.push([container.key, value]);
    if (this.#take(COMMA)) {
      container.key = this.#readKey();
      return undefined;
    }
    if (!this.#take(CLOSE_BRACE)) this.#unexpected('after object key:value pair');
    open.pop();
    return new JsonObject(container.members);
  }

  #enter(depth: number): void {
    if (depth >= MAX_DEPTH) this.#fail('exceeded max depth');
    this.#at += 1;
  }

  #readKey(): string {
    this.#skipSpace();
    if (this.#text[this.#at] !== QUOTE) this.#unexpected('looking for beginning of object key string');
    const key = this.#readString();
    if (!this.#take(COLON)) this.#unexpected('after object key');
    return key;
  }

  #readScalar(byte: number | undefined): Json {
    if (byte === QUOTE) return this.#readString();
    if (byte === MINUS || isDigit(byte)) return this.#readNumber();
    if (byte === 0x74) return this.#readWord('true', true);
    if (byte === 0x66) return this.#readWord('false', false);
    if (byte === 0x6e) return this.#readWord('null', null);
    return this.#unexpected('looking for beginning of value');
  }

  #readWord<T>(word: string, value: T): T {
    for (const letter of word) {
      if (this.#text[this.#at] !== letter.charCodeAt(0)) {
        this.#unexpected(`in literal ${word} (expecting '${letter}')`);
      }
      this.#at += 1;
    }
    return value;
  }

  #readNumber(): JsonNumber {
    const start = this.#at;
    if (this.#text[this.#at] === MINUS) this.#at += 1;
    // A leading zero stands alone: what follows it is then read as the next token, and refused there.
    if (this.#text[this.#at] === 0x30) this.#at += 1;
    else this.#readDigits('in numeric literal');
    if (this.#text[this.#at] === 0x2e) {
      this.#at += 1;
      this.#readDigits('after decimal point in numeric literal');
    }
    if (this.#text[this.#at] === 0x65 || this.#text[this.#at] === 0x45) {
      this.#at += 1;
      if (this.#text[this.#at] === 0x2b || this.#text[this.#at] === MINUS) this.#at += 1;
      this.#readDigits('in exponent of numeric literal');
    }
    return new JsonNumber(this.#text.toString('latin1', start, this.#at));
  }

  #readDigits(context: string): void {
    if (!isDigit(this.#text[this.#at])) this.#unexpected(context);
    while (isDigit(this.#text[this.#at])) this.#at += 1;
  }

  #readString(): string {
    this.#at += 1;
    let plainFrom = this.#at;
    let text = '';
    for (;;) {
      const byte = this.#text[this.#at];
      if (byte === undefined || byte < 0x20) this.#unexpected('in string literal');
      if (byte === QUOTE || byte === BACKSLASH) {
        text += decodeUtf8(this.#text.subarray(plainFrom, this.#at));
        this.#at += 1;
        if (byte === QUOTE) return text;
        text += this.#readEscape();
        plainFrom = this.#at;
      } else {
        this.#at += 1;
      }
    }
  }

  #readEscape(): string {
    const byte = this.#text[this.#at];
    if (byte === 0x75) return this.#readUnicodeEscape();
    const character = byte === undefined ? undefined : escapes.get(byte);
    if (character === undefined) this.#unexpected('in string escape code');
    this.#at += 1;
    return character;
  }

  /** Half a surrogate pair becomes U+FFFD; an escape after it that is not the other half stands for itself. */
  #readUnicodeEscape(): string {
    this.#at += 1;
    const unit = this.#readHexadecimal();
    if (unit < 0xd800 || unit > 0xdfff) return String.fromCharCode(unit);
    const next = this.#at;
    if (unit < 0xdc00 && this.#text[next] === BACKSLASH && this.#text[next + 1] === 0x75) {
      this.#at = next + 2;
      const low = this.#readHexadecimal();
      if (low >= 0xdc00 && low <= 0xdfff) return String.fromCharCode(unit, low);
      this.#at = next;
    }
    return '\ufffd';
  }

  #readHexadecimal(): number {
    let value = 0;
    for (let digits = 0; digits < 4; digits += 1) {
      const digit = Number.parseInt(String.fromCharCode(this.#text[this.#at] ?? 0), 16);
      if (Number.isNaN(digit)) this.#unexpected('in \\u hexadecimal character escape');
      value = value * 16 + digit;
      this.#at += 1;
    }
    return value;
  }

  #skipSpace(): void {
    while (isJsonSpace(this.#text[this.#at])) this.#at += 1;
  }

  /** Takes the byte if it is the next one after white space. */
  #take(byte: number): boolean {
    this.#skipSpace();
    if (this.#text[this.#at] !== byte) return false;
    this.#at += 1;
    return true;
  }

  #unexpected(context: string): never {
    const byte = this.#text[this.#at];
    if (byte === undefined) this.#fail('unexpected end of JSON input');
    return this.#fail(`invalid character ${quoteByte(byte)} ${context}`);
  }

  #fail(what: string): never {
    let line = 1;
    for (
      let at = this.#text.indexOf(0x0a);
      at !== -1 && at < this.#at;
      at = this.#text.indexOf(0x0a, at + 1)
    ) {
      line += 1;
    }
    throw new JsonSyntaxError(`${what} (byte ${this.#at + 1}, line ${line})`);
  }
}

const escapes: ReadonlyMap<number, string> = new Map(
  Object.entries({ '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }).map(
    ([letter, character]) => [letter.charCodeAt(0), character],
  ),
);

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

function quoteByte(byte: number): string {
  if (byte >= 0x20 && byte <= 0x7e && byte !== 0x27 && byte !== BACKSLASH)
    return `'${String.fromCharCode(byte)}'`;
  const named = new Map([
    [0x0a, '\\n'],
    [0x0d, '\\r'],
    [0x09, '\\t'],
    [0x27, "\\'"],
    [BACKSLASH, '\\\\'],
  ]).get(byte);
  return `'${named ?? `\\x${byte.toString(16).padStart(2, '0')}`}'`;
}
