/**
 * Names of gRPC codes for failures: given by the driver in its answer, or by rules for the words of a driver that
 * gives none. They are only names here; what they mean to a client is decided in `csi/status.ts`.
 */
import { createContext, Script } from 'node:vm';
import { errorMessage } from '../errors.ts';
import type { Fields } from './fields.ts';
import { JsonNumber, kindOf } from './json.ts';

/** gRPC's codes in the order of their numbers, without OK: a failure is none. */
export const codeNames = [
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
] as const;

export type CodeName = (typeof codeNames)[number];

/** The code of that name, in capitals as gRPC writes it; `CANCELED` is a common second spelling. */
export function codeNamed(text: string): CodeName | undefined {
  return text === 'CANCELED' ? 'CANCELLED' : codeNames.find((name) => name === text);
}

/** What words of a driver mean. */
export interface FailureRule {
  /** Without the flags `g` and `y`: with them an expression remembers where it was. */
  readonly message: RegExp;
  /** Left out: every verb. */
  readonly verbs?: ReadonlySet<string> | undefined;
  readonly code: CodeName;
}

/**
 * How long all rules together may take for one text. Expressions can take exponential time, `(a+)+$` for instance,
 * and a limit on their length would not help; while one runs, nothing else does.
 */
const MATCH_MS = 1_000;

/** `vm` is here for its time limit: it interrupts an expression, too. */
const context = createContext({ work: undefined });
const script = new Script('work()');

function withinTime<T>(work: () => T): T {
  context.work = work;
  try {
    return script.runInContext(context, { timeout: MATCH_MS }) as T;
  } finally {
    context.work = undefined;
  }
}

/**
 * The code of the first rule that fits, for a text on one line and of at most a few KiB. Never throws. When a rule
 * takes too long, no rule fits, and `onProblem` gets a sentence that names it and holds nothing of the text: a
 * later rule must not give a code that the slow one was meant to prevent.
 */
export function codeOfMessage(
  rules: readonly FailureRule[],
  verb: string,
  text: string,
  onProblem: (problem: string) => void = () => {},
): CodeName | undefined {
  const candidates = rules.filter(({ verbs }) => verbs === undefined || verbs.has(verb));
  if (candidates.length === 0) return undefined;
  let tried: FailureRule | undefined;
  try {
    const fitting = withinTime(() =>
      candidates.find((rule) => {
        tried = rule;
        return rule.message.test(text);
      }),
    );
    return fitting?.code;
  } catch (error) {
    onProblem(`the failure rule ${tried?.message} could not be tried: ${errorMessage(error)}`);
    return undefined;
  }
}

/**
 * The `code` of an answer. Never throws: drivers were written when nobody read this field, and theirs may be
 * anything. What is no name of a code comes back as `unknown`, in the driver's own words and as long as they are:
 * mask secrets, then cut it, before it is shown.
 */
export function codeOfAnswer(fields: Fields): { readonly code?: CodeName; readonly unknown?: string } {
  const value = fields.values('code').findLast((one) => one !== null) ?? null;
  if (value === null) return {};
  if (value instanceof JsonNumber) return { unknown: value.text };
  if (typeof value !== 'string') return { unknown: `a JSON ${kindOf(value)}` };
  const code = codeNamed(value);
  return code === undefined ? { unknown: value } : { code };
}
