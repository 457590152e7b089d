/**
 * How many drivers run at once. Calls wait in the order in which they came; a call that has run for long lends its
 * place to the next, so that drivers that hang (a dead server, a lock) do not keep those waiting that would not.
 */

/** What a call that still runs then is: slow, or hung. */
const LEND_AFTER_MS = 30_000;

export class Places {
  #free: number;
  readonly #lendAfterMs: number;
  readonly #waiting: (() => void)[] = [];

  /** @param count how many calls run at once, at least 1. */
  constructor(count: number, lendAfterMs = LEND_AFTER_MS) {
    this.#free = count;
    this.#lendAfterMs = lendAfterMs;
  }

  /** Runs `work` as soon as there is a place for it. */
  async use<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    let isGivenBack = false;
    const giveBack = (): void => {
      if (isGivenBack) return;
      isGivenBack = true;
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    };
    const lend = setTimeout(giveBack, this.#lendAfterMs);
    lend.unref();
    try {
      return await work();
    } finally {
      clearTimeout(lend);
      giveBack();
    }
  }
}
