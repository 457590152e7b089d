/** Keeps secret values out of everything that people read: logs, error messages, the demo's tables. */

const MASK = '***';
/** Shorter values are masked as whole words only: every `a` in a message replaced would hide nothing but the message. */
const WHOLE_WORDS_BELOW = 4;

/** Replaces secret values in a text. */
export type Mask = (text: string) => string;

export const noSecrets: Mask = (text) => text;

/**
 * A mask for these secret values as they are, line by line, in base64 (as drivers get them), base64url,
 * URL-encoded, and as they stand inside a JSON string or in the trace of a shell. Longer forms are replaced
 * first, so that one that contains another leaves nothing behind.
 */
export function createMask(values: Iterable<string>): Mask {
  const forms = new Set<string>();
  for (const value of values) for (const form of formsOf(value)) if (form !== '') forms.add(form);
  if (forms.size === 0) return noSecrets;
  // Not one regular expression: a large secret makes none, and the error of trying would show it.
  const sorted = [...forms].sort((a, b) => b.length - a.length);
  return (text) => sorted.reduce(hide, text);
}

function hide(text: string, form: string): string {
  if (form.length >= WHOLE_WORDS_BELOW) return text.replaceAll(form, () => MASK);
  return text.replace(new RegExp(`(?<!\\w)${RegExp.escape(form)}(?!\\w)`, 'g'), () => MASK);
}

/** A line of a key or certificate that is shown alone gives it away as well. */
const SHORTEST_LINE = 8;

function formsOf(value: string): string[] {
  const bytes = Buffer.from(value);
  const base64 = bytes.toString('base64');
  const encoded = encodeURIComponent(value.toWellFormed());
  return [
    value,
    // A secret file often ends in a line break that the text around it does not repeat.
    value.trim(),
    ...value.split(/[\r\n]+/).filter((line) => line.length >= SHORTEST_LINE),
    base64,
    base64.replace(/=+$/, ''),
    bytes.toString('base64url'),
    encoded,
    encoded.replaceAll('%20', '+'),
    JSON.stringify(value).slice(1, -1),
    value.replaceAll("'", "'\\''"),
  ];
}
