/** Keeps secret values out of everything that people read: logs, error messages, the demo's tables. */

const MASK = '***';
/** Shorter values are masked as whole words only: every `a` in a message replaced would hide nothing but the message. */
const WHOLE_WORDS_BELOW = 4;

/** Replaces secret values in a text. */
export type Mask = (text: string) => string;

export const noSecrets: Mask = (text) => text;

/**
 * A mask for these secret values: as they are, line by line, in base64 (as drivers get them) and base64url; each with
 * any of its characters URL-encoded, escaped as in a JSON string (in a string in a string) or quoted as in the trace
 * of a shell; broken into lines, as `base64` does, or with colours in it. Takes time in proportion to the text,
 * whatever the values are.
 */
export function createMask(values: Iterable<string>): Mask {
  const forms = new Set<string>();
  for (const value of values) for (const form of formsOf(value)) if (form !== '') forms.add(form);
  if (forms.size === 0) return noSecrets;
  const long = [...forms].filter((form) => form.length >= WHOLE_WORDS_BELOW).map(bytesOf);
  const short = [...forms].filter((form) => form.length < WHOLE_WORDS_BELOW);
  return (text) => short.reduce(hideWord, hide(text, long));
}

function hideWord(text: string, word: string): string {
  return text.replace(new RegExp(`(?<!\\w)${RegExp.escape(word)}(?!\\w)`, 'g'), () => MASK);
}

/** A line of a key or certificate that is shown alone gives it away as well. */
const SHORTEST_LINE = 8;

function formsOf(value: string): string[] {
  const bytes = Buffer.from(value);
  const base64 = bytes.toString('base64');
  return [
    value,
    // A secret file often ends in a line break that the text around it does not repeat.
    value.trim(),
    ...value.split(/[\r\n]+/).filter((line) => line.length >= SHORTEST_LINE),
    base64,
    base64.replace(/=+$/, ''),
    bytes.toString('base64url'),
  ];
}

/** UTF-8, a character for each byte: all positions below are those of bytes. */
function bytesOf(text: string): string {
  return Buffer.from(text).toString('latin1');
}

/** A text in which some characters were spelt otherwise. */
interface Reading {
  readonly bytes: string;
  /** Where in the original the spelling of each byte begins; one more for the end. */
  readonly from: Uint32Array;
}

function hide(text: string, forms: readonly string[]): string {
  const original = bytesOf(text);
  const found: [start: number, end: number][] = [];
  for (const { bytes, from } of unbroken(readingsOf(original))) {
    for (const form of forms) {
      for (let at = bytes.indexOf(form); at !== -1; at = bytes.indexOf(form, at + form.length)) {
        found.push([from[at] as number, from[at + form.length] as number]);
      }
    }
  }
  if (found.length === 0) return text;
  found.sort(([a], [b]) => a - b);
  let shown = '';
  let done = 0;
  for (const [start, end] of found) {
    // A value within another, or the same one in another reading.
    if (start >= done) shown += original.slice(done, start) + MASK;
    done = Math.max(done, end);
  }
  return Buffer.from(shown + original.slice(done), 'latin1').toString();
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: that is how terminals are told colours
const BREAKS = /\r?\n|\u001b\[[\d;]*[A-Za-z]/g;

/** Each reading, and again without line breaks and colours. */
function* unbroken(readings: Iterable<Reading>): Generator<Reading> {
  for (const reading of readings) {
    yield reading;
    if (reading.bytes.search(BREAKS) !== -1) yield decode(reading, BREAKS, () => '');
  }
}

/** A string in a string in a string: what is escaped more often than that was not written by a program. */
const ESCAPED_TIMES = 4;

function* readingsOf(original: string): Generator<Reading> {
  const plain = {
    bytes: original,
    from: Uint32Array.from({ length: original.length + 1 }, (_, index) => index),
  };
  yield plain;
  if (original.includes('%')) {
    yield decode(plain, /%[0-9a-f]{2}/gi, (match) =>
      String.fromCharCode(Number.parseInt(match.slice(1), 16)),
    );
    yield decode(plain, /%[0-9a-f]{2}|\+/gi, (match) =>
      match === '+' ? ' ' : String.fromCharCode(Number.parseInt(match.slice(1), 16)),
    );
  }
  let reading: Reading = plain;
  for (let time = 0; time <= ESCAPED_TIMES; time += 1) {
    if (/'\\''|'"'"'/.test(reading.bytes)) yield decode(reading, /'\\''|'"'"'/g, () => "'");
    if (!reading.bytes.includes('\\')) return;
    reading = decode(reading, /(?:\\u[0-9a-f]{4})+|\\[\s\S]/gi, unescaped);
    yield reading;
  }
}

/** Replaces what the expression finds by bytes that it stands for. */
function decode(reading: Reading, expression: RegExp, meaning: (match: string) => string): Reading {
  const from = new Uint32Array(reading.from.length);
  let bytes = '';
  let done = 0;
  const keep = (until: number): void => {
    from.set(reading.from.subarray(done, until), bytes.length);
    bytes += reading.bytes.slice(done, until);
  };
  for (const match of reading.bytes.matchAll(expression)) {
    keep(match.index);
    const meant = meaning(match[0]);
    // A sequence of escapes has as many parts as it has bytes, or fewer: each byte begins at some part.
    const step = match[0].length / Math.max(meant.length, 1);
    for (let index = 0; index < meant.length; index += 1) {
      from[bytes.length + index] = reading.from[match.index + Math.floor(index * step)] as number;
    }
    bytes += meant;
    done = match.index + match[0].length;
  }
  keep(reading.bytes.length);
  from[bytes.length] = reading.from[reading.bytes.length] as number;
  return { bytes, from: from.subarray(0, bytes.length + 1) };
}

const CONTROLS: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', b: '\b', f: '\f' };

function unescaped(match: string): string {
  if (match.length === 2) return CONTROLS[match.charAt(1)] ?? match.charAt(1);
  const units = match.slice(2).split(/\\u/i);
  return bytesOf(String.fromCharCode(...units.map((unit) => Number.parseInt(unit, 16))));
}
