/** Random decisions that a seed repeats. */

/** A stream of random numbers. Streams with other labels do not depend on it, however much is drawn. */
export class Random {
  readonly #seed: number;
  #state: number;

  constructor(seed: number) {
    this.#seed = seed;
    this.#state = seed;
  }

  /** Another stream: the same for the same label, and independent of what was drawn from this one. */
  fork(label: string): Random {
    // FNV-1a.
    let hash = 0x811c9dc5 ^ this.#seed;
    for (const byte of Buffer.from(label)) hash = Math.imul(hash ^ byte, 0x01000193);
    return new Random(hash >>> 0);
  }

  /** From 0 to 1, without 1. */
  next(): number {
    // Mulberry32: small, and good enough to choose moments.
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from `from` to `to`. */
  whole(from: number, to: number): number {
    return from + Math.floor(this.next() * (to - from + 1));
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<Item>(items: readonly [Item, ...Item[]]): Item {
    return items[this.whole(0, items.length - 1)] ?? items[0];
  }
}
