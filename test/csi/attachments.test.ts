import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { failureOf, mountCapability, optionsOf, success, useScenarios, writer } from '../support/scenario.ts';
import { answer } from '../support/scripted-driver.ts';

const start = useScenarios();

const init = (capabilities: Record<string, unknown> = {}): string => answer('Success', { capabilities });
const attached = (is: boolean): string => answer('Success', { attached: is });
const attaching = {
  init: init({ provision: true }),
  attach: answer('Success', { device: '/dev/vdb' }),
  detach: success,
  isattached: attached(true),
};
const publish = {
  volume_id: 'pv-1',
  node_id: 'node-7',
  volume_capability: mountCapability,
  volume_context: { id: 'v-1' },
};

describe('ControllerPublishVolume of a volume that is attached', () => {
  it('in the same way is repeated, without a question', async () => {
    const scenario = await start(attaching);
    await scenario.client.controller('ControllerPublishVolume', publish);
    await scenario.restart();
    await scenario.client.controller('ControllerPublishVolume', publish);
    expect(scenario.driver.verbs()).toEqual(['attach']);
  });

  it.each([
    ['readonly', { readonly: true }, 'readonly false'],
    ['access type', { volume_capability: { block: {}, access_mode: writer } }, 'access type mount'],
  ])('to that node with another %s is ALREADY_EXISTS', async (_what, change, how) => {
    const scenario = await start(attaching);
    await scenario.client.controller('ControllerPublishVolume', publish);
    await scenario.restart();
    const other = scenario.client.controller('ControllerPublishVolume', { ...publish, ...change });
    expect(await failureOf(other)).toBe(
      `ALREADY_EXISTS: volume pv-1 is already attached to node node-7 with ${how}`,
    );
    const [asked] = scenario.driver.calls();
    expect([asked?.verb, asked?.args[1], optionsOf(asked?.args).id]).toEqual(['isattached', 'node-7', 'v-1']);
  });

  it('to another node is FAILED_PRECONDITION for a mode of one node, naming the node', async () => {
    const scenario = await start(attaching);
    await scenario.client.controller('ControllerPublishVolume', publish);
    const elsewhere = { ...publish, node_id: 'node-8' };
    expect(await failureOf(scenario.client.controller('ControllerPublishVolume', elsewhere))).toBe(
      'FAILED_PRECONDITION: volume pv-1 is attached to node node-7, and its access mode is for one node at a time',
    );
    const many = { mount: {}, access_mode: { mode: 'MULTI_NODE_MULTI_WRITER' as const } };
    await scenario.client.controller('ControllerPublishVolume', { ...elsewhere, volume_capability: many });
    expect(scenario.driver.verbs()).toEqual(['attach', 'isattached', 'attach']);
  });

  // Another controller may have detached it since; a record that is wrong must not keep the volume from its pod.
  it.each([
    ['says that it is not', attached(false)],
    ['says nothing', success],
    ['does not know the verb', { prints: answer('Not supported'), exit: 1 }],
  ])('counts only as far as the driver confirms it: it %s', async (_what, isattached) => {
    const scenario = await start({ ...attaching, isattached });
    await scenario.client.controller('ControllerPublishVolume', publish);
    await scenario.client.controller('ControllerPublishVolume', { ...publish, node_id: 'node-8' });
    await scenario.client.controller('ControllerPublishVolume', { ...publish, readonly: true });
  });

  it('is looked for on other nodes also where it is on record for this one', async () => {
    const scenario = await start({ ...attaching, isattached: attached(false) });
    const elsewhere = { ...publish, node_id: 'node-8' };
    await scenario.client.controller('ControllerPublishVolume', publish);
    // Detached by somebody else: the driver denies it, and the record goes.
    await scenario.client.controller('ControllerPublishVolume', elsewhere);
    scenario.driver.script('isattached', attached(true));
    expect(await failureOf(scenario.client.controller('ControllerPublishVolume', publish))).toMatch(
      /^FAILED_PRECONDITION: volume pv-1 is attached to node node-8/,
    );
  });

  it.each([
    ['says that there is no such volume', answer('Failure', { code: 'NOT_FOUND' }), /^no failure/],
    ['fails', answer('Failure', { message: 'node is down' }), /^INTERNAL: .*isattached.*node is down/],
  ])('holds up nothing but its deletion where isattached %s', async (_what, prints, deleted) => {
    const scenario = await start(
      { ...attaching, isattached: { prints, exit: 1 }, delete: success },
      { maxVolumesPerNode: 1 },
    );
    await scenario.client.controller('ControllerPublishVolume', publish);
    await scenario.client.controller('ControllerPublishVolume', { ...publish, node_id: 'node-8' });
    await scenario.client.controller('ControllerPublishVolume', { ...publish, volume_id: 'pv-2' });
    // What may be in use is not deleted.
    const remove = () => failureOf(scenario.client.controller('DeleteVolume', { volume_id: 'pv-1' }));
    expect(await remove()).toMatch(deleted);
    for (const node_id of ['node-7', 'node-8']) {
      await scenario.client.controller('ControllerUnpublishVolume', { volume_id: 'pv-1', node_id });
    }
    expect(await remove()).toMatch(/^no failure/);
  });

  it('is forgotten when it is detached', async () => {
    const scenario = await start(attaching);
    await scenario.client.controller('ControllerPublishVolume', publish);
    await scenario.client.controller('ControllerUnpublishVolume', { volume_id: 'pv-1', node_id: 'node-7' });
    await scenario.client.controller('ControllerPublishVolume', { ...publish, node_id: 'node-8' });
    expect(scenario.driver.verbs()).toEqual(['attach', 'detach', 'attach']);
  });

  it('is forgotten when the volume itself is gone, and kept when an attach says nothing clear', async () => {
    const scenario = await start({ ...attaching, init: init({ provision: true, getVolume: true }) });
    scenario.driver.script('attach', { prints: 'half an ans', exit: 1 });
    const attach = () => failureOf(scenario.client.controller('ControllerPublishVolume', publish));
    const records = () => readdirSync(join(scenario.plugin.directory, 'state/scripted.example.com/attached'));
    scenario.driver.script('getvolume', answer('Failure', { message: 'busy' }));
    expect(await attach()).toMatch(/^INTERNAL: .*attach/);
    expect(records()).toHaveLength(1);
    scenario.driver.script('getvolume', answer('Failure', { code: 'NOT_FOUND' }));
    expect(await attach()).toMatch(/^NOT_FOUND: volume pv-1 is not there/);
    expect(records()).toEqual([]);
  });

  it('is attached all the same when its record is lost', async () => {
    const scenario = await start(attaching);
    await scenario.client.controller('ControllerPublishVolume', publish);
    rmSync(join(scenario.plugin.directory, 'state'), { recursive: true });
    await scenario.client.controller('ControllerPublishVolume', { ...publish, readonly: true });
  });
});

