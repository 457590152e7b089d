/** What only V8 knows of a process: the memory that is left after a collection, and what it is made of. */
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';

const MEMORY = 'JSON.stringify(process.memoryUsage())';
const ANSWER_MS = 60_000;

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: { readonly chunk?: string };
  readonly result?: { readonly result?: { readonly value?: string } };
}

export class Inspector {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (result: Message['result']) => void>();
  #onChunk: (chunk: string) => void = () => {};
  #last = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener('message', ({ data }) => {
      const message = JSON.parse(String(data)) as Message;
      if (message.id !== undefined) this.#waiting.get(message.id)?.(message.result);
      if (message.params?.chunk !== undefined) this.#onChunk(message.params.chunk);
    });
  }

  static async connect(url: string): Promise<Inspector> {
    const socket = new WebSocket(url);
    await once(socket, 'open');
    return new Inspector(socket);
  }

  /** Bytes that are in use after a full collection: objects, and buffers outside the heap. */
  async memoryInUse(): Promise<number> {
    await this.#ask('HeapProfiler.collectGarbage');
    const answer = await this.#ask('Runtime.evaluate', { expression: MEMORY });
    const { heapUsed, external } = JSON.parse(answer?.result?.value ?? '{}') as Record<string, number>;
    return (heapUsed ?? Number.NaN) + (external ?? Number.NaN);
  }

  /** Writes a heap snapshot, for Chrome's tools. */
  async writeHeap(file: string): Promise<void> {
    const stream = createWriteStream(file);
    this.#onChunk = (chunk) => stream.write(chunk);
    await this.#ask('HeapProfiler.takeHeapSnapshot', { reportProgress: false });
    this.#onChunk = () => {};
    stream.end();
    await once(stream, 'close');
  }

  close(): void {
    this.#socket.close();
  }

  async #ask(method: string, params: object = {}): Promise<Message['result']> {
    const id = ++this.#last;
    const { promise, resolve, reject } = Promise.withResolvers<Message['result']>();
    const timer = setTimeout(() => reject(new Error(`${method} is not answered`)), ANSWER_MS);
    this.#waiting.set(id, resolve);
    this.#socket.send(JSON.stringify({ id, method, params }));
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }
}
