import { isUtf8 } from 'node:buffer';

const REPLACEMENT = Buffer.from('\ufffd');

/** The text of these bytes. Each byte that is not part of valid UTF-8 becomes one U+FFFD: Go's rule, finer than TextDecoder's. */
export function decodeUtf8(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString('utf8');
  const parts: Buffer[] = [];
  let goodFrom = 0;
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceLength(bytes, at);
    if (length > 0) {
      at += length;
      continue;
    }
    parts.push(bytes.subarray(goodFrom, at), REPLACEMENT);
    at += 1;
    goodFrom = at;
  }
  parts.push(bytes.subarray(goodFrom));
  return Buffer.concat(parts).toString('utf8');
}

/** The length of the valid UTF-8 sequence at this place, or 0. */
function sequenceLength(bytes: Buffer, at: number): number {
  const lead = bytes[at] ?? 0;
  const length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  return at + length <= bytes.length && isUtf8(bytes.subarray(at, at + length)) ? length : 0;
}
