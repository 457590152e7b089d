import { describe, expect, it } from 'vitest';
import { failureOf, mountCapability, success, useScenarios } from '../support/scenario.ts';

const start = useScenarios();

describe('more calls than flexcsi takes', () => {
  it('are turned away, and those inside are served', async () => {
    const scenario = await start({ attach: { sleepMs: 3_000, prints: success } });
    const request = { volume_id: 'v', node_id: 'n', volume_capability: mountCapability };
    // All of them the same call: one driver runs, the others wait for its result.
    const results = await Promise.all(
      Array.from({ length: 1_100 }, () =>
        failureOf(scenario.client.controller('ControllerPublishVolume', request)),
      ),
    );
    const refused = results.filter((text) =>
      text.startsWith('UNAVAILABLE: flexcsi is serving 1000 calls at once'),
    );
    expect(refused).toHaveLength(100);
    expect(results.filter((text) => text.startsWith('no failure'))).toHaveLength(1_000);
    expect(scenario.driver.verbs()).toEqual(['attach']);
    expect(await scenario.client.identity('Probe', {})).toEqual({ ready: { value: true } });
  });
});
