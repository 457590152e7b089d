/** Words of a driver in messages for people. */
import { stripVTControlCharacters } from 'node:util';

/**
 * The text on one line: line breaks as ` | `, without control characters (also those that turn the direction
 * of writing), well-formed, at most `maxBytes` bytes of UTF-8 and then `…`.
 */
export function oneLine(text: string, maxBytes: number): string {
  // Far more than can be shown, whatever is taken out below: the rest of a large text need not be cleaned.
  const start = text.slice(0, 8 * maxBytes);
  const line = stripVTControlCharacters(start)
    .split(/[\r\n\v\f\u0085\u2028\u2029]+/)
    .map((part) => part.replace(/[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]+/gu, ' ').trim())
    .filter((part) => part !== '')
    .join(' | ')
    .toWellFormed();
  const shown = shorten(line, maxBytes);
  return shown === line && start.length < text.length ? `${line}…` : shown;
}

function shorten(text: string, maxBytes: number): string {
  if (Buffer.byteLength(text) <= maxBytes) return text;
  let size = 0;
  let end = 0;
  for (const character of text) {
    size += Buffer.byteLength(character);
    if (size > maxBytes) break;
    end += character.length;
  }
  return `${text.slice(0, end)}…`;
}
