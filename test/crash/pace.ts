/** Lets several workers run, or brings all of them to rest where nothing of theirs is under way. */
export class Pace {
  #workers: number;
  #waiting = 0;
  #gate: PromiseWithResolvers<void> | undefined;
  #rest: PromiseWithResolvers<void> | undefined;

  constructor(workers: number) {
    this.#workers = workers;
  }

  /** For a worker, between two steps: returns at once while all run. */
  async pass(): Promise<void> {
    while (this.#gate !== undefined) {
      const { promise } = this.#gate;
      this.#waiting += 1;
      this.#announce();
      await promise;
    }
  }

  /** For a worker that has ended. */
  leave(): void {
    this.#workers -= 1;
    this.#announce();
  }

  /** Resolves when all workers are at rest. They stay there until `resume`. */
  rest(): Promise<void> {
    this.#gate ??= Promise.withResolvers();
    this.#rest = Promise.withResolvers();
    this.#announce();
    return this.#rest.promise;
  }

  resume(): void {
    this.#waiting = 0;
    const gate = this.#gate;
    this.#gate = undefined;
    gate?.resolve();
  }

  #announce(): void {
    if (this.#waiting >= this.#workers) this.#rest?.resolve();
  }
}
