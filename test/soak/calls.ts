/**
 * Calls as Kubernetes makes them, and worse: so many at once, repeated until they succeed; some are cancelled, have no
 * time, or come twice. Every answer is judged.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import type { Random } from '../crash/random.ts';
import type { CallOptions } from '../support/csi-client.ts';
import type { Problems } from './problems.ts';

export const ANSWERED = 'every call is answered';
export const EXPECTED = 'every answer is one that the call may get';
export const SUCCEEDS = 'a call that is repeated succeeds in the end';

/** Kubelet's own limit. */
const DEADLINE_MS = 120_000;
/** Drivers fail at random: so long they never do. */
const STUCK_MS = 300_000;
const BACK_OFF_MS = 50;
const MAX_BACK_OFF_MS = 1_500;
/** Of calls that may be disturbed. */
const DISTURBED = 0.12;

type Code = keyof typeof status;
export type Send<Answer> = (options: CallOptions) => Promise<Answer>;
type Outcome<Answer> =
  | { readonly code: 'OK'; readonly answer: Answer }
  | { readonly code: Exclude<Code, 'OK'>; readonly message: string };

/** What a failing or hanging driver, or a call that is still running, may make of any call. */
const OF_THE_DRIVER: ReadonlySet<Code> = new Set<Code>([
  'INTERNAL',
  'DEADLINE_EXCEEDED',
  'UNAVAILABLE',
  'ABORTED',
  'RESOURCE_EXHAUSTED',
]);
const WORDS = /driver flexcsi\/soak|still running; try again|the client has given up waiting/;

export interface Limits {
  /** Other codes that this very call has to get. */
  readonly codes?: readonly Code[];
  /** Whether it runs a driver, which may fail. */
  readonly driver?: boolean;
}

export class Calls {
  /** Answers by code. */
  readonly answers = new Map<Code, number>();
  /** The RPCs that have succeeded. */
  readonly succeeded = new Set<string>();
  /** Calls that have been answered. */
  count = 0;
  /** Calls that wait for their answer now. */
  running = 0;
  readonly #most: number;
  readonly #random: Random;
  readonly #problems: Problems;
  readonly #halt: AbortSignal;
  readonly #queue: (() => void)[] = [];
  /** No more disturbances: everything is being taken down. */
  calm = false;

  constructor(most: number, random: Random, problems: Problems, halt: AbortSignal) {
    this.#most = most;
    this.#random = random;
    this.#problems = problems;
    this.#halt = halt;
    problems.expect(ANSWERED, EXPECTED, SUCCEEDS);
  }

  /**
   * One call, and what came of it.
   *
   * @param what the RPC, and after a space what it is about.
   */
  async once<Answer>(
    what: string,
    send: Send<Answer>,
    limits: Limits = {},
    options: CallOptions = {},
  ): Promise<Outcome<Answer>> {
    await this.#enter();
    const start = performance.now();
    let outcome: Outcome<Answer>;
    try {
      outcome = { code: 'OK', answer: await send({ deadlineMs: DEADLINE_MS, ...options }) };
    } catch (error) {
      const { code, details } = error as { code?: number; details?: string };
      const name = status[code ?? -1] as Exclude<Code, 'OK'> | undefined;
      if (name === undefined) throw error;
      outcome = { code: name, message: details ?? '' };
    } finally {
      this.#leave();
    }
    const lasted = performance.now() - start;
    if (!this.#halt.aborted) this.#judge(what, outcome, limits, options, lasted);
    return outcome;
  }

  /**
   * Makes a call until it succeeds, as kubelet does; undefined when `giveUp` says after a failure that nobody wants it
   * any more.
   *
   * @throws the reason of the halt.
   */
  async until<Answer>(
    what: string,
    send: Send<Answer>,
    { giveUp = () => false, ...limits }: Limits & { readonly giveUp?: () => boolean } = {},
  ): Promise<Answer | undefined> {
    const start = performance.now();
    for (let wait = BACK_OFF_MS; ; wait = Math.min(wait * 2, MAX_BACK_OFF_MS)) {
      const outcomes = await this.#attempt(what, send, limits);
      this.#halt.throwIfAborted();
      for (const outcome of outcomes) if (outcome.code === 'OK') return outcome.answer;
      if (giveUp()) return undefined;
      if (performance.now() - start > STUCK_MS) {
        const last = outcomes
          .map((one) => (one.code === 'OK' ? '' : `${one.code} ${one.message}`))
          .join('; ');
        this.#problems.add(SUCCEEDS, `${what}: ${last}`);
        throw new Error(`${what} does not succeed: ${last}`);
      }
      await sleep(wait * (0.5 + this.#random.next()), undefined, { ref: false });
    }
  }

  async #attempt<Answer>(what: string, send: Send<Answer>, limits: Limits): Promise<Outcome<Answer>[]> {
    const random = this.#random;
    if (this.calm || !random.chance(DISTURBED)) return [await this.once(what, send, limits)];
    switch (random.whole(0, 3)) {
      case 0:
        return await Promise.all([this.once(what, send, limits), this.once(what, send, limits)]);
      case 1:
        return [await this.once(what, send, limits, { deadlineMs: -1_000 })];
      case 2:
        return [await this.once(what, send, limits, { deadlineMs: random.whole(1, 300) })];
      default: {
        const signal = AbortSignal.timeout(random.whole(1, 300));
        return [await this.once(what, send, limits, { signal })];
      }
    }
  }

  #judge(
    what: string,
    outcome: Outcome<unknown>,
    limits: Limits,
    options: CallOptions,
    lasted: number,
  ): void {
    const { code } = outcome;
    this.count += 1;
    this.answers.set(code, (this.answers.get(code) ?? 0) + 1);
    if (code === 'OK') this.succeeded.add(what.split(' ')[0] ?? '');
    const message = code === 'OK' ? '' : outcome.message;
    const told = `${what}: ${code} ${message} (after ${Math.round(lasted)} ms)`;
    if (options.deadlineMs === undefined && lasted >= DEADLINE_MS) this.#problems.add(ANSWERED, told);
    const isOwn =
      (code === 'DEADLINE_EXCEEDED' && options.deadlineMs !== undefined) ||
      (code === 'CANCELLED' && options.signal !== undefined);
    if (isOwn) return;
    if (limits.codes === undefined ? code === 'OK' : limits.codes.includes(code)) return;
    const isOfDriver = OF_THE_DRIVER.has(code) && WORDS.test(message);
    if (!(isOfDriver && limits.driver !== false)) this.#problems.add(EXPECTED, told);
  }

  async #enter(): Promise<void> {
    if (this.running < this.#most) this.running += 1;
    else await new Promise<void>((resolve) => this.#queue.push(resolve));
  }

  #leave(): void {
    const next = this.#queue.shift();
    if (next === undefined) this.running -= 1;
    else next();
  }
}
