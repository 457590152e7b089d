import { describe, expect, it } from 'vitest';
import {
  attachFalse,
  failureOf,
  mountCapability,
  optionsOf,
  success,
  useScenarios,
  writer,
} from '../support/scenario.ts';
import { answer } from '../support/scripted-driver.ts';

const MIB = 1024 * 1024;
const start = useScenarios();

/** An `init` with these capabilities. */
const init = (capabilities: Record<string, unknown>): string => answer('Success', { capabilities });
const provisions = init({ provision: true });
const asks = init({ provision: true, getvolume: true });
const failure = (code: string, message = 'no'): { prints: string; exit: number } => ({
  prints: answer('Failure', { code, message }),
  exit: 1,
});
const missing = failure('NOT_FOUND', 'no such volume');

const create = {
  name: 'pvc-1',
  volume_capabilities: [mountCapability],
  capacity_range: { required_bytes: 5 * MIB },
  parameters: { pool: 'fast' },
};

describe('CreateVolume', () => {
  it('calls provision with the names of the external provisioner, and what CSI adds', async () => {
    const made = answer('Success', { capacityBytes: 6 * MIB, options: { pool: 'fast', lv: '7' } });
    const scenario = await start({ init: provisions, provision: made });
    const { volume } = await scenario.client.controller('CreateVolume', {
      ...create,
      capacity_range: { required_bytes: 5 * MIB + 1, limit_bytes: 8 * MIB },
      volume_capabilities: [{ mount: { fs_type: 'xfs', mount_flags: ['noatime'] }, access_mode: writer }],
      secrets: { password: 'hunter2' },
    });
    expect(volume).toMatchObject({
      volume_id: 'pvc-1',
      capacity_bytes: String(6 * MIB),
      volume_context: { pool: 'fast', lv: '7' },
      accessible_topology: [],
      content_source: null,
    });
    const [call] = scenario.driver.calls();
    expect(call?.verb).toBe('provision');
    expect(optionsOf(call?.args)).toEqual({
      pool: 'fast',
      'kubernetes.io/pvOrVolumeName': 'pvc-1',
      'kubernetes.io/fsType': 'xfs',
      'kubernetes.io/secret/password': Buffer.from('hunter2').toString('base64'),
      requestBytes: String(5 * MIB + 1),
      requestMiB: '6',
      requestGiB: '1',
      'csi/limitBytes': String(8 * MIB),
      'csi/accessModes': 'SINGLE_NODE_WRITER',
      'csi/accessType': 'mount',
      'csi/mountOptions': 'noatime',
    });
  });

  it('takes the parameters for the options when the driver names none, without what the sidecars add', async () => {
    const scenario = await start({ init: provisions, provision: success });
    const { volume } = await scenario.client.controller('CreateVolume', {
      ...create,
      parameters: { pool: 'fast', 'csi.storage.k8s.io/pvc/name': 'data' },
    });
    expect(volume).toMatchObject({ capacity_bytes: '0', volume_context: { pool: 'fast' } });
    expect(optionsOf(scenario.driver.calls()[0]?.args)['csi.storage.k8s.io/pvc/name']).toBe('data');
  });

  it('names no size when the request has none', async () => {
    const scenario = await start({ init: provisions, provision: success });
    const { capacity_range: _range, ...rest } = create;
    await scenario.client.controller('CreateVolume', rest);
    expect(Object.keys(optionsOf(scenario.driver.calls()[0]?.args))).toEqual([
      'csi/accessModes',
      'csi/accessType',
      'kubernetes.io/fsType',
      'kubernetes.io/pvOrVolumeName',
      'pool',
    ]);
  });

  it('answers the volume that is there and fits, without another provision', async () => {
    const there = answer('Success', { capacityBytes: 5 * MIB, options: { lv: '7' } });
    const scenario = await start({ init: asks, getvolume: there });
    const { volume } = await scenario.client.controller('CreateVolume', create);
    expect(volume).toMatchObject({ volume_id: 'pvc-1', volume_context: { lv: '7' } });
    expect(scenario.driver.verbs()).toEqual(['getvolume']);
  });

  it('looks a volume up in listvolumes where there is no getvolume', async () => {
    const volumes = [{ volume: 'other' }, { volume: 'pvc-1', capacityBytes: 5 * MIB }];
    const scenario = await start({
      init: init({ provision: true, listvolumes: true }),
      listvolumes: answer('Success', { volumes }),
      provision: success,
    });
    await scenario.client.controller('CreateVolume', create);
    expect(scenario.driver.verbs()).toEqual(['listvolumes']);
    await scenario.client.controller('CreateVolume', { ...create, name: 'pvc-2' });
    expect(scenario.driver.verbs()).toEqual(['listvolumes', 'listvolumes', 'provision']);
  });

  const size = (bytes: number): Record<string, unknown> => ({ capacityBytes: bytes });
  it.each([
    ['too small', size(4 * MIB), {}, `has ${4 * MIB} bytes, not the ${5 * MIB} that are required`],
    [
      'too large',
      size(6 * MIB),
      { capacity_range: { required_bytes: 5 * MIB, limit_bytes: 5 * MIB } },
      `has ${6 * MIB} bytes, more than the limit of ${5 * MIB}`,
    ],
    ['made from a snapshot', { sourceSnapshot: 's-1' }, {}, 'is there and was made from snapshot s-1'],
    [
      'elsewhere',
      { topology: { zone: 'a' } },
      { accessibility_requirements: { requisite: [{ segments: { zone: 'b' } }] } },
      'is not usable from any of the places in accessibility_requirements',
    ],
  ])('refuses the name when the volume of that name is %s', async (_what, volume, change, message) => {
    const expected = `ALREADY_EXISTS: volume pvc-1 ${message}; it was there before, or the driver does not make what it is asked for; delete it first, or use another name`;
    const present = await start({ init: asks, getvolume: answer('Success', volume) });
    expect(await failureOf(present.client.controller('CreateVolume', { ...create, ...change }))).toBe(
      expected,
    );
    expect(present.driver.verbs()).toEqual(['getvolume']);
    // The same of a driver that answers what is there from provision itself.
    const answered = await start({ init: provisions, provision: answer('Success', volume) });
    expect(await failureOf(answered.client.controller('CreateVolume', { ...create, ...change }))).toBe(
      expected,
    );
  });

  it('refuses the name for other parameters than those on record', async () => {
    const scenario = await start({ init: provisions, provision: success });
    await scenario.client.controller('CreateVolume', create);
    await scenario.restart();
    const again = { ...create, parameters: { pool: 'slow' } };
    expect(await failureOf(scenario.client.controller('CreateVolume', again))).toMatch(
      /^ALREADY_EXISTS: volume pvc-1 was created with another value of parameter "pool"/,
    );
    await scenario.client.controller('CreateVolume', create);
  });

  it('does not hold the record of an earlier volume of that name against a new one', async () => {
    const scenario = await start({ init: asks, getvolume: missing, provision: success });
    await scenario.client.controller('CreateVolume', create);
    await scenario.client.controller('CreateVolume', { ...create, parameters: { pool: 'slow' } });
    expect(scenario.driver.verbs()).toEqual(['getvolume', 'provision', 'getvolume', 'provision']);
  });

  it('runs provision once for calls that come at the same time', async () => {
    const scenario = await start({ init: provisions, provision: { prints: success, sleepMs: 300 } });
    await Promise.all(Array.from({ length: 8 }, () => scenario.client.controller('CreateVolume', create)));
    expect(scenario.driver.verbs()).toEqual(['provision']);
  });

  it.each([
    ['RESOURCE_EXHAUSTED', 'pool fast is full'],
    ['OUT_OF_RANGE', 'at least 1 GiB'],
    ['NOT_FOUND', 'no such pool'],
  ])('passes the code %s on that the driver gives', async (code, message) => {
    const scenario = await start({ init: provisions, provision: failure(code, message) });
    expect(await failureOf(scenario.client.controller('CreateVolume', create))).toMatch(
      new RegExp(`^${code}: driver example.com/scripted: provision command failed.*${message}`),
    );
  });

  it.each([
    [
      'an answer of the wrong type',
      { capacityBytes: '5' },
      'the answer\'s "capacityBytes" must be an integer',
    ],
    [
      'options that are no strings',
      { options: { size: 5 } },
      'the answer\'s "options" must be an object of strings',
    ],
    ['a negative size', { capacityBytes: -1 }, 'must not be negative'],
    [
      'options above the limit of CSI',
      { options: { a: 'x'.repeat(4096) } },
      'have 4097 bytes in all, and CSI allows 4096',
    ],
    ['a topology that CSI does not allow', { topology: { 'a b': 'c' } }, 'topology'],
  ])('says what is wrong with %s', async (_what, volume, message) => {
    const scenario = await start({ init: provisions, provision: answer('Success', volume) });
    const text = await failureOf(scenario.client.controller('CreateVolume', create));
    expect(text).toContain(message);
    expect(text).toMatch(/^INTERNAL: /);
  });

  it.each([
    [{ name: '' }, 'name is required'],
    [{ name: 'x'.repeat(129) }, 'name has 129 bytes; at most 128 can be passed on'],
    [{ name: 'a\u0001b' }, 'name holds a control character: "a\\u0001b"'],
    [{ volume_capabilities: [] }, 'volume_capabilities is required'],
    [
      { volume_capabilities: [{ access_mode: writer }] },
      'volume_capabilities[0]: one of mount and block is required',
    ],
    [
      { capacity_range: { required_bytes: 2, limit_bytes: 1 } },
      'capacity_range: required_bytes 2 is more than limit_bytes 1',
    ],
    [
      { capacity_range: { required_bytes: -2 } },
      'capacity_range: required_bytes and limit_bytes must not be negative',
    ],
    [
      { parameters: { 'kubernetes.io/fsType': 'x' } },
      'parameters key "kubernetes.io/fsType" is reserved for Kubernetes; use a key without kubernetes.io or k8s.io before the slash',
    ],
    [
      { parameters: { 'csi/limitBytes': '1' } },
      'parameters key "csi/limitBytes": this key, and those that begin with csi/, are flexcsi\'s own',
    ],
    [
      { parameters: { requestBytes: '5' } },
      expect.stringContaining('parameters key "requestBytes": this key'),
    ],
    [
      { mutable_parameters: { iops: '5' } },
      'mutable_parameters: "iops" cannot be changed; the driver can change none',
    ],
    [
      { volume_content_source: { snapshot: { snapshot_id: 's' } } },
      'volume_content_source.snapshot: the driver does not say snapshot: true in init',
    ],
    [
      { volume_content_source: { volume: { volume_id: 'v' } } },
      'volume_content_source.volume: the driver does not say clone: true in init',
    ],
    [{ volume_content_source: {} }, 'volume_content_source: one of snapshot and volume is required'],
    [
      { accessibility_requirements: { requisite: [{ segments: { 'a b': 'c' } }] } },
      expect.stringContaining('a b'),
    ],
  ])('refuses %j', async (change, message) => {
    const scenario = await start({ init: provisions, provision: success });
    const call = scenario.client.controller('CreateVolume', { ...create, ...change });
    const text = await failureOf(call);
    expect(text.slice(0, 18)).toBe('INVALID_ARGUMENT: ');
    expect(text.slice(18)).toEqual(message);
    expect(scenario.driver.verbs()).toEqual([]);
  });

  it('refuses raw block where the driver does not attach', async () => {
    const scenario = await start({ init: init({ attach: false, provision: true }), provision: success });
    const volume_capabilities = [{ block: {}, access_mode: writer }];
    const call = scenario.client.controller('CreateVolume', { ...create, volume_capabilities });
    expect(await failureOf(call)).toMatch(/^INVALID_ARGUMENT: volume_capabilities: raw block volumes need/);
  });

  it('names a source, and what the volume was made from', async () => {
    const scenario = await start({
      init: init({ provision: true, snapshot: true, clone: true }),
      provision: success,
    });
    const fromSnapshot = await scenario.client.controller('CreateVolume', {
      ...create,
      volume_content_source: { snapshot: { snapshot_id: 's-1' } },
    });
    expect(fromSnapshot.volume?.content_source).toMatchObject({ snapshot: { snapshot_id: 's-1' } });
    const fromVolume = await scenario.client.controller('CreateVolume', {
      ...create,
      name: 'pvc-2',
      volume_content_source: { volume: { volume_id: 'pvc-1' } },
    });
    expect(fromVolume.volume?.content_source).toMatchObject({ volume: { volume_id: 'pvc-1' } });
    const [one, two] = scenario.driver.calls().map(({ args }) => optionsOf(args));
    expect(one?.['csi/sourceSnapshot']).toBe('s-1');
    expect(two?.['csi/sourceVolume']).toBe('pvc-1');
    // Made from nothing, and now asked for from a snapshot: not the same volume.
    await scenario.client.controller('CreateVolume', { ...create, name: 'pvc-3' });
    const other = scenario.client.controller('CreateVolume', {
      ...create,
      name: 'pvc-3',
      volume_content_source: { snapshot: { snapshot_id: 's-1' } },
    });
    expect(await failureOf(other)).toMatch(
      /^ALREADY_EXISTS: volume pvc-3 is there and was not made from snapshot s-1/,
    );
  });

  it('takes Not supported of a source for a source that cannot be used, and goes on provisioning', async () => {
    const scenario = await start({
      init: init({ provision: true, clone: true }),
      provision: { prints: answer('Not supported'), exit: 1 },
    });
    const source = { volume_content_source: { volume: { volume_id: 'v' } } };
    expect(await failureOf(scenario.client.controller('CreateVolume', { ...create, ...source }))).toMatch(
      /^INVALID_ARGUMENT: volume_content_source: .*Not supported/,
    );
    scenario.driver.script('provision', success);
    await scenario.client.controller('CreateVolume', create);
  });

  it('lets mutable parameters win, and keeps them out of the volume context', async () => {
    const scenario = await start({
      init: init({ provision: true, modifyvolume: 'iops' }),
      provision: success,
    });
    const { volume } = await scenario.client.controller('CreateVolume', {
      ...create,
      parameters: { pool: 'fast', iops: '1' },
      mutable_parameters: { iops: '500' },
    });
    expect(optionsOf(scenario.driver.calls()[0]?.args).iops).toBe('500');
    expect(volume?.volume_context).toEqual({ pool: 'fast', iops: '1' });
    const wrong = { ...create, name: 'pvc-2', mutable_parameters: { XXX_FakeKey: 'x' } };
    expect(await failureOf(scenario.client.controller('CreateVolume', wrong))).toBe(
      'INVALID_ARGUMENT: mutable_parameters: "XXX_FakeKey" cannot be changed; the driver can change iops',
    );
  });

  it('passes the places on, the preferred ones first, and the topology of the volume back', async () => {
    const scenario = await start({
      init: init({ provision: true, topology: { zone: 'a' } }),
      provision: answer('Success', { topology: [{ zone: 'b' }] }),
    });
    const zone = (name: string) => ({ segments: { zone: name } });
    const { volume } = await scenario.client.controller('CreateVolume', {
      ...create,
      accessibility_requirements: { requisite: [zone('a'), zone('b')], preferred: [zone('b')] },
    });
    expect(optionsOf(scenario.driver.calls()[0]?.args)['csi/topology']).toBe('zone=b;zone=a');
    expect(volume?.accessible_topology).toEqual([zone('b')]);
    const { capabilities } = await scenario.client.identity('GetPluginCapabilities', {});
    expect(capabilities.map(({ service }) => service?.type)).toContain('VOLUME_ACCESSIBILITY_CONSTRAINTS');
    const info = await scenario.client.node('NodeGetInfo', {});
    expect(info.accessible_topology).toEqual(zone('a'));
  });
});

