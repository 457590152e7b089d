import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { failureOf, mountCapability, success, useScenarios } from '../support/scenario.ts';

const start = useScenarios();

describe('--max-parallel', () => {
  it('bounds the drivers that run at once, and all get their turn', async () => {
    const scenario = await start({}, { maxParallel: 2 });
    const places = join(scenario.directory, 'places');
    mkdirSync(places);
    // Each execution writes down how many run, itself among them.
    const shell = `touch ${places}/$$; sleep 0.1; ls ${places} | wc -l >>${scenario.directory}/counts; rm ${places}/$$`;
    scenario.driver.script('attach', { shell, prints: success });
    const calls = Array.from({ length: 12 }, (_, index) =>
      failureOf(
        scenario.client.controller('ControllerPublishVolume', {
          volume_id: `v-${index}`,
          node_id: 'n',
          volume_capability: mountCapability,
        }),
      ),
    );
    for (const result of await Promise.all(calls)) expect(result).toMatch(/^no failure/);
    const counts = readFileSync(join(scenario.directory, 'counts'), 'utf8').trim().split('\n').map(Number);
    expect(counts).toHaveLength(12);
    expect(Math.max(...counts)).toBe(2);
  });
});
