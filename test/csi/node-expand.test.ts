import { execFileSync } from 'node:child_process';
import { statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { KnownVolume } from '../../src/volume/parts.ts';
import { startPlugin } from '../support/plugin.ts';
import { lacks } from '../support/requirements.ts';
import {
  attachFalse,
  failureOf,
  mountCapability,
  mountsTmpfs,
  success,
  unmounts,
  useScenarios,
  writer,
} from '../support/scenario.ts';
import { answer } from '../support/scripted-driver.ts';

const MIB = 1024 * 1024;

describe.skipIf(lacks('mounts'))('NodeExpandVolume', () => {
  const start = useScenarios();
  const attaching = {
    waitforattach: answer('Success', { device: '/dev/vdb1' }),
    mountdevice: mountsTmpfs,
    unmountdevice: unmounts,
  };
  const volume = { volume_id: 'pv-1', volume_capability: mountCapability, volume_context: { id: 'v-1' } };

  async function published(scenario: Awaited<ReturnType<typeof start>>) {
    const staging_target_path = scenario.staging();
    const target_path = scenario.target();
    await scenario.client.node('NodeStageVolume', { ...volume, staging_target_path });
    await scenario.client.node('NodePublishVolume', { ...volume, staging_target_path, target_path });
    scenario.driver.forget();
    return target_path;
  }

  it('calls expandfs with options, device and sizes from the record, also after a restart', async () => {
    const scenario = await start({
      ...attaching,
      mountdevice: { shell: 'mount -t tmpfs -o size=1m tmpfs "$2"', prints: success },
      expandfs: success,
    });
    const volume_path = await published(scenario);
    await scenario.restart();
    const request = {
      volume_id: 'pv-1',
      volume_path,
      capacity_range: { required_bytes: 2 * MIB },
      volume_capability: mountCapability,
    };
    expect(await scenario.client.node('NodeExpandVolume', request)).toEqual({
      capacity_bytes: String(2 * MIB),
    });
    expect(scenario.driver.calls().map(({ verb, args }) => [verb, ...args])).toEqual([
      [
        'expandfs',
        '{"id":"v-1","kubernetes.io/fsType":"ext4","kubernetes.io/pvOrVolumeName":"pv-1","kubernetes.io/readwrite":"rw"}',
        '/dev/vdb1',
        volume_path,
        String(2 * MIB),
        String(MIB),
      ],
    ]);
  });

  it('asks a driver that has getvolume when nothing is on record any more', async () => {
    const scenario = await start({
      init: answer('Success', { capabilities: { attach: false, getvolume: true } }),
      mount: mountsTmpfs,
      unmount: unmounts,
      expandfs: success,
      getvolume: answer('Success', { options: { id: 'from-driver' } }),
    });
    const target_path = scenario.target();
    await scenario.client.node('NodePublishVolume', { ...volume, target_path });
    await scenario.restart({ stateDir: join(scenario.directory, 'lost') });
    await scenario.client.node('NodeExpandVolume', {
      volume_id: 'pv-1',
      volume_path: target_path,
      capacity_range: { required_bytes: 9 },
    });
    expect(scenario.driver.verbs()).toEqual(['getvolume', 'expandfs']);
    expect(scenario.driver.calls()[1]?.args[0]).toContain('"id":"from-driver"');
  });

  it('takes options and old size from the cluster where there is one', async () => {
    const scenario = await start({
      init: attachFalse,
      mount: mountsTmpfs,
      unmount: unmounts,
      expandfs: success,
    });
    const known: KnownVolume = { options: { id: 'from-pv' }, fsType: 'nfs', claimedBytes: 7n };
    const plugin = await startPlugin(
      { driver: scenario.driver.file, kubeletDir: join(scenario.plugin.directory, 'kubelet') },
      { lookup: { find: async () => known } },
    );
    const target_path = scenario.target();
    await scenario.client.node('NodePublishVolume', { ...volume, target_path });
    scenario.driver.forget();
    await plugin.client.node('NodeExpandVolume', {
      volume_id: 'pv-1',
      volume_path: target_path,
      capacity_range: { required_bytes: 9 },
    });
    const [call] = scenario.driver.calls();
    expect(call?.args).toEqual([
      '{"id":"from-pv","kubernetes.io/fsType":"nfs","kubernetes.io/pvOrVolumeName":"pv-1","kubernetes.io/readwrite":"rw"}',
      '',
      target_path,
      '9',
      '7',
    ]);
    await plugin.remove();
  });

  it('passes the failure on', async () => {
    const scenario = await start({
      ...attaching,
      expandfs: { prints: answer('Failure', { message: 'not mounted' }), exit: 1 },
    });
    const volume_path = await published(scenario);
    const expand = scenario.client.node('NodeExpandVolume', { volume_id: 'pv-1', volume_path });
    expect(await failureOf(expand)).toBe(
      'INTERNAL: driver example.com/scripted: expandfs command failed, status: Failure, reason: not mounted (exit status 1)',
    );
  });

  it('has nothing to do for a raw block volume, nor for a driver without expandfs and without a device', async () => {
    const scenario = await start({ init: attachFalse, mount: mountsTmpfs, unmount: unmounts });
    const target_path = scenario.target();
    await scenario.client.node('NodePublishVolume', { ...volume, target_path });
    scenario.driver.forget();
    const request = { volume_id: 'pv-1', volume_path: target_path };
    await scenario.client.node('NodeExpandVolume', {
      ...request,
      volume_capability: { block: {}, access_mode: writer },
    });
    expect(scenario.driver.verbs()).toEqual([]);
    await scenario.client.node('NodeExpandVolume', request);
    expect(scenario.driver.verbs()).toEqual(['expandfs']);
  });

  it.skipIf(lacks('root', 'loop'))(
    'never touches what is on a raw block volume, whatever the request says',
    async () => {
      const scenario = await start({});
      const image = join(scenario.directory, 'image');
      execFileSync('truncate', ['-s', '32M', image]);
      execFileSync('mkfs.ext4', ['-q', image]);
      execFileSync('truncate', ['-s', '64M', image]);
      const device = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
      try {
        scenario.driver.script('waitforattach', answer('Success', { device }));
        const request = {
          volume_id: 'v',
          volume_capability: { block: {}, access_mode: writer },
          staging_target_path: scenario.staging(),
        };
        const target_path = join(scenario.plugin.directory, 'kubelet/device');
        await scenario.client.node('NodeStageVolume', request);
        await scenario.client.node('NodePublishVolume', { ...request, target_path });
        const before = execFileSync('dumpe2fs', ['-h', device], { encoding: 'utf8', stdio: 'pipe' });
        await scenario.client.node('NodeExpandVolume', { volume_id: 'v', volume_path: target_path });
        expect(execFileSync('dumpe2fs', ['-h', device], { encoding: 'utf8', stdio: 'pipe' })).toBe(before);
        await scenario.client.node('NodeUnpublishVolume', { volume_id: 'v', target_path });
      } finally {
        execFileSync('losetup', ['--detach', device]);
      }
    },
  );

  it.each([
    [{ volume_id: '' }, 'INVALID_ARGUMENT: volume_id is required'],
    [{ volume_path: '' }, 'INVALID_ARGUMENT: volume_path is required'],
    [{ volume_path: 'some/path' }, /^NOT_FOUND: /],
    [{ volume_path: '/nothing/there' }, 'NOT_FOUND: volume v is not at /nothing/there'],
    [{ capacity_range: { required_bytes: 2, limit_bytes: 1 } }, /^INVALID_ARGUMENT: capacity_range: /],
  ])('refuses %j', async (change, message) => {
    const scenario = await start(attaching);
    const call = scenario.client.node('NodeExpandVolume', {
      volume_id: 'v',
      volume_path: '/nothing/there',
      ...change,
    });
    const failure = await failureOf(call);
    if (typeof message === 'string') expect(failure).toBe(message);
    else expect(failure).toMatch(message);
  });

  it('is UNIMPLEMENTED for a driver that says requiresFSResize: false', async () => {
    const scenario = await start({ init: answer('Success', { capabilities: { requiresFSResize: false } }) });
    const call = scenario.client.node('NodeExpandVolume', { volume_id: 'v', volume_path: '/x' });
    expect(await failureOf(call)).toBe('UNIMPLEMENTED: the driver says requiresFSResize: false in init');
  });

  // ext4 would need CAP_SYS_RESOURCE; these two do not.
  describe.each(['xfs', 'btrfs'])('of %s by flexcsi itself', (fsType) => {
    it.skipIf(lacks('root', 'loop', `mkfs.${fsType}`))(
      'grows the mounted file system to its device, the data intact',
      async () => {
        const scenario = await start({});
        const image = join(scenario.directory, 'image');
        execFileSync('truncate', ['-s', '320M', image]);
        const device = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
        try {
          scenario.driver.script('waitforattach', answer('Success', { device }));
          const staging_target_path = scenario.staging();
          const target_path = scenario.target();
          const request = {
            volume_id: 'v',
            volume_capability: { mount: { fs_type: fsType }, access_mode: writer },
            staging_target_path,
          };
          // Blank: formatted and mounted as kubelet does it.
          await scenario.client.node('NodeStageVolume', request);
          await scenario.client.node('NodePublishVolume', { ...request, target_path });
          writeFileSync(join(target_path, 'file'), 'data');
          const size = () => {
            const { blocks, bsize } = statfsSync(target_path);
            return blocks * bsize;
          };
          const before = size();
          execFileSync('truncate', ['-s', '640M', image]);
          execFileSync('losetup', ['--set-capacity', device]);
          await scenario.client.node('NodeExpandVolume', {
            volume_id: 'v',
            volume_path: target_path,
            volume_capability: request.volume_capability,
          });
          expect(size()).toBeGreaterThan(before + 256 * MIB);
          // As large as possible: the driver was told the device's size.
          expect(scenario.driver.calls().find(({ verb }) => verb === 'expandfs')?.args[3]).toBe(
            String(640 * MIB),
          );
          execFileSync('grep', ['-qx', 'data', join(target_path, 'file')]);
          await scenario.client.node('NodeUnpublishVolume', { volume_id: 'v', target_path });
          await scenario.client.node('NodeUnstageVolume', { volume_id: 'v', staging_target_path });
        } finally {
          execFileSync('losetup', ['--detach', device]);
        }
      },
    );
  });
});
