/** What csi-sanity found: ginkgo's JSON report, and how it compares with what is expected. Pure. */
import { z } from 'zod';

export interface TestResult {
  /** The texts of the groups around it and its own, joined by ` > `. */
  readonly test: string;
  readonly state: 'passed' | 'failed' | 'skipped';
  /** Why it failed or was skipped, as csi-sanity says it; empty where it says nothing. */
  readonly message: string;
  /** When it ran, clean-up included: milliseconds since 1970. */
  readonly from: number;
  readonly to: number;
}

/** Tests that do not pass, and why that is right. The name of a group stands for all tests in it. */
export interface Exception {
  readonly tests: readonly string[];
  readonly why: string;
}

export interface Expectation {
  readonly skipped: readonly Exception[];
  /** Tests that csi-sanity runs though they cannot pass; each must fail with this in its message. */
  readonly failing: readonly (Exception & { readonly message: RegExp })[];
}

export interface Judgement {
  readonly passed: readonly TestResult[];
  /** With `message` saying what is wrong, also for a test that passed or was skipped against expectation. */
  readonly failed: readonly TestResult[];
  /** As expected; with those that failed because they cannot pass. */
  readonly skipped: readonly (TestResult & { readonly why: string })[];
}

const reportSchema = z.tuple([
  z.object({
    SpecReports: z.array(
      z.object({
        ContainerHierarchyTexts: z.array(z.string()).nullable(),
        LeafNodeType: z.string(),
        LeafNodeText: z.string(),
        State: z.string(),
        StartTime: z.string(),
        EndTime: z.string(),
        Failure: z.object({ Message: z.string() }).optional(),
        AdditionalFailures: z.array(z.object({ Failure: z.object({ Message: z.string() }) })).nullish(),
      }),
    ),
  }),
]);

/**
 * The tests of a JSON report. Every state that is neither passed nor skipped (panicked, timedout, …) has failed.
 *
 * @throws {Error} when the text is not such a report, or has no tests.
 */
export function readReport(text: string): TestResult[] {
  const [{ SpecReports: specs }] = reportSchema.parse(JSON.parse(text));
  if (specs.length === 0) throw new Error('the report has no tests');
  return specs.map((spec) => {
    const leaf = spec.LeafNodeType === 'It' ? spec.LeafNodeText : `${spec.LeafNodeType} ${spec.LeafNodeText}`;
    const failures = [spec.Failure, ...(spec.AdditionalFailures ?? []).map(({ Failure }) => Failure)];
    const state = stateOf(spec.State);
    return {
      test: [...(spec.ContainerHierarchyTexts ?? []), leaf].join(' > '),
      state,
      message:
        failures.flatMap((failure) => failure?.Message ?? []).join('\n') ||
        (state === 'failed' ? spec.State : ''),
      from: Date.parse(spec.StartTime),
      to: Date.parse(spec.EndTime),
    };
  });
}

function stateOf(state: string): TestResult['state'] {
  if (state === 'passed') return 'passed';
  return state === 'skipped' || state === 'pending' ? 'skipped' : 'failed';
}

/**
 * Compares in both directions: a test may only be skipped where that is expected, and a test of which that is
 * expected may not run, or the list would let the capability be lost again unnoticed.
 */
export function judge(results: readonly TestResult[], expected: Expectation): Judgement {
  const passed: TestResult[] = [];
  const failed: TestResult[] = [];
  const skipped: (TestResult & { why: string })[] = [];
  for (const result of results) {
    const skip = expected.skipped.find((one) => covers(one, result.test));
    const failing = expected.failing.find((one) => covers(one, result.test));
    const wrong = (message: string): unknown => failed.push({ ...result, message });
    if (failing !== undefined) {
      if (result.state === 'failed' && failing.message.test(result.message)) {
        skipped.push({ ...result, why: failing.why });
      } else {
        wrong(`expected to fail with ${failing.message}; ${result.state} instead: ${result.message}`);
      }
    } else if (result.state === 'failed') {
      failed.push(result);
    } else if (result.state === 'skipped') {
      if (skip === undefined) wrong(`skipped, which is not expected: ${result.message || 'not reached'}`);
      else skipped.push({ ...result, why: skip.why });
    } else if (skip !== undefined) {
      wrong(`passed, but is listed as skipped (${skip.why}): take it off the list`);
    } else {
      passed.push(result);
    }
  }
  return { passed, failed, skipped };
}

/** Names in the expectations that no test of the report has: misspelt, or gone with another csi-sanity. */
export function unknownNames(results: readonly TestResult[], expected: Expectation): string[] {
  const names = [...expected.skipped, ...expected.failing].flatMap(({ tests }) => tests);
  return names.filter((name) => !results.some(({ test }) => covers({ tests: [name] }, test)));
}

function covers({ tests }: Pick<Exception, 'tests'>, test: string): boolean {
  return tests.some((name) => test === name || test.startsWith(`${name} > `));
}