describe('CreateVolume again', () => {
  it('keeps the options of the first time where getvolume names none', async () => {
    const scenario = await start({
      init: asks,
      getvolume: missing,
      provision: answer('Success', { options: { lv: '7' } }),
      delete: success,
    });
    await scenario.client.controller('CreateVolume', create);
    scenario.driver.script('getvolume', success);
    const { volume } = await scenario.client.controller('CreateVolume', create);
    expect(volume?.volume_context).toEqual({ lv: '7' });
    await scenario.client.controller('DeleteVolume', { volume_id: 'pvc-1' });
    expect(optionsOf(scenario.driver.calls().at(-1)?.args).lv).toBe('7');
  });

  it('does not mind what a sidecar adds, but what it is for', async () => {
    const scenario = await start({ init: provisions, provision: success });
    await scenario.client.controller('CreateVolume', create);
    const parameters = { ...create.parameters, 'csi.storage.k8s.io/pvc/name': 'data' };
    await scenario.client.controller('CreateVolume', { ...create, parameters });
    const again = (volume_capabilities: object[]) =>
      failureOf(scenario.client.controller('CreateVolume', { ...create, volume_capabilities }));
    expect(await again([{ mount: { fs_type: 'xfs' }, access_mode: writer }])).toMatch(
      /^ALREADY_EXISTS: volume pvc-1 was created for fs_type ext4/,
    );
    expect(await again([{ block: {}, access_mode: writer }])).toMatch(
      /^ALREADY_EXISTS: volume pvc-1 was created as mount volume/,
    );
  });

  it('asks the driver whether a volume of unknown source is the one', async () => {
    const scenario = await start({
      init: init({ provision: true, clone: true, getvolume: true }),
      getvolume: success,
      provision: failure('ALREADY_EXISTS', 'not made from that'),
    });
    const source = { volume_content_source: { volume: { volume_id: 'src' } } };
    expect(await failureOf(scenario.client.controller('CreateVolume', { ...create, ...source }))).toMatch(
      /^ALREADY_EXISTS: .*not made from that/,
    );
  });

  it('refuses options that would pass for secrets or belong to flexcsi, and records nothing', async () => {
    for (const key of ['kubernetes.io/secret/x', 'csi/mountOptions']) {
      const scenario = await start({
        init: provisions,
        provision: answer('Success', { options: { [key]: 'x' } }),
      });
      expect(await failureOf(scenario.client.controller('CreateVolume', create))).toContain(
        `INTERNAL: driver example.com/scripted: provision: the answer's "options" must not have the key "${key}"`,
      );
    }
  });

  it('leaves the size to the driver when only a limit is named', async () => {
    const made = answer('Success', { capacityBytes: 8 * MIB });
    const scenario = await start({ init: provisions, provision: made });
    const capacity_range = { limit_bytes: 10 * MIB };
    const { volume } = await scenario.client.controller('CreateVolume', { ...create, capacity_range });
    expect(volume?.capacity_bytes).toBe(String(8 * MIB));
    const options = optionsOf(scenario.driver.calls()[0]?.args);
    expect([options.requestBytes, options['csi/limitBytes']]).toEqual([undefined, String(10 * MIB)]);
  });
});

