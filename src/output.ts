/** What a program prints: read from a pipe to its end, or as far as somebody waits for it. */
import { constants } from 'node:fs';
import { Socket } from 'node:net';

/** A pipe without a name: any number of ends can be opened until it is closed. */
export interface Pipe {
  open(flags: number): number;
  close(): void;
}

/** Reads a pipe to its end, keeping at most `limit` bytes. */
export class OutputCollector {
  readonly #socket: Socket;
  readonly #limit: number;
  readonly #ended: Promise<void>;
  #arrived: () => void = () => {};
  #chunks: Buffer[] = [];
  #size = 0;
  #overLimit: () => void = () => {};

  constructor(pipe: Pipe, limit: number) {
    this.#limit = limit;
    this.#socket = new Socket({
      fd: pipe.open(constants.O_RDONLY | constants.O_NONBLOCK),
      readable: true,
      writable: false,
    });
    this.#ended = new Promise((resolve) => {
      this.#socket.on('end', () => resolve());
      // Reading a pipe does not fail; if it does, it is as good as its end, and `untilEnd` has its own limit.
      this.#socket.on('error', () => resolve());
    });
    this.#socket.on('data', (chunk: Buffer) => {
      this.#keep(chunk);
      this.#arrived();
    });
  }

  #keep(chunk: Buffer): void {
    const room = this.#limit - this.#size;
    if (chunk.length <= room) {
      this.#chunks.push(chunk);
      this.#size += chunk.length;
      return;
    }
    if (room > 0) this.#chunks.push(chunk.subarray(0, room));
    this.#size = this.#limit;
    this.#overLimit();
    this.#overLimit = () => {};
  }

  /** Calls back once when more than the limit arrives. */
  onLimit(callback: () => void): void {
    this.#overLimit = callback;
  }

  /** Resolves when all writers have closed their end, after `graceMs`, or when the output is complete. */
  async untilEnd(graceMs: number, isComplete: (output: Buffer) => boolean = () => false): Promise<void> {
    const { promise: enough, resolve } = Promise.withResolvers<void>();
    // Timers run before what has arrived is read: on a busy machine both are due at once, and output that was
    // there in time would pass for none. After the immediate it has been read.
    const timer = setTimeout(() => setImmediate(resolve), graceMs);
    this.#arrived = () => {
      if (isComplete(this.output())) resolve();
    };
    await Promise.race([this.#ended, enough]);
    this.#arrived = () => {};
    clearTimeout(timer);
  }

  /** What has come so far. */
  output(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  /**
   * What was collected, and calls `drained` when nobody writes any more: now, or when the daemon that still
   * holds the other end lets go. Until then reading goes on: closing our end would kill it (SIGPIPE) at its
   * next line.
   */
  finish(drained: () => void): Buffer {
    const output = this.output();
    this.#chunks = [];
    this.#socket.removeAllListeners('data');
    this.#socket.resume();
    this.#socket.unref();
    void this.#ended.then(drained);
    return output;
  }

  /** Lets go of a pipe that no program got: without a writer its end would never come. */
  abandon(): void {
    this.#socket.destroy();
  }
}
