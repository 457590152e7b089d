/** A promise of flexcsi that was not kept. */
export class Violation extends Error {
  override readonly name = 'Violation';
  readonly invariant: string;

  /** @param details what was found, one line each. */
  constructor(invariant: string, details: readonly string[]) {
    super([invariant, ...details.map((line) => `  ${line}`)].join('\n'));
    this.invariant = invariant;
  }
}

/** @throws {Violation} when there are any problems. */
export function require(invariant: string, problems: readonly string[]): void {
  if (problems.length > 0) throw new Violation(invariant, problems);
}
