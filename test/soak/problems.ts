/** What went wrong, by the rule that it breaks. */

/** Examples that are kept of each rule. */
const EXAMPLES = 5;

export class Problems {
  readonly #rules = new Map<string, { count: number; readonly examples: string[] }>();

  /** Names a rule that is checked, so that it counts as passed when nothing breaks it. */
  expect(...rules: readonly string[]): void {
    for (const rule of rules) this.#of(rule);
  }

  add(rule: string, ...examples: readonly string[]): void {
    const found = this.#of(rule);
    found.count += examples.length;
    found.examples.push(...examples.slice(0, Math.max(0, EXAMPLES - found.examples.length)));
  }

  get count(): number {
    return [...this.#rules.values()].reduce((sum, { count }) => sum + count, 0);
  }

  /** All rules, in the order in which they were named. */
  all(): { readonly rule: string; readonly count: number; readonly examples: readonly string[] }[] {
    return [...this.#rules].map(([rule, found]) => ({ rule, ...found }));
  }

  #of(rule: string) {
    const found = this.#rules.get(rule) ?? { count: 0, examples: [] };
    this.#rules.set(rule, found);
    return found;
  }
}
