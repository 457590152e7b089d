/**
 * The order of calls on one volume. Kubernetes repeats calls while the first still runs: the repeat joins it
 * and gets its result. The same kind for another target waits its turn. Anything else is turned away, to be
 * repeated. Other volumes never wait.
 */
import { Failure } from '../errors.ts';

export interface Call {
  /** What is locked: the volume. */
  readonly volume: string;
  /** `stage`, `publish`, …: calls of one kind wait for each other. */
  readonly kind: string;
  /** What the call works on within the volume: a path, a node. */
  readonly target: string;
  /** All of the request that decides what it does. Calls with the same text are the same call. */
  readonly text: string;
  /** Does not wait for others of its kind, only keeps other kinds away. */
  readonly shared?: boolean;
}

interface Entry {
  readonly call: Call;
  readonly result: Promise<unknown>;
  /** Starts the work; undefined once it has been started. */
  start: (() => void) | undefined;
  /** Callers that still want the result. Work that nobody waits for any more is not begun. */
  waiting: number;
  readonly drop: () => void;
}

const GIVEN_UP = 'the client has given up waiting';

export class VolumeLocks {
  readonly #queues = new Map<string, Entry[]>();
  readonly #what: string;

  /** @param what is locked, for messages. */
  constructor(what = 'volume') {
    this.#what = what;
  }

  /**
   * Runs `work` when its turn comes, or joins the same call. When `cancelled` fires the caller stops waiting:
   * work that has begun goes on (a driver killed half way is worse than a slow one), work that has not is
   * dropped if nobody else waits for it.
   *
   * @throws {Failure} `conflict` when another call on the volume is running; what `work` throws.
   */
  async run<Result>(call: Call, work: () => Promise<Result>, cancelled?: AbortSignal): Promise<Result> {
    // Work for a client that has left would run after the opposite call that the client made since.
    if (cancelled?.aborted) throw new Failure('conflict', GIVEN_UP);
    const entry = this.#same(call) ?? this.#enqueue(call, work);
    entry.waiting += 1;
    const leave = Promise.withResolvers<never>();
    const onCancel = (): void => leave.reject(new Failure('conflict', GIVEN_UP));
    cancelled?.addEventListener('abort', onCancel, { once: true });
    try {
      return (await Promise.race([entry.result, leave.promise])) as Result;
    } finally {
      cancelled?.removeEventListener('abort', onCancel);
      entry.waiting -= 1;
      if (entry.waiting === 0 && entry.start !== undefined) entry.drop();
    }
  }

  get isBusy(): boolean {
    return this.#queues.size > 0;
  }

  /** Resolves when nothing runs and nothing waits. */
  async idle(): Promise<void> {
    while (this.#queues.size > 0) {
      const running = [...this.#queues.values()].flat().map((entry) => entry.result);
      await Promise.allSettled(running);
    }
  }

  #same(call: Call): Entry | undefined {
    return this.#queues
      .get(call.volume)
      ?.find(
        ({ call: other }) =>
          other.kind === call.kind && other.target === call.target && other.text === call.text,
      );
  }

  #enqueue<Result>(call: Call, work: () => Promise<Result>): Entry {
    const queue = this.#queues.get(call.volume) ?? [];
    for (const { call: other } of queue) {
      if (other.kind === call.kind && other.target !== call.target) continue;
      const what = other.kind === call.kind ? `${other.kind} with other arguments` : other.kind;
      throw new Failure('conflict', `${this.#what} ${call.volume}: ${what} is still running; try again`);
    }
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    // Callers may all have left when it fails.
    promise.catch(() => {});
    const entry: Entry = {
      call,
      result: promise,
      waiting: 0,
      start: () => {
        entry.start = undefined;
        work()
          .then(resolve, reject)
          .finally(() => this.#remove(entry));
      },
      drop: () => {
        entry.start = undefined;
        reject(new Failure('conflict', 'nobody waited for this call any more'));
        this.#remove(entry);
      },
    };
    queue.push(entry);
    this.#queues.set(call.volume, queue);
    if (queue.length === 1 || call.shared) entry.start?.();
    return entry;
  }

  #remove(entry: Entry): void {
    const queue = this.#queues.get(entry.call.volume);
    if (queue === undefined) return;
    queue.splice(queue.indexOf(entry), 1);
    if (queue.length === 0) this.#queues.delete(entry.call.volume);
    else queue[0]?.start?.();
  }
}
