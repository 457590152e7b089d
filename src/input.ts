/** What a program reads on standard input: a text that is written as the program takes it. */
import { closeSync, constants } from 'node:fs';
import { Socket } from 'node:net';
import type { Pipe } from './output.ts';

/**
 * Writes a text into a pipe, then closes it: the program sees the text and its end. Nothing here blocks or
 * throws later on; a program that does not want the text, or not all of it, is none of our business.
 *
 * Texts are secrets. The pipe must be a new one and is used up: what a program leaves in it, or a daemon that
 * still holds it would get, is never another program's.
 */
export class InputWriter {
  readonly #socket: Socket;
  #readEnd: number | undefined;

  /** Takes the ends that it needs, so that `pipe` can be closed. Throws what opening them throws. */
  constructor(pipe: Pipe, text: string) {
    // Opened apart from the writing end, which does not block: programs are not prepared for EAGAIN.
    const readEnd = pipe.open(constants.O_RDONLY);
    try {
      this.#socket = new Socket({
        fd: pipe.open(constants.O_WRONLY | constants.O_NONBLOCK),
        readable: false,
        writable: true,
      });
    } catch (error) {
      closeSync(readEnd);
      throw error;
    }
    this.#readEnd = readEnd;
    // EPIPE: nobody reads any more. (Node ignores SIGPIPE, and restores it in the programs that it starts.)
    this.#socket.on('error', () => {});
    // Not `end`: its shutdown(2) is for sockets.
    this.#socket.write(text, () => this.#socket.destroy());
  }

  /** The descriptor that becomes the program's standard input, until `handedOver`. */
  get readEnd(): number {
    if (this.#readEnd === undefined) throw new Error('the reading end was handed over already');
    return this.#readEnd;
  }

  /** The program has its copy of the reading end: only when ours is closed, its closing can be noticed. */
  handedOver(): void {
    if (this.#readEnd !== undefined) closeSync(this.#readEnd);
    this.#readEnd = undefined;
  }

  /** Closes everything. A child of the program that still reads gets what is in the pipe (64 KiB), then the end. */
  stop(): void {
    this.handedOver();
    this.#socket.destroy();
  }
}