describe('DeleteVolume', () => {
  it('refuses while a driver that only writes files has it published', async () => {
    const scenario = await start({
      init: init({ attach: false, provision: true }),
      mount: success,
      unmount: success,
      delete: success,
    });
    const published = { volume_id: 'pv-1', target_path: scenario.target() };
    await scenario.client.node('NodePublishVolume', { ...published, volume_capability: mountCapability });
    const remove = () => failureOf(scenario.client.controller('DeleteVolume', { volume_id: 'pv-1' }));
    expect(await remove()).toMatch(/^FAILED_PRECONDITION: /);
    await scenario.client.node('NodeUnpublishVolume', published);
    expect(await remove()).toBe('no failure: {}');
  });

  it('does not run beside a stage, a snapshot or a clone of the volume', async () => {
    const slow = { prints: success, sleepMs: 700 };
    const scenario = await start({
      init: init({ provision: true, snapshot: true, clone: true }),
      waitforattach: success,
      mountdevice: slow,
      snapshot: { prints: answer('Success', { creationTime: 1 }), sleepMs: 700 },
      provision: slow,
      delete: success,
    });
    const { client } = scenario;
    const staging_target_path = scenario.staging('a');
    const running = [
      client.node('NodeStageVolume', {
        volume_id: 'a',
        staging_target_path,
        volume_capability: mountCapability,
      }),
      client.controller('CreateSnapshot', { source_volume_id: 'b', name: 's-1' }),
      client.controller('CreateSnapshot', { source_volume_id: 'b', name: 's-2' }),
      client.controller('CreateVolume', {
        ...create,
        volume_content_source: { volume: { volume_id: 'c' } },
      }),
    ];
    // Two snapshots of one volume run at once.
    await expect
      .poll(() => scenario.driver.verbs().sort())
      .toEqual(['mountdevice', 'provision', 'snapshot', 'snapshot', 'waitforattach']);
    for (const volume_id of ['a', 'b', 'c']) {
      expect(await failureOf(client.controller('DeleteVolume', { volume_id }))).toMatch(/^ABORTED: /);
    }
    await Promise.all(running);
    for (const volume_id of ['b', 'c']) await client.controller('DeleteVolume', { volume_id });
    await client.node('NodeUnstageVolume', { volume_id: 'a', staging_target_path });
  });

  it('is called also where getvolume is broken', async () => {
    const scenario = await start({
      init: asks,
      getvolume: { prints: answer('Failure', { message: 'metadata unreadable' }), exit: 1 },
      delete: success,
    });
    await scenario.client.controller('DeleteVolume', { volume_id: 'v' });
    expect(scenario.driver.verbs()).toEqual(['getvolume', 'delete']);
  });

  it('hands the options over that the volume was made with, also after a restart', async () => {
    const made = answer('Success', { options: { lv: '7' } });
    const scenario = await start({ init: provisions, provision: made, delete: success });
    await scenario.client.controller('CreateVolume', create);
    await scenario.restart();
    await scenario.client.controller('DeleteVolume', { volume_id: 'pvc-1', secrets: { k: 'v' } });
    const call = scenario.driver.calls().find(({ verb }) => verb === 'delete');
    expect(optionsOf(call?.args)).toEqual({
      lv: '7',
      'kubernetes.io/pvOrVolumeName': 'pvc-1',
      'kubernetes.io/secret/k': 'dg==',
    });
    // Its record is gone with it.
    await scenario.client.controller('CreateVolume', { ...create, parameters: { pool: 'slow' } });
  });

  it('asks the driver for options that are not on record, and deletes what getvolume does not know', async () => {
    const scenario = await start({
      init: asks,
      getvolume: answer('Success', { options: { lv: '8' } }),
      delete: success,
    });
    await scenario.client.controller('DeleteVolume', { volume_id: 'pvc-1' });
    expect(optionsOf(scenario.driver.calls().at(-1)?.args).lv).toBe('8');
    scenario.driver.script('getvolume', missing);
    await scenario.client.controller('DeleteVolume', { volume_id: 'half-made' });
    expect(scenario.driver.verbs()).toEqual(['getvolume', 'delete', 'getvolume', 'delete']);
  });

  it('takes NOT_FOUND for success', async () => {
    const scenario = await start({ init: provisions, delete: missing });
    await scenario.client.controller('DeleteVolume', { volume_id: 'pvc-1' });
    expect(scenario.driver.verbs()).toEqual(['delete']);
  });

  it('refuses while the volume is in use on this node', async () => {
    const scenario = await start({
      init: init({ attach: false, provision: true }),
      mount: { shell: 'mount -t tmpfs none "$2"', prints: success },
      unmount: { shell: 'umount "$2"', prints: success },
      delete: success,
    });
    const target_path = scenario.target();
    const volume = { volume_id: 'pv-1', target_path };
    await scenario.client.node('NodePublishVolume', { ...volume, volume_capability: mountCapability });
    expect(await failureOf(scenario.client.controller('DeleteVolume', { volume_id: 'pv-1' }))).toBe(
      `FAILED_PRECONDITION: volume pv-1 is in use on this node, at ${target_path}: it is not deleted`,
    );
    await scenario.client.node('NodeUnpublishVolume', volume);
    await scenario.client.controller('DeleteVolume', { volume_id: 'pv-1' });
    expect(scenario.driver.verbs()).toEqual(['mount', 'unmount', 'delete']);
  });

  it('refuses while the volume is staged on this node', async () => {
    const scenario = await start({ init: provisions, waitforattach: success, delete: success });
    const staging_target_path = scenario.staging();
    const stage = { volume_id: 'pv-1', staging_target_path };
    await scenario.client.node('NodeStageVolume', { ...stage, volume_capability: mountCapability });
    expect(await failureOf(scenario.client.controller('DeleteVolume', { volume_id: 'pv-1' }))).toMatch(
      /^FAILED_PRECONDITION: volume pv-1 is in use on this node/,
    );
    await scenario.client.node('NodeUnstageVolume', stage);
    await scenario.client.controller('DeleteVolume', { volume_id: 'pv-1' });
  });

  it('refuses while the volume is attached, if isattached confirms it', async () => {
    const scenario = await start({
      init: provisions,
      attach: success,
      isattached: answer('Success', { attached: true }),
      delete: success,
    });
    const attach = { volume_id: 'pv-1', node_id: 'node-7', volume_capability: mountCapability };
    await scenario.client.controller('ControllerPublishVolume', attach);
    expect(await failureOf(scenario.client.controller('DeleteVolume', { volume_id: 'pv-1' }))).toBe(
      'FAILED_PRECONDITION: volume pv-1 is attached to node node-7: it is not deleted',
    );
    scenario.driver.script('isattached', answer('Success', { attached: false }));
    await scenario.client.controller('DeleteVolume', { volume_id: 'pv-1' });
  });

  it('turns away what would run beside it', async () => {
    const scenario = await start({
      init: provisions,
      delete: { prints: success, sleepMs: 500 },
      provision: success,
    });
    const deleting = scenario.client.controller('DeleteVolume', { volume_id: 'pvc-1' });
    await expect.poll(() => scenario.driver.verbs()).toEqual(['delete']);
    expect(await failureOf(scenario.client.controller('CreateVolume', create))).toMatch(/^ABORTED: /);
    await deleting;
  });
});

