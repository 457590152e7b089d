import { describe, expect, it } from 'vitest';
import { type Expectation, judge, readReport, unknownNames } from './report.ts';

/** A spec as ginkgo 2 reports it. */
function spec(text: string, state: string, ...messages: string[]) {
  const [first, ...others] = messages;
  return {
    ContainerHierarchyTexts: ['Node Service', 'NodeGetInfo'],
    LeafNodeType: 'It',
    LeafNodeText: text,
    State: state,
    StartTime: '2026-01-01T00:00:00.123456789Z',
    EndTime: '2026-01-01T01:00:01+01:00',
    ...(first === undefined ? {} : { Failure: { Message: first } }),
    ...(others.length === 0
      ? {}
      : { AdditionalFailures: others.map((Message) => ({ State: 'failed', Failure: { Message } })) }),
  };
}

const reportOf = (...specs: object[]): string => JSON.stringify([{ SuitePath: 'x', SpecReports: specs }]);
const resultsOf = (...specs: object[]) => readReport(reportOf(...specs));
const none: Expectation = { skipped: [], failing: [] };

describe('readReport', () => {
  it('names a test by its groups, and tells when it ran', () => {
    expect(resultsOf(spec('works', 'passed'))).toEqual([
      {
        test: 'Node Service > NodeGetInfo > works',
        state: 'passed',
        message: '',
        from: Date.UTC(2026, 0, 1, 0, 0, 0, 123),
        to: Date.UTC(2026, 0, 1, 0, 0, 1),
      },
    ]);
  });

  it.each([
    ['passed', 'passed'],
    ['skipped', 'skipped'],
    ['pending', 'skipped'],
    ['failed', 'failed'],
    ['panicked', 'failed'],
    ['timedout', 'failed'],
    ['interrupted', 'failed'],
    ['aborted', 'failed'],
    ['a state of tomorrow', 'failed'],
  ])('takes %s for %s', (said, state) => {
    expect(resultsOf(spec('works', said))[0]?.state).toBe(state);
  });

  it('tells every message of a failure, that of the clean-up too', () => {
    const [result] = resultsOf(spec('works', 'failed', 'code = NotFound', 'resource cleanup failed'));
    expect(result?.message).toBe('code = NotFound\nresource cleanup failed');
  });

  it('counts a failure outside of the tests', () => {
    const [result] = resultsOf({
      ...spec('', 'failed', 'no socket'),
      ContainerHierarchyTexts: null,
      LeafNodeType: 'BeforeSuite',
    });
    expect(result).toMatchObject({ test: 'BeforeSuite ', state: 'failed' });
  });

  it.each(['', '[]', '{}', '[{"SpecReports":[{}]}]', reportOf()])('refuses %j', (text) => {
    expect(() => readReport(text)).toThrow();
  });
});

describe('judge', () => {
  const why = 'not offered';
  const expected: Expectation = {
    skipped: [{ tests: ['Node Service > NodeGetInfo'], why }],
    failing: [{ tests: ['Node Service > NodeGetInfo > cannot work'], why, message: /Unimplemented/ }],
  };
  const counts = (expectation: Expectation, ...specs: object[]) => {
    const { passed, failed, skipped } = judge(resultsOf(...specs), expectation);
    return [passed.length, failed.length, skipped.length];
  };

  it.each([
    ['what passed has passed', none, spec('a', 'passed'), [1, 0, 0]],
    ['what failed has failed', none, spec('a', 'failed', 'x'), [0, 1, 0]],
    ['a failure is one where a skip is expected, too', expected, spec('a', 'failed', 'x'), [0, 1, 0]],
    ['a skip that is not expected is a failure', none, spec('a', 'skipped', 'x'), [0, 1, 0]],
    ['so is a test that is not reached', none, spec('a', 'pending'), [0, 1, 0]],
    ['an expected skip is none', expected, spec('a', 'skipped', 'x'), [0, 0, 1]],
    ['a test that passes is to be taken off the list', expected, spec('a', 'passed'), [0, 1, 0]],
    [
      'what cannot work fails as it must',
      expected,
      spec('cannot work', 'failed', 'Unimplemented'),
      [0, 0, 1],
    ],
    ['otherwise than it must is a failure', expected, spec('cannot work', 'failed', 'Internal'), [0, 1, 0]],
    ['a skip is a failure there', expected, spec('cannot work', 'skipped', 'Unimplemented'), [0, 1, 0]],
    ['and so is success', expected, spec('cannot work', 'passed'), [0, 1, 0]],
  ])('%s', (_, expectation, one, wanted) => {
    expect(counts(expectation, one)).toEqual(wanted);
  });

  it('takes a name for the group or the test of that name, not for longer ones', () => {
    const [result] = resultsOf(spec('works well', 'skipped'));
    const judged = (name: string) =>
      judge([result as NonNullable<typeof result>], { skipped: [{ tests: [name], why }], failing: [] });
    expect(judged('Node Service').skipped).toMatchObject([{ why }]);
    expect(judged('Node Service > NodeGetInfo > works well').skipped).toHaveLength(1);
    expect(judged('Node Service > NodeGetInfo > works').failed).toHaveLength(1);
    expect(judged('Node Service > NodeGet').failed).toHaveLength(1);
  });
});

describe('unknownNames', () => {
  it('finds the names in the expectations that no test has', () => {
    const tests = ['Node Service', 'Node Service > NodeGetInfo > work'];
    expect(
      unknownNames(resultsOf(spec('works', 'passed')), { skipped: [{ tests, why: '' }], failing: [] }),
    ).toEqual(['Node Service > NodeGetInfo > work']);
  });
});