describe('PUBLISH_READONLY', () => {
  it('attaches read-only, and stages so, too', async () => {
    const scenario = await start({ ...attaching, waitforattach: success });
    const { publish_context } = await scenario.client.controller('ControllerPublishVolume', {
      ...publish,
      readonly: true,
    });
    expect(publish_context).toEqual({ device: '/dev/vdb', readonly: 'true' });
    await scenario.client.node('NodeStageVolume', {
      volume_id: 'pv-1',
      staging_target_path: scenario.staging(),
      volume_capability: mountCapability,
      publish_context,
    });
    const modes = scenario.driver
      .calls()
      .map(({ verb, args }) => [verb, optionsOf(args)['kubernetes.io/readwrite']]);
    expect(modes).toEqual([
      ['attach', 'ro'],
      ['waitforattach', 'ro'],
      ['mountdevice', 'ro'],
    ]);
  });
});

describe('the number of volumes of a node', () => {
  const attach = (scenario: Awaited<ReturnType<typeof start>>, volume_id: string, node_id = 'node-7') =>
    failureOf(scenario.client.controller('ControllerPublishVolume', { ...publish, volume_id, node_id }));

  it('is limited by what the driver says', async () => {
    const scenario = await start({ ...attaching, init: init({ maxVolumesPerNode: 2 }) });
    expect((await scenario.client.node('NodeGetInfo', {})).max_volumes_per_node).toBe('2');
    expect(await attach(scenario, 'a')).toContain('no failure');
    expect(await attach(scenario, 'b')).toContain('no failure');
    expect(await attach(scenario, 'c')).toBe(
      'RESOURCE_EXHAUSTED: node node-7 has 2 volumes attached, as many as it can have',
    );
    // A repeat is no new volume, and another node has room.
    expect(await attach(scenario, 'a')).toContain('no failure');
    expect(await attach(scenario, 'd', 'node-8')).toContain('no failure');
    await scenario.client.controller('ControllerUnpublishVolume', { volume_id: 'a', node_id: 'node-7' });
    expect(await attach(scenario, 'c')).toContain('no failure');
  });

  it('is limited by --max-volumes-per-node, and 0 lifts the limit', async () => {
    const scenario = await start(
      { ...attaching, init: init({ maxVolumesPerNode: 5 }) },
      { maxVolumesPerNode: 1 },
    );
    expect(await attach(scenario, 'a')).toContain('no failure');
    expect(await attach(scenario, 'b')).toMatch(/^RESOURCE_EXHAUSTED: /);
    await scenario.restart({ maxVolumesPerNode: 0 });
    expect((await scenario.client.node('NodeGetInfo', {})).max_volumes_per_node).toBe('0');
    expect(await attach(scenario, 'b')).toContain('no failure');
  });

  it('is held to by attachments that come at once', async () => {
    const scenario = await start(
      { ...attaching, attach: { prints: success, sleepMs: 300 } },
      { maxVolumesPerNode: 1 },
    );
    const results = await Promise.all(['a', 'b', 'c'].map((volume) => attach(scenario, volume)));
    expect(results.filter((text) => text.includes('no failure'))).toHaveLength(1);
    expect(results.filter((text) => text.startsWith('RESOURCE_EXHAUSTED'))).toHaveLength(2);
  });

  it('counts no volume that the driver does not confirm', async () => {
    const scenario = await start({ ...attaching, isattached: attached(false) }, { maxVolumesPerNode: 1 });
    expect(await attach(scenario, 'a')).toContain('no failure');
    expect(await attach(scenario, 'b')).toContain('no failure');
  });
});