describe('ControllerGetVolume, ListVolumes', () => {
  const volumes = [
    { volume: 'b', capacityBytes: 5, nodes: ['n-1'], options: { x: '1' }, sourceVolume: 'a' },
    { volume: 'a', topology: [{ zone: 'z' }] },
  ];
  const lists = init({ listvolumes: true, publishednodes: true, topology: { zone: 'z' } });

  it('show what the driver says', async () => {
    const scenario = await start({ init: lists, listvolumes: answer('Success', { volumes }) });
    const { entries, next_token } = await scenario.client.controller('ListVolumes', {});
    const byId = Object.fromEntries(entries.map((entry) => [entry.volume?.volume_id, entry]));
    expect(next_token).toBe('');
    expect(byId.b).toMatchObject({
      volume: {
        capacity_bytes: '5',
        volume_context: { x: '1' },
        content_source: { volume: { volume_id: 'a' } },
      },
      status: { published_node_ids: ['n-1'] },
    });
    expect(byId.a).toMatchObject({ volume: { accessible_topology: [{ segments: { zone: 'z' } }] } });
    const { volume, status } = await scenario.client.controller('ControllerGetVolume', { volume_id: 'b' });
    expect([volume?.volume_id, status?.published_node_ids]).toEqual(['b', ['n-1']]);
    expect(await failureOf(scenario.client.controller('ControllerGetVolume', { volume_id: 'c' }))).toBe(
      'NOT_FOUND: volume c is not there',
    );
    expect(optionsOf(scenario.driver.calls()[0]?.args)).toEqual({});
  });

  it('page', async () => {
    const scenario = await start({ init: lists, listvolumes: answer('Success', { volumes }) });
    const first = await scenario.client.controller('ListVolumes', { max_entries: 1 });
    const rest = await scenario.client.controller('ListVolumes', { starting_token: first.next_token });
    const ids = [...first.entries, ...rest.entries].map(({ volume }) => volume?.volume_id);
    expect(ids.sort()).toEqual(['a', 'b']);
    expect(await failureOf(scenario.client.controller('ListVolumes', { starting_token: 'x' }))).toMatch(
      /^ABORTED: /,
    );
  });

  it.each([
    [{}, 'the answer has no "volumes", which must be a list of objects'],
    [{ volumes: [{ volume: 'a' }, {}] }, 'the answer has no "volumes[1].volume", which must be a string'],
    [{ volumes: ['a'] }, 'the answer\'s "volumes" must be a list of objects'],
  ])('say what is wrong with %j', async (fields, message) => {
    const scenario = await start({ init: lists, listvolumes: answer('Success', fields) });
    const text = await failureOf(scenario.client.controller('ListVolumes', {}));
    expect(text).toContain(message);
    expect(text).toMatch(/^INTERNAL: /);
  });

  it('leave out what is described wrongly, and nothing else', async () => {
    const bad = [
      { volume: 'x'.repeat(129) },
      { volume: 'place', topology: { 'a b': 'c' } },
      { volume: 'options', options: { 'kubernetes.io/secret/x': 'eA==' } },
      { volume: 'size', capacityBytes: 'much' },
    ];
    const all = { init: init({ listvolumes: true, provision: true }), provision: success, delete: success };
    const listvolumes = answer('Success', { volumes: [...bad, { volume: 'good' }] });
    const scenario = await start({ ...all, listvolumes });
    const { entries } = await scenario.client.controller('ListVolumes', {});
    expect(entries.map(({ volume }) => volume?.volume_id)).toEqual(['good']);
    await scenario.client.controller('CreateVolume', create);
    await scenario.client.controller('DeleteVolume', { volume_id: 'pvc-1' });
    expect(
      await failureOf(scenario.client.controller('ControllerGetVolume', { volume_id: 'size' })),
    ).toContain('the answer\'s "volumes[3].capacityBytes" must be an integer');
  });

  it('name no places where the plugin does not say that it has any', async () => {
    const scenario = await start({
      init: init({ listvolumes: true }),
      listvolumes: answer('Success', { volumes: [{ volume: 'a', topology: { zone: 'z' } }] }),
    });
    const { entries } = await scenario.client.controller('ListVolumes', {});
    expect(entries[0]?.volume?.accessible_topology).toEqual([]);
  });

  it('list more than other verbs may print', async () => {
    const many = Array.from({ length: 20_000 }, (_, index) => ({
      volume: `volume-${index}`,
      options: { n: 'x'.repeat(80) },
    }));
    const scenario = await start({ init: lists, listvolumes: answer('Success', { volumes: many }) });
    let count = 0;
    let starting_token = '';
    do {
      const page = await scenario.client.controller('ListVolumes', { starting_token });
      count += page.entries.length;
      starting_token = page.next_token;
    } while (starting_token !== '');
    expect(count).toBe(20_000);
  });
});

