/** `"secrets": "stdin"`: the JSON is no argument any more, in no verb. */
import { describe, expect, it } from 'vitest';
import { lacks } from '../support/requirements.ts';
import { mountCapability, mountsTmpfs, success, unmounts, useScenarios } from '../support/scenario.ts';
import { answer } from '../support/scripted-driver.ts';

describe.skipIf(lacks('mounts'))('a driver that wants its options on standard input', () => {
  const start = useScenarios();
  const init = answer('Success', {
    capabilities: { secrets: 'stdin', provision: true, getvolume: true },
  });
  const volume = { volume_id: 'pv-1', volume_capability: mountCapability, secrets: { password: 'hunter2' } };

  it('gets - and the JSON there, with every verb that has options, and nothing with the others', async () => {
    const scenario = await start({
      init,
      getvolume: { prints: answer('Failure', { code: 'NOT_FOUND' }), exit: 1 },
      provision: success,
      attach: answer('Success', { device: '/dev/vdb' }),
      waitforattach: answer('Success', { device: '/dev/vdb' }),
      mountdevice: mountsTmpfs,
      mount: mountsTmpfs,
      unmount: unmounts,
      unmountdevice: unmounts,
      detach: success,
      delete: success,
    });
    const { client } = scenario;
    const staging_target_path = scenario.staging();
    const target_path = scenario.target();
    const node = { volume_id: 'pv-1', node_id: 'node-1' };
    await client.controller('CreateVolume', {
      name: 'pv-1',
      volume_capabilities: [mountCapability],
      secrets: volume.secrets,
    });
    await client.controller('ControllerPublishVolume', { ...volume, ...node });
    await client.node('NodeStageVolume', { ...volume, staging_target_path });
    await client.node('NodePublishVolume', { ...volume, staging_target_path, target_path });
    await client.node('NodeUnpublishVolume', { volume_id: 'pv-1', target_path });
    await client.node('NodeUnstageVolume', { volume_id: 'pv-1', staging_target_path });
    await client.controller('ControllerUnpublishVolume', node);
    await client.controller('DeleteVolume', { volume_id: 'pv-1', secrets: volume.secrets });

    const calls = scenario.driver.calls();
    expect(calls.map(({ verb, args }) => [verb, ...args])).toEqual([
      ['getvolume', '-'],
      ['provision', '-'],
      ['attach', '-', 'node-1'],
      ['waitforattach', '', '-'],
      ['mountdevice', staging_target_path, '/dev/vdb', '-'],
      ['mount', target_path, '-'],
      ['unmount', target_path],
      ['unmountdevice', staging_target_path],
      ['detach', 'pv-1', 'node-1'],
      ['getvolume', '-'],
      ['delete', '-'],
    ]);
    for (const { verb, args, stdin, streams } of calls) {
      if (args.includes('-')) {
        expect(JSON.parse(String(stdin))['kubernetes.io/pvOrVolumeName']).toBe('pv-1');
        expect(streams[0]).toMatch(/\(deleted\)$/);
      } else {
        expect([String(stdin), streams[0]]).toEqual(['', '/dev/null']);
      }
      const hasSecret = ['provision', 'mount', 'delete'].includes(verb);
      expect(String(stdin).includes('aHVudGVyMg==')).toBe(hasSecret);
    }
  });

  it('may get more than an argument can carry', async () => {
    const scenario = await start({ init, attach: success });
    const volume_context = { much: 'x'.repeat(120_000), more: 'y'.repeat(120_000) };
    await scenario.client.controller('ControllerPublishVolume', { ...volume, node_id: 'n', volume_context });
    const [call] = scenario.driver.calls();
    expect(JSON.parse(String(call?.stdin))).toMatchObject(volume_context);
  });
});
