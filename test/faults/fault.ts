/** What the fault matrix is made of: `driver.ts`, `world.ts` and `client.ts` each export their `faults`. */

export interface Fault {
  /** Who misbehaves. */
  readonly group: 'driver' | 'world' | 'client';
  /** A row of the table, and the value of `--fault`. */
  readonly name: string;
  readonly cells: readonly Cell[];
}

/** One fault in one call. */
export interface Cell {
  /** A column of the table: the verb or the RPC that meets the fault. */
  readonly call: string;
  /**
   * Performs everything, on its own plugin and directory, and removes what it made. Resolves with a short text for
   * the table (`INTERNAL, nothing mounted`, `OK`); throws when something that is promised does not hold.
   */
  run(): Promise<string>;
}
