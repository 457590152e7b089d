/**
 * Runs a job for many who ask at the same time, never more than one run at once. Nobody gets the result of a
 * run that began before they asked: who asks while one runs shares the next with all others who do.
 */
export class SharedRun<T> {
  readonly #job: (overlapped: T | undefined) => Promise<T>;
  #running: Promise<T> | undefined;
  #next: Promise<T> | undefined;

  /** The job gets the result of the run during which it was asked for, if there was one. */
  constructor(job: (overlapped: T | undefined) => Promise<T>) {
    this.#job = job;
  }

  ask(): Promise<T> {
    if (this.#running === undefined) return this.#start(undefined);
    const start = (overlapped?: T): Promise<T> => {
      this.#next = undefined;
      return this.#start(overlapped);
    };
    this.#next ??= this.#running.then(start, () => start());
    return this.#next;
  }

  #start(overlapped: T | undefined): Promise<T> {
    const running = this.#job(overlapped);
    this.#running = running;
    const end = (): void => {
      if (this.#running === running && this.#next === undefined) this.#running = undefined;
    };
    running.then(end, end);
    return running;
  }
}
