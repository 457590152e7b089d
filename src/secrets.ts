/** Keeps secret values out of everything that people read: logs, error messages, the demo's tables. */

const MASK = '***';
/** Shorter values are masked as whole words only: every `a` in a message replaced would hide nothing but the message. */
const WHOLE_WORDS_BELOW = 4;

/** Replaces secret values in a text. */
export type Mask = (text: string) => string;

export const noSecrets: Mask = (text) => text;

/**
 * A mask for these secret values as they are, in base64 (as drivers get them), base64url, URL-encoded, and as
 * they stand inside a JSON string. Longer values are replaced first, so that one that contains another leaves
 * nothing behind.
 */
export function createMask(values: Iterable<string>): Mask {
  const forms = new Set<string>();
  for (const value of values) for (const form of formsOf(value)) if (form !== '') forms.add(form);
  if (forms.size === 0) return noSecrets;
  const pattern = [...forms]
    .sort((a, b) => b.length - a.length)
    .map((form) =>
      form.length < WHOLE_WORDS_BELOW ? `(?<!\\w)${RegExp.escape(form)}(?!\\w)` : RegExp.escape(form),
    )
    .join('|');
  const expression = new RegExp(pattern, 'g');
  return (text) => text.replace(expression, MASK);
}

function formsOf(value: string): string[] {
  const bytes = Buffer.from(value);
  const base64 = bytes.toString('base64');
  return [
    value,
    // A secret file often ends in a line break that the text around it does not repeat.
    value.trim(),
    base64,
    base64.replace(/=+$/, ''),
    bytes.toString('base64url'),
    encodeURIComponent(value.toWellFormed()),
    encodeURIComponent(value.toWellFormed()).replaceAll('%20', '+'),
    JSON.stringify(value).slice(1, -1),
  ];
}
