/** What a program reads on standard input: a file without a name, in memory. */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { errorCode } from './errors.ts';

/** A tmpfs on every Linux, in containers as well. */
const MEMORY = '/dev/shm';
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
 * @throws an error of the operating system, its `code` with the directory where that is the cause.
 */
export function openInput(text: string): number {
  const file = openInMemory();
  try {
    const bytes = Buffer.from(text);
    for (let written = 0; written < bytes.length; ) written += writeSync(file, bytes, written);
    // Opened anew: from its beginning, and the program cannot write.
    return openSync(`/proc/self/fd/${file}`, constants.O_RDONLY);
  } finally {
    closeSync(file);
  }
}

function openInMemory(): number {
  try {
    return openSync(MEMORY, O_TMPFILE | constants.O_RDWR, 0o600);
  } catch (error) {
    const code = `${errorCode(error)} of ${MEMORY}, which has to be a tmpfs that can be written`;
    throw Object.assign(new Error(code, { cause: error }), { code });
  }
}
