/** Calls as Kubernetes makes them: what an error means to it, and when it asks again. */
import { setTimeout as sleep } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import type { History } from './history.ts';
import { Violation } from './violation.ts';

/** `pending`: to Kubernetes it may still be running. `final`: it takes it that nothing is there. */
export type Outcome<Answer> =
  | { readonly kind: 'done'; readonly answer: Answer }
  | { readonly kind: 'pending' | 'final'; readonly code: string; readonly message: string };

/** Kubelet, `IsOperationFinishedError` with `isFinalError` of its CSI client. */
const PENDING: ReadonlySet<number> = new Set([
  status.CANCELLED,
  status.DEADLINE_EXCEEDED,
  status.UNAVAILABLE,
  status.RESOURCE_EXHAUSTED,
  status.ABORTED,
]);

/** Kubelet waits 500 ms and more; nobody wants to wait here. */
const BACK_OFF_MS = 50;
const MAX_BACK_OFF_MS = 1_000;
/** A driver waits for a lock for one minute, so that a call which then succeeds is not stuck. */
const STUCK_MS = 240_000;
/** Kubelet's own limit is 2 minutes. */
export const DEADLINE_MS = 120_000;

export class Calls {
  readonly #history: History;
  readonly #disturbed: () => number;
  readonly #halt: AbortSignal;

  /**
   * @param disturbed when something was killed last, in ms since 1970: calls have to succeed after that.
   * @param halt nothing is called any more.
   */
  constructor(history: History, disturbed: () => number, halt: AbortSignal) {
    this.#history = history;
    this.#disturbed = disturbed;
    this.#halt = halt;
  }

  /** Makes one call. */
  async once<Answer>(who: string, rpc: string, send: () => Promise<Answer>): Promise<Outcome<Answer>> {
    try {
      const answer = await send();
      this.#history.answered(who, rpc, 'OK', 'OK');
      return { kind: 'done', answer };
    } catch (error) {
      const { code, details } = error as { code?: number; details?: string };
      if (code === undefined) throw error;
      const name = status[code] ?? String(code);
      const message = details ?? '';
      this.#history.answered(who, rpc, name, `${name} ${message}`);
      return { kind: PENDING.has(code) ? 'pending' : 'final', code: name, message };
    }
  }

  /**
   * Makes a call again until it succeeds, or until `giveUp` says of an error that Kubernetes now wants something
   * else: undefined then.
   *
   * @throws {Violation} when it does not succeed though nothing was killed for long.
   */
  async until<Answer>(
    who: string,
    rpc: string,
    send: () => Promise<Answer>,
    giveUp: (outcome: Exclude<Outcome<Answer>, { kind: 'done' }>) => boolean | Promise<boolean>,
  ): Promise<Answer | undefined> {
    const start = Date.now();
    this.#history.note(who, `${rpc} …`);
    for (let wait = BACK_OFF_MS; ; wait = Math.min(wait * 2, MAX_BACK_OFF_MS)) {
      const outcome = await this.once(who, rpc, send);
      this.#halt.throwIfAborted();
      if (outcome.kind === 'done') return outcome.answer;
      if (await giveUp(outcome)) return undefined;
      if (Date.now() - Math.max(start, this.#disturbed()) > STUCK_MS) {
        throw new Violation('a call that is repeated succeeds in the end', [
          `${who}: ${rpc}: ${outcome.code} ${outcome.message}`,
        ]);
      }
      await sleep(wait);
    }
  }
}
