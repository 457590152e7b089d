/** What a program reads on standard input: a file without a name, in memory. */
import { closeSync, constants, openSync, statfsSync, writeSync } from 'node:fs';
import { errorCode } from './errors.ts';

/** A tmpfs on every Linux, in containers as well. */
const MEMORY = '/dev/shm';
/** What statfs(2) calls a tmpfs. */
const TMPFS = 0x01021994;
/** O_TMPFILE of open(2), which Node does not name; it includes O_DIRECTORY. Never visible in the directory. */
const O_TMPFILE = 0o20_000_000 | constants.O_DIRECTORY;

/**
 * A descriptor from which a program reads this text and its end, to be closed by the caller. The text is no
 * argument, is on no disk, and is gone with the last process that has it open.
 *
 * Not a pipe: what Node makes is a socket, and neither that nor a FIFO can be opened again by path, as in
 * `cat /dev/stdin` (ENXIO; waiting for ever for a writer that has gone). And nothing has to be written while the
 * program runs, however slowly it reads.
 *
 * @throws an error of the operating system, whose `code` tells what is wrong with the directory.
 */
export function openInput(text: string): number {
  try {
    // Anywhere else the text would be written to a disk.
    if (statfsSync(MEMORY).type !== TMPFS) throw Object.assign(new Error(), { code: 'not a tmpfs' });
    const file = openSync(MEMORY, O_TMPFILE | constants.O_RDWR, 0o600);
    try {
      const bytes = Buffer.from(text);
      for (let written = 0; written < bytes.length; ) written += writeSync(file, bytes, written);
      // Opened anew, to be read from its beginning.
      return openSync(`/proc/self/fd/${file}`, constants.O_RDONLY);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    const code = `${errorCode(error)}, from ${MEMORY}: a tmpfs with room for the options is needed there`;
    throw Object.assign(new Error(code, { cause: error }), { code });
  }
}
