/** What happened against what was expected. */
import { status } from '@grpc/grpc-js';
import type { DriverCall } from '../../support/scripted-driver.ts';
import type { Expectation, ExpectedCall, Seen } from './expectation.ts';
import { stateDifferences } from './world.ts';

/** One line for each difference. `aside` are verbs that belong to another step of kubelet's. */
export async function differences(
  expected: Expectation,
  seen: Seen,
  aside: readonly string[],
): Promise<string[]> {
  const found = [
    ...callDifferences(
      expected.calls,
      seen.calls.filter(({ verb }) => !aside.includes(verb)),
    ),
    ...hostDifferences(expected, seen),
    ...outcomeDifferences(expected, seen),
    ...Object.entries(expected.after).flatMap(([path, state]) => stateDifferences(path, state)),
  ];
  for (const check of expected.checks) {
    const problem = await check(seen);
    if (problem !== undefined) found.push(problem);
  }
  return found;
}

export function callDifferences(expected: readonly ExpectedCall[], seen: readonly DriverCall[]): string[] {
  const found: string[] = [];
  for (let index = 0; index < Math.max(expected.length, seen.length); index += 1) {
    const want = expected[index];
    const got = seen[index];
    if (want === undefined) found.push(`driver call not expected: ${show(got?.argv.map(String))}`);
    else if (got === undefined) found.push(`driver call missing: ${show(want.argv)}`);
    else found.push(...oneCallDifferences(want, got));
  }
  return found;
}

function oneCallDifferences(want: ExpectedCall, got: DriverCall): string[] {
  const same =
    want.argv.length === got.argv.length &&
    want.argv.every((argument, index) => Buffer.from(argument).equals(got.argv[index] as Buffer));
  return [
    ...(want.file === got.file ? [] : [`driver ${want.file} expected, was ${got.file}`]),
    ...(same ? [] : [`driver call ${show(want.argv)}\n    expected, was ${show(got.argv.map(String))}`]),
  ];
}

function hostDifferences(expected: Expectation, seen: Seen): string[] {
  const found = seen.strange.map((command) => `flexcsi ran: ${command}`);
  const want = expected.hostCommands.map((words) => words.join(' ')).join('\n    ');
  const got = seen.hostCommands.map((words) => words.join(' ')).join('\n    ');
  if (want !== got)
    found.push(`host commands\n    ${want || 'none'}\n  expected, were\n    ${got || 'none'}`);
  return found;
}

function outcomeDifferences(expected: Expectation, seen: Seen): string[] {
  const { error, result } = seen;
  if (expected.ok !== (error === undefined)) {
    const got = error === undefined ? `success ${JSON.stringify(result)}` : errorText(error);
    return [`${expected.ok ? 'success' : `an error (${expected.words})`} expected, was: ${got}`];
  }
  if (error !== undefined) {
    const found = expected.words
      .filter((words) => !contains(error.message, words))
      .map((words) => `error with "${words}" expected, was: ${errorText(error)}`);
    if (expected.code !== undefined && expected.code !== error.code) {
      found.push(`error ${status[expected.code]} expected, was: ${errorText(error)}`);
    }
    if (error.message.trim() === '' || /[\r\n]/.test(error.message)) found.push('error is not one line');
    return found;
  }
  return Object.entries(expected.result)
    .filter(([name, value]) => JSON.stringify(sorted(value)) !== JSON.stringify(sorted(result[name])))
    .map(([name, value]) => `${name} ${JSON.stringify(value)} expected, was ${JSON.stringify(result[name])}`);
}

/** flexcsi shows line breaks and other control characters in its own way, and cuts off long texts. */
function contains(message: string, words: string): boolean {
  let from = 0;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  for (const part of words.slice(0, 800).split(/\s*[\x00-\x1f\x7f\u2028\u2029]+\s*/)) {
    const at = message.indexOf(part.trim(), from);
    if (at === -1) return false;
    from = at + part.trim().length;
  }
  return true;
}

function errorText(error: NonNullable<Seen['error']>): string {
  return `${error.code === undefined ? '' : `${status[error.code]} `}${error.message}`;
}

function sorted(value: unknown): unknown {
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function show(argv: readonly string[] | undefined): string {
  const text = JSON.stringify(argv);
  return text.length > 900 ? `${text.slice(0, 900)}…` : text;
}