describe('GetCapacity', () => {
  it('asks for these parameters at this place', async () => {
    const room = { availableBytes: 100, maxVolumeBytes: 50, minVolumeBytes: 1 };
    const scenario = await start({ init: init({ getcapacity: true }), getcapacity: answer('Success', room) });
    const answered = await scenario.client.controller('GetCapacity', {
      parameters: { pool: 'fast' },
      accessible_topology: { segments: { zone: 'a' } },
      volume_capabilities: [{ block: {}, access_mode: writer }],
    });
    expect(answered).toMatchObject({
      available_capacity: '100',
      maximum_volume_size: { value: '50' },
      minimum_volume_size: { value: '1' },
    });
    expect(optionsOf(scenario.driver.calls()[0]?.args)).toEqual({
      pool: 'fast',
      'kubernetes.io/fsType': '',
      'csi/accessModes': 'SINGLE_NODE_WRITER',
      'csi/accessType': 'block',
      'csi/topology': 'zone=a',
    });
  });

  it('says what is missing', async () => {
    const scenario = await start({ init: init({ getcapacity: true }), getcapacity: success });
    expect(await failureOf(scenario.client.controller('GetCapacity', {}))).toContain(
      'has no "availableBytes"',
    );
  });
});

describe('ControllerModifyVolume', () => {
  it('hands over the changes apart from the options', async () => {
    const scenario = await start({
      init: init({ getvolume: true, modifyvolume: 'iops,size' }),
      getvolume: answer('Success', { options: { iops: '1' } }),
      modifyvolume: success,
    });
    await scenario.client.controller('ControllerModifyVolume', {
      volume_id: 'v',
      mutable_parameters: { iops: '500' },
      secrets: { k: 'v' },
    });
    expect(optionsOf(scenario.driver.calls().at(-1)?.args)).toEqual({
      iops: '1',
      'csi/parameter/iops': '500',
      'kubernetes.io/pvOrVolumeName': 'v',
      'kubernetes.io/secret/k': 'dg==',
    });
  });

  it('tells a volume that is not there from one that fails', async () => {
    const scenario = await start({
      init: init({ getvolume: true, modifyvolume: true }),
      getvolume: missing,
      modifyvolume: { prints: answer('Failure', { message: 'no' }), exit: 1 },
    });
    const modify = (mutable_parameters: Record<string, string>) =>
      failureOf(scenario.client.controller('ControllerModifyVolume', { volume_id: 'v', mutable_parameters }));
    expect(await modify({ a: 'b' })).toMatch(/^NOT_FOUND: volume v is not there: /);
    expect(await modify({})).toBe('NOT_FOUND: volume v is not there');
    scenario.driver.script('getvolume', success);
    expect(await modify({ a: 'b' })).toMatch(/^INTERNAL: /);
    expect(await modify({})).toBe('no failure: {}');
  });
});

