/** What is fuzzed: something that has to hold for all cases of a kind, and how many of them are tried. */
import { inspect } from 'node:util';
import fc from 'fast-check';

/** A target, whatever its cases are. */
export interface Target {
  readonly name: string;
  /** What holds, in a few words. */
  readonly what: string;
  /** How many of the cases are its, compared with the other targets. */
  readonly share: number;
  fuzz(options: Trial): Promise<Outcome>;
}

export interface Trial {
  readonly cases: number;
  readonly seed: number;
  /** Called before each case, also of those that look for a simpler one after a failure. */
  readonly onCase: () => void;
}

export interface Outcome {
  /** How many cases were tried, the failing one included, not counting those that simplify it. */
  readonly cases: number;
  /** What went wrong, with the seed and the simplest case that was found. */
  readonly fault?: string;
}

/** How a target is written down. */
export interface Description<Case> {
  readonly name: string;
  readonly what: string;
  readonly share: number;
  /** How many things one case tries, where these are counted; 1 when left out. */
  readonly size?: number;
  /** Begins a trial: makes what its cases share, a process for instance. */
  begin(): Promise<Cases<Case>> | Cases<Case>;
}

export interface Cases<Case> {
  readonly of: fc.Arbitrary<Case>;
  /** Throws when it does not hold. */
  holds(one: Case): void | Promise<void>;
  /** At the end of the trial, whatever its outcome. */
  end?(): Promise<void>;
}

export function target<Case>({ name, what, share, size = 1, begin }: Description<Case>): Target {
  return {
    name,
    what,
    share,
    fuzz: async (trial) => {
      const cases = await begin();
      try {
        return await tryCases(cases, size, trial);
      } finally {
        await cases.end?.();
      }
    },
  };
}

async function tryCases<Case>(
  { of, holds }: Cases<Case>,
  size: number,
  { cases, seed, onCase }: Trial,
): Promise<Outcome> {
  const property = fc.asyncProperty(of, async (one) => {
    onCase();
    await holds(one);
  });
  const details = await fc.check(property, { numRuns: Math.ceil(cases / size), seed });
  const tried = details.numRuns * size;
  return details.failed ? { cases: tried, fault: faultOf(details) } : { cases: tried };
}

/** Of a case that is printed: what is longer is not read by anybody, and can be had again with the seed. */
const LONGEST = 6_000;

function faultOf<Case>(details: fc.RunDetails<[Case]>): string {
  const { seed, numRuns, numShrinks, counterexample, errorInstance } = details;
  const error = errorInstance instanceof Error ? (errorInstance.stack ?? '') : String(errorInstance);
  const shown = inspect(readable(counterexample?.[0]), { depth: null, maxStringLength: LONGEST });
  return [
    `seed ${seed}, case ${numRuns}; the simplest that fails (found in ${numShrinks} steps):`,
    shown.length > LONGEST ? `${shown.slice(0, LONGEST)}… (${shown.length} characters)` : shown,
    error.slice(0, LONGEST),
  ].join('\n');
}

/** Bytes as text. */
function readable(value: unknown): unknown {
  if (value instanceof Uint8Array) return { bytes: Buffer.from(value).toString('latin1') };
  if (Array.isArray(value)) return value.map(readable);
  if (typeof value !== 'object' || value === null || Symbol.iterator in value) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, readable(inner)]));
}
