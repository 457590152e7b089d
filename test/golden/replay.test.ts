/**
 * The golden replay: every recording of kubelet's FlexVolume plugin against flexcsi, see README.md. Another
 * directory of recordings in the place of this one: GOLDEN_DIR.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lacks } from '../support/requirements.ts';
import { readScenarios, type Scenario } from './replay/records.ts';
import { type Replayed, replay } from './replay/replay.ts';
import { report } from './replay/report.ts';
import { closeWorld, openWorld } from './replay/world.ts';

const directory = process.env.GOLDEN_DIR ?? import.meta.dirname;

describe.skipIf(lacks('root', 'fuse', 'loop', 'mkfs.ext4'))('golden', () => {
  const results: Replayed[] = [];

  beforeAll(openWorld);
  afterAll(() => {
    closeWorld();
    console.log(report(results));
  });

  for (const [file, scenarios] of Map.groupBy(readScenarios(directory), (scenario) => scenario.file)) {
    describe(file, () => {
      for (const scenario of scenarios) it(scenario.name, () => check(scenario));
    });
  }

  async function check(scenario: Scenario): Promise<void> {
    const replayed = await replay(scenario);
    results.push(...replayed);
    const problems = replayed.flatMap(({ step, problems }) =>
      problems.map((problem) => `${step}: ${problem}`),
    );
    expect(problems, problems.join('\n')).toEqual([]);
    expect(replayed).toHaveLength(scenario.records.length + scenario.unread.length);
  }

  // A replay that cannot fail says nothing: each of these changes one thing in a good record.
  describe('notices', () => {
    const name = 'answers.mount/not-supported-exit-0';
    const lines = readFileSync(join(import.meta.dirname, 'answers.jsonl'), 'utf8').split('\n');
    const line = lines.find((one) => one.includes(`"${name}"`)) as string;

    it.each<[what: string, from: string | RegExp, to: string]>([
      ['a byte in an argument', '{\\"id\\"', '{ \\"id\\"'],
      ['another driver', /"exec":"/g, '"exec":"/other'],
      ['a call that is missing', /"calls":\[.*?\],"host_commands"/, '"calls":[],"host_commands"'],
      [
        'another decision',
        '"ok":true',
        '"ok":false,"error":"mount command failed, status: Failure, reason: x"',
      ],
      ['another host command', '"bind,remount"', '"bind,remount,ro"'],
      ['another mode', '"mode":"0755"', '"mode":"0750"'],
      ['another mount', '"tmpfs (rw)"', '"tmpfs (ro)"'],
      ['a verb asked again', '"verb_asked_again_next_time":false', '"verb_asked_again_next_time":true'],
      ['a step that it does not know', '"step":"SetUp"', '"step":"SetUpAll"'],
      ['a field that it does not know', '"fsType":"ext4"', '"fsType":"ext4","fsColour":"red"'],
      ['a text that it does not know', '"exit":0', '"exit":0,"driver_does":["sings in argv[1]"]'],
    ])('%s', async (_what, from, to) => {
      const changed = line.replace(from, to);
      expect(changed).not.toBe(line);
      const [scenario] = readChanged(changed);
      const [replayed] = await replay(scenario as Scenario);
      expect(replayed?.problems).not.toEqual([]);
    });

    it('nothing in the record as it is', async () => {
      const [scenario] = readChanged(line);
      expect(await replay(scenario as Scenario)).toMatchObject([{ problems: [] }]);
    });
  });

  function readChanged(record: string): Scenario[] {
    const temporary = mkdtempSync(join(tmpdir(), 'flexcsi-golden-'));
    try {
      writeFileSync(join(temporary, 'changed.jsonl'), record);
      return readScenarios(temporary);
    } finally {
      rmSync(temporary, { recursive: true });
    }
  }
});
