/**
 * Where flexcsi differs from kubelet on purpose (docs/limitations.md), as rules: which records a rule is about,
 * told by what was given and answered, and what is compared in the place of what kubelet did.
 */
import type { Expectation } from './expectation.ts';
import type { GoldenRecord } from './records.ts';
import { answerRules } from './rules/answers.ts';
import { inlineRules } from './rules/inline.ts';
import { mountRules } from './rules/mount.ts';
import { processRules } from './rules/process.ts';
import type { Rule } from './rules/rule.ts';
import { unsayableRules } from './rules/unsayable.ts';
import type { Session } from './session.ts';

export const rules: readonly Rule[] = [
  ...answerRules,
  ...mountRules,
  ...inlineRules,
  ...processRules,
  ...unsayableRules,
];

/** The expectation after all rules that apply, and their names. */
export function exceptFor(
  record: GoldenRecord,
  session: Session,
  expected: Expectation,
): { expected: Expectation; names: string[] } {
  const later = session.records.slice(session.earlier.length + 1);
  const applying = rules.filter((rule) => rule.applies(record, session.earlier, later));
  return {
    expected: applying.reduce((changed, rule) => rule.instead(changed, record, session), expected),
    names: applying.map(({ name }) => name),
  };
}