describe('a failure of attach', () => {
  const fails = { prints: answer('Failure', { message: 'cannot' }), exit: 1 };

  it('is NOT_FOUND when the driver knows no such volume', async () => {
    const scenario = await start({
      init: init({ getvolume: true }),
      attach: fails,
      getvolume: { prints: answer('Failure', { code: 'NOT_FOUND' }), exit: 1 },
    });
    expect(await failureOf(scenario.client.controller('ControllerPublishVolume', publish))).toMatch(
      /^NOT_FOUND: volume pv-1 is not there: driver example.com\/scripted: attach command failed/,
    );
    // Asked with the volume's own options.
    expect(optionsOf(scenario.driver.calls().at(-1)?.args).id).toBe('v-1');
    // What is not attached is not on record either.
    expect(readdirSync(join(scenario.plugin.directory, 'state/scripted.example.com/attached'))).toEqual([]);
    scenario.driver.script('getvolume', success);
    expect(await failureOf(scenario.client.controller('ControllerPublishVolume', publish))).toMatch(
      /^INTERNAL: /,
    );
  });

  it('has the code that the driver gives, and detaching what it does not find is success', async () => {
    const scenario = await start({
      attach: { prints: answer('Failure', { code: 'NOT_FOUND', message: 'no node node-7' }), exit: 1 },
      detach: { prints: answer('Failure', { code: 'NOT_FOUND', message: 'no node node-7' }), exit: 1 },
    });
    expect(await failureOf(scenario.client.controller('ControllerPublishVolume', publish))).toMatch(
      /^NOT_FOUND: .*no node node-7/,
    );
    await scenario.client.controller('ControllerUnpublishVolume', { volume_id: 'pv-1', node_id: 'node-7' });
  });
});