describe('ValidateVolumeCapabilities', () => {
  const validate = { volume_id: 'v', volume_capabilities: [mountCapability] };

  it('knows what is not there where the driver can be asked', async () => {
    const scenario = await start({ init: asks, getvolume: missing });
    expect(await failureOf(scenario.client.controller('ValidateVolumeCapabilities', validate))).toBe(
      'NOT_FOUND: volume v is not there',
    );
    scenario.driver.script('getvolume', success);
    const { confirmed } = await scenario.client.controller('ValidateVolumeCapabilities', validate);
    expect(confirmed?.volume_capabilities).toHaveLength(1);
  });
});

describe('a driver without the capability', () => {
  it.each([
    'CreateVolume',
    'DeleteVolume',
    'ListVolumes',
    'GetCapacity',
    'ControllerModifyVolume',
    'ControllerGetVolume',
    'CreateSnapshot',
    'DeleteSnapshot',
    'ListSnapshots',
    'GetSnapshot',
  ] as const)('answers UNIMPLEMENTED to %s, without a call', async (rpc) => {
    const scenario = await start({ init: attachFalse });
    expect(await failureOf(scenario.client.controller(rpc, {}))).toMatch(
      /^UNIMPLEMENTED: the driver does not say /,
    );
    expect(scenario.driver.verbs()).toEqual([]);
  });
});
