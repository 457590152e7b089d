import { describe, expect, it } from 'vitest';
import { failureOf, success, useScenarios } from '../support/scenario.ts';
import { answer } from '../support/scripted-driver.ts';

describe('Identity', () => {
  const start = useScenarios();

  it('says who it is', async () => {
    const scenario = await start({});
    const info = await scenario.client.identity('GetPluginInfo', {});
    expect(info).toMatchObject({
      name: 'scripted.example.com',
      manifest: { 'flexvolume-driver': 'example.com/scripted' },
    });
    expect(info.vendor_version).toMatch(/^\d+\.\d+\.\d+/);
    const { capabilities } = await scenario.client.identity('GetPluginCapabilities', {});
    expect(capabilities).toMatchObject([
      { service: { type: 'CONTROLLER_SERVICE' } },
      { volume_expansion: { type: 'ONLINE' } },
    ]);
  });

  it('is ready without asking init again, until the driver changes', async () => {
    const scenario = await start({});
    expect(await scenario.client.identity('Probe', {})).toEqual({ ready: { value: true } });
    expect(scenario.driver.verbs()).toEqual([]);
    scenario.driver.script('init', answer('Success', { capabilities: { attach: false } }));
    scenario.driver.write();
    await scenario.client.identity('Probe', {});
    expect(scenario.driver.verbs()).toEqual(['init']);
    const { capabilities } = await scenario.client.node('NodeGetCapabilities', {});
    expect(capabilities.map(({ rpc }) => rpc?.type)).not.toContain('STAGE_UNSTAGE_VOLUME');
  });

  it('fails Probe with the reason while init fails, and is ready as soon as it succeeds', async () => {
    const scenario = await start({ init: { prints: answer('Failure', { message: 'no license' }), exit: 1 } });
    expect(await failureOf(scenario.client.identity('Probe', {}))).toMatch(
      /^FAILED_PRECONDITION: driver example\.com\/scripted: init command failed, status: Failure, reason: no license/,
    );
    expect(await failureOf(scenario.client.node('NodeGetCapabilities', {}))).toMatch(
      /^UNAVAILABLE: .*no license/,
    );
    scenario.driver.script('init', success);
    expect(await scenario.client.identity('Probe', {})).toEqual({ ready: { value: true } });
  });
});
