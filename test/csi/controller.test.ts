import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { KnownVolume } from '../../src/volume/parts.ts';
import { startPlugin } from '../support/plugin.ts';
import { lacks } from '../support/requirements.ts';
import {
  attachFalse,
  failureOf,
  mountCapability,
  mountsTmpfs,
  optionsOf,
  success,
  unmounts,
  useScenarios,
  writer,
} from '../support/scenario.ts';
import { answer } from '../support/scripted-driver.ts';

const MIB = 1024 * 1024;

describe.skipIf(lacks('mounts'))('Controller', () => {
  const start = useScenarios();
  const attaching = { attach: answer('Success', { device: '/dev/vdb' }), detach: success };
  const publish = {
    volume_id: 'pv-1',
    node_id: 'node-7',
    volume_capability: mountCapability,
    volume_context: { id: 'v-1' },
  };

  it('attaches and passes the device on', async () => {
    const scenario = await start(attaching);
    const { publish_context } = await scenario.client.controller('ControllerPublishVolume', publish);
    expect(publish_context).toEqual({ device: '/dev/vdb' });
    const [attach] = scenario.driver.calls();
    expect(attach?.args).toEqual([
      '{"id":"v-1","kubernetes.io/fsType":"ext4","kubernetes.io/pvOrVolumeName":"pv-1","kubernetes.io/readwrite":"rw"}',
      'node-7',
    ]);
  });

  it('does not tell attach of mount flags, group or secrets', async () => {
    const scenario = await start(attaching);
    const volume_capability = {
      mount: { mount_flags: ['noatime'], volume_mount_group: '5' },
      access_mode: writer,
    };
    await scenario.client.controller('ControllerPublishVolume', {
      ...publish,
      volume_capability,
      secrets: { a: 'secret' },
    });
    expect(Object.keys(optionsOf(scenario.driver.calls()[0]?.args))).toEqual([
      'id',
      'kubernetes.io/fsType',
      'kubernetes.io/pvOrVolumeName',
      'kubernetes.io/readwrite',
    ]);
  });

  it('takes Not supported for attached, without a device, and does not ask again', async () => {
    const scenario = await start({});
    for (let time = 0; time < 2; time += 1) {
      const { publish_context } = await scenario.client.controller('ControllerPublishVolume', publish);
      expect(publish_context).toEqual({ device: '' });
      await scenario.client.controller('ControllerUnpublishVolume', { volume_id: 'pv-1', node_id: 'node-7' });
    }
    expect(scenario.driver.verbs()).toEqual(['attach', 'detach']);
  });

  it('detaches by name, from a node that nobody looks up', async () => {
    const scenario = await start(attaching);
    await scenario.client.controller('ControllerUnpublishVolume', { volume_id: 'pv-1', node_id: 'gone' });
    expect(scenario.driver.calls()[0]?.args).toEqual(['pv-1', 'gone']);
  });

  it.each([
    [{ volume_id: '' }, 'INVALID_ARGUMENT: volume_id is required'],
    [{ node_id: '' }, 'INVALID_ARGUMENT: node_id is required'],
    [{ volume_capability: null }, 'INVALID_ARGUMENT: volume_capability is required'],
    [
      { readonly: true },
      'INVALID_ARGUMENT: readonly needs the capability PUBLISH_READONLY, which this plugin does not have: its driver does not provision',
    ],
  ])('refuses %j', async (change, message) => {
    const scenario = await start(attaching);
    const call = scenario.client.controller('ControllerPublishVolume', { ...publish, ...change });
    expect(await failureOf(call)).toBe(message);
    expect(scenario.driver.verbs()).toEqual([]);
  });

  it.each([
    ['a driver with attach: false', attachFalse, {}],
    ['--attach-on node', success, { attachOn: 'node' }],
  ] as const)('neither advertises nor serves attaching for %s', async (_what, init, options) => {
    const scenario = await start({ ...attaching, init }, options);
    const { capabilities } = await scenario.client.controller('ControllerGetCapabilities', {});
    expect(capabilities.map(({ rpc }) => rpc?.type)).not.toContain('PUBLISH_UNPUBLISH_VOLUME');
    expect(await failureOf(scenario.client.controller('ControllerPublishVolume', publish))).toMatch(
      /^UNIMPLEMENTED: /,
    );
    const unpublish = scenario.client.controller('ControllerUnpublishVolume', {
      volume_id: 'v',
      node_id: 'n',
    });
    expect(await failureOf(unpublish)).toMatch(/^UNIMPLEMENTED: /);
  });

  it('answers UNIMPLEMENTED to what a plain driver has no verb for', async () => {
    const scenario = await start(attaching);
    for (const rpc of [
      'CreateVolume',
      'ListVolumes',
      'GetCapacity',
      'CreateSnapshot',
      'ControllerModifyVolume',
    ] as const) {
      expect(await failureOf(scenario.client.controller(rpc, {}))).toMatch(/^UNIMPLEMENTED/);
    }
  });

  describe('ControllerExpandVolume', () => {
    const expand = {
      volume_id: 'pv-1',
      capacity_range: { required_bytes: 2 * MIB },
      volume_capability: mountCapability,
    };
    const volume: KnownVolume = { options: { id: 'v-1' }, fsType: 'xfs', capacityBytes: BigInt(MIB) };
    const withCluster = (scenario: Awaited<ReturnType<typeof start>>, known: KnownVolume | undefined) =>
      startPlugin({ driver: scenario.driver.file }, { lookup: { find: async () => known } });

    it('never asks for less than there is, which a script could take for a wish to shrink', async () => {
      const scenario = await start({ expandvolume: success });
      const plugin = await withCluster(scenario, { ...volume, capacityBytes: BigInt(3 * MIB) });
      const answered = await plugin.client.controller('ControllerExpandVolume', expand);
      expect(answered).toEqual({ capacity_bytes: String(3 * MIB), node_expansion_required: true });
      expect(scenario.driver.verbs()).not.toContain('expandvolume');
      await plugin.remove();
    });

    it("calls expandvolume with the PersistentVolume's options and size", async () => {
      const scenario = await start({ expandvolume: success });
      const plugin = await withCluster(scenario, volume);
      const answered = await plugin.client.controller('ControllerExpandVolume', expand);
      expect(answered).toEqual({ capacity_bytes: String(2 * MIB), node_expansion_required: true });
      const call = scenario.driver.calls().find(({ verb }) => verb === 'expandvolume');
      const hash = createHash('sha256').update('pv-1').digest('hex');
      expect(call?.args).toEqual([
        '{"id":"v-1","kubernetes.io/fsType":"xfs","kubernetes.io/pvOrVolumeName":"pv-1","kubernetes.io/readwrite":"rw"}',
        `${plugin.directory}/kubelet/plugins/kubernetes.io/csi/scripted.example.com/${hash}/globalmount`,
        String(2 * MIB),
        String(MIB),
      ]);
      await plugin.remove();
    });

    it('takes Not supported for done, and asks the node only for drivers that want it and for file systems', async () => {
      const init = answer('Success', { capabilities: { requiresFSResize: false } });
      const scenario = await start({ init });
      const plugin = await withCluster(scenario, volume);
      expect(await plugin.client.controller('ControllerExpandVolume', expand)).toMatchObject({
        node_expansion_required: false,
      });
      await plugin.remove();
      const other = await start({});
      const block = await withCluster(other, volume);
      const volume_capability = { block: {}, access_mode: writer };
      expect(
        await block.client.controller('ControllerExpandVolume', { ...expand, volume_capability }),
      ).toMatchObject({ node_expansion_required: false });
      await block.remove();
    });

    it('uses the record of a volume in use where there is no cluster, and says what to do where there is neither', async () => {
      const scenario = await start({
        init: attachFalse,
        expandvolume: success,
        mount: mountsTmpfs,
        unmount: unmounts,
      });
      expect(await failureOf(scenario.client.controller('ControllerExpandVolume', expand))).toMatch(
        /^INTERNAL: volume pv-1 cannot be expanded: its options, which the driver is told, is in no CSI request; /,
      );
      const target_path = scenario.target();
      await scenario.client.node('NodePublishVolume', {
        volume_id: 'pv-1',
        target_path,
        volume_capability: mountCapability,
        volume_context: { id: 'v-1' },
      });
      // No device to measure: without the PersistentVolume the old size is not known.
      expect(await failureOf(scenario.client.controller('ControllerExpandVolume', expand))).toMatch(
        /its present size, /,
      );
    });

    it.each([
      [{ volume_id: '' }, 'volume_id is required'],
      [{ capacity_range: null }, 'capacity_range is required'],
      [{ capacity_range: {} }, 'capacity_range: one of required_bytes and limit_bytes is required'],
      [
        { capacity_range: { required_bytes: -1 } },
        'capacity_range: required_bytes and limit_bytes must not be negative',
      ],
      [
        { capacity_range: { required_bytes: 2, limit_bytes: 1 } },
        'capacity_range: required_bytes 2 is more than limit_bytes 1',
      ],
    ])('refuses %j', async (change, message) => {
      const scenario = await start({ expandvolume: success });
      const call = scenario.client.controller('ControllerExpandVolume', { ...expand, ...change });
      expect(await failureOf(call)).toBe(`INVALID_ARGUMENT: ${message}`);
    });
  });

  describe('ValidateVolumeCapabilities', () => {
    const block = { block: {}, access_mode: writer };

    it('confirms what the driver can', async () => {
      const scenario = await start({});
      const request = {
        volume_id: 'v',
        volume_capabilities: [mountCapability, block],
        volume_context: { a: 'b' },
      };
      const { confirmed } = await scenario.client.controller('ValidateVolumeCapabilities', request);
      expect(confirmed?.volume_capabilities).toHaveLength(2);
      expect(confirmed?.volume_context).toEqual({ a: 'b' });
    });

    it('does not confirm raw block for a driver without attach, and says why', async () => {
      const scenario = await start({ init: attachFalse });
      const request = { volume_id: 'v', volume_capabilities: [mountCapability, block] };
      const { confirmed, message } = await scenario.client.controller('ValidateVolumeCapabilities', request);
      expect(confirmed).toBeNull();
      expect(message).toContain('attach: false');
    });
  });
});
