import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { lacks } from '../support/requirements.ts';
import {
  attachFalse,
  failureOf,
  isMounted,
  mountCapability,
  mountsTmpfs,
  optionsOf,
  success,
  unmounts,
  useScenarios,
  writer,
} from '../support/scenario.ts';
import { answer } from '../support/scripted-driver.ts';

describe.skipIf(lacks('mounts'))('Node', () => {
  const start = useScenarios();
  const plain = { init: attachFalse, mount: mountsTmpfs, unmount: unmounts };

  describe('a driver without attach', () => {
    it('publishes with mount and unpublishes with unmount', async () => {
      const scenario = await start(plain);
      const target_path = scenario.target();
      const publish = {
        volume_id: 'pv-1',
        target_path,
        volume_capability: mountCapability,
        volume_context: { share: 'server:/export', 'csi.storage.k8s.io/pod.name': 'web-0' },
      };
      await scenario.client.node('NodePublishVolume', publish);
      expect(isMounted(target_path)).toBe(true);
      const [mount] = scenario.driver.calls();
      expect(mount?.args[0]).toBe(target_path);
      expect(optionsOf(mount?.args)).toEqual({
        share: 'server:/export',
        'kubernetes.io/fsType': 'ext4',
        'kubernetes.io/readwrite': 'rw',
        'kubernetes.io/pvOrVolumeName': 'pv-1',
        'kubernetes.io/pod.name': 'web-0',
        'kubernetes.io/pod.namespace': '',
        'kubernetes.io/pod.uid': '',
        'kubernetes.io/serviceAccount.name': '',
      });
      await scenario.client.node('NodeUnpublishVolume', { volume_id: 'pv-1', target_path });
      expect(existsSync(target_path)).toBe(false);
      expect(scenario.driver.verbs()).toEqual(['mount', 'unmount']);
    });

    it('passes secrets, the group and mount flags to mount', async () => {
      const scenario = await start(plain);
      const target_path = scenario.target();
      await scenario.client.node('NodePublishVolume', {
        volume_id: 'pv-1',
        target_path,
        volume_capability: {
          mount: { fs_type: '', mount_flags: ['noatime', 'vers=3.0'], volume_mount_group: '4321' },
          access_mode: writer,
        },
        secrets: { password: 'p&<ssé' },
      });
      expect(optionsOf(scenario.driver.calls()[0]?.args)).toMatchObject({
        'kubernetes.io/secret/password': Buffer.from('p&<ssé').toString('base64'),
        'kubernetes.io/mounterArgs.FsGroup': '4321',
        'csi/mountOptions': 'noatime,vers=3.0',
      });
    });

    it.skipIf(lacks('root'))("gives the volume to the pod's group, setgid", async () => {
      const scenario = await start(plain);
      const target_path = scenario.target();
      const volume_capability = { mount: { volume_mount_group: '4321' }, access_mode: writer };
      await scenario.client.node('NodePublishVolume', { volume_id: 'v', target_path, volume_capability });
      expect(statSync(target_path).gid).toBe(4321);
      // A tmpfs has 1777.
      expect(statSync(target_path).mode & 0o7777).toBe(0o3777);
    });

    it.each([
      ['legacy', ['kubernetes.io/fsGroup']],
      ['both', ['kubernetes.io/fsGroup', 'kubernetes.io/mounterArgs.FsGroup']],
    ] as const)('names the group by --fs-group-key %s', async (fsGroupKey, keys) => {
      const scenario = await start(plain, { fsGroupKey });
      const volume_capability = { mount: { volume_mount_group: '7' }, access_mode: writer };
      await scenario.client.node('NodePublishVolume', {
        volume_id: 'v',
        target_path: scenario.target(),
        volume_capability,
      });
      const options = optionsOf(scenario.driver.calls()[0]?.args);
      expect(
        Object.keys(options)
          .filter((key) => /group/i.test(key))
          .sort(),
      ).toEqual(keys);
    });

    it('does not advertise staging, and answers UNIMPLEMENTED to it', async () => {
      const scenario = await start(plain);
      const { capabilities } = await scenario.client.node('NodeGetCapabilities', {});
      expect(capabilities.map(({ rpc }) => rpc?.type)).not.toContain('STAGE_UNSTAGE_VOLUME');
      const staging_target_path = scenario.staging();
      const stage = scenario.client.node('NodeStageVolume', {
        volume_id: 'v',
        staging_target_path,
        volume_capability: mountCapability,
      });
      expect(await failureOf(stage)).toMatch(/^UNIMPLEMENTED: .*attach: false/);
      expect(scenario.driver.verbs()).toEqual([]);
    });

    it('takes a repeated publish for done, also after a restart', async () => {
      const scenario = await start(plain);
      const request = { volume_id: 'v', target_path: scenario.target(), volume_capability: mountCapability };
      await scenario.client.node('NodePublishVolume', request);
      await scenario.client.node('NodePublishVolume', request);
      await scenario.restart();
      await scenario.client.node('NodePublishVolume', request);
      expect(scenario.driver.verbs()).toEqual([]);
    });

    it('refuses another use of the same target: ALREADY_EXISTS, naming the difference', async () => {
      const scenario = await start(plain);
      const target_path = scenario.target();
      const request = {
        volume_id: 'v',
        target_path,
        volume_capability: mountCapability,
        volume_context: { share: 'a' },
      };
      await scenario.client.node('NodePublishVolume', request);
      const again = (change: object) =>
        failureOf(scenario.client.node('NodePublishVolume', { ...request, ...change }));
      expect(await again({ readonly: true })).toMatch(
        /^ALREADY_EXISTS: volume v is already published at .* with readonly false$/,
      );
      expect(await again({ volume_context: { share: 'b' } })).toMatch(
        /^ALREADY_EXISTS: .* another value of option "share"$/,
      );
      expect(await again({ volume_capability: { mount: { fs_type: 'xfs' }, access_mode: writer } })).toMatch(
        /^ALREADY_EXISTS: .* fs_type ext4$/,
      );
      // What a repeat after a restart may say otherwise: nothing of the volume's use.
      await scenario.client.node('NodePublishVolume', {
        ...request,
        volume_capability: {
          mount: { fs_type: '', mount_flags: ['noatime'], volume_mount_group: '5' },
          access_mode: writer,
        },
        volume_context: { share: 'a', 'csi.storage.k8s.io/pod.uid': 'another' },
        secrets: { other: 'secret' },
      });
      expect(scenario.driver.verbs()).toEqual(['mount']);
    });

    it('publishes to many targets, but not a SINGLE_NODE_SINGLE_WRITER volume', async () => {
      const scenario = await start(plain);
      const publish = (
        pod: string,
        volume_id: string,
        mode: 'SINGLE_NODE_WRITER' | 'SINGLE_NODE_SINGLE_WRITER',
      ) =>
        scenario.client.node('NodePublishVolume', {
          volume_id,
          target_path: scenario.target(pod, volume_id),
          volume_capability: { mount: {}, access_mode: { mode } },
        });
      await publish('pod-1', 'shared', 'SINGLE_NODE_WRITER');
      await publish('pod-2', 'shared', 'SINGLE_NODE_WRITER');
      await publish('pod-1', 'own', 'SINGLE_NODE_SINGLE_WRITER');
      expect(await failureOf(publish('pod-2', 'own', 'SINGLE_NODE_SINGLE_WRITER'))).toMatch(
        /^FAILED_PRECONDITION: volume own has access mode SINGLE_NODE_SINGLE_WRITER and is already published at .*pod-1/,
      );
      await publish('pod-1', 'own', 'SINGLE_NODE_SINGLE_WRITER');
      await scenario.client.node('NodeUnpublishVolume', {
        volume_id: 'own',
        target_path: scenario.target('pod-1', 'own'),
      });
      await publish('pod-2', 'own', 'SINGLE_NODE_SINGLE_WRITER');
    });

    it('leaves nothing of a failed mount, so that the retry mounts', async () => {
      const scenario = await start({
        ...plain,
        mount: {
          shell: 'mount -t tmpfs tmpfs "$2"',
          prints: answer('Failure', { message: 'no route' }),
          exit: 1,
        },
      });
      const request = { volume_id: 'v', target_path: scenario.target(), volume_capability: mountCapability };
      expect(await failureOf(scenario.client.node('NodePublishVolume', request))).toBe(
        'INTERNAL: driver example.com/scripted: mount command failed, status: Failure, reason: no route (exit status 1)',
      );
      expect(isMounted(request.target_path)).toBe(false);
      expect(existsSync(request.target_path)).toBe(false);
      scenario.driver.script('mount', mountsTmpfs);
      await scenario.client.node('NodePublishVolume', request);
      expect(isMounted(request.target_path)).toBe(true);
    });

    it('unmounts what a mount past the time limit left, and answers DEADLINE_EXCEEDED', async () => {
      const scenario = await start(
        { ...plain, mount: { shell: 'mount -t tmpfs tmpfs "$2"', sleepMs: 60_000 } },
        { driverTimeout: 1_000 },
      );
      const request = { volume_id: 'v', target_path: scenario.target(), volume_capability: mountCapability };
      expect(await failureOf(scenario.client.node('NodePublishVolume', request))).toMatch(
        /^DEADLINE_EXCEEDED: driver example\.com\/scripted: /,
      );
      expect(isMounted(request.target_path)).toBe(false);
    });

    it('goes on when the client gives up, and gives the repeat the result', async () => {
      const scenario = await start({ ...plain, mount: { sleepMs: 700, ...mountsTmpfs } });
      const request = { volume_id: 'v', target_path: scenario.target(), volume_capability: mountCapability };
      const first = scenario.client.node('NodePublishVolume', request, { deadlineMs: 200 });
      expect(await failureOf(first)).toMatch(/^DEADLINE_EXCEEDED/);
      await scenario.client.node('NodePublishVolume', request);
      expect(isMounted(request.target_path)).toBe(true);
      expect(scenario.driver.verbs()).toEqual(['mount']);
    });

    it('turns the opposite call away while one runs: ABORTED', async () => {
      const scenario = await start({ ...plain, mount: { sleepMs: 500, ...mountsTmpfs } });
      const target_path = scenario.target();
      const publish = scenario.client.node('NodePublishVolume', {
        volume_id: 'v',
        target_path,
        volume_capability: mountCapability,
      });
      await new Promise((resolve) => setTimeout(resolve, 200));
      const unpublish = scenario.client.node('NodeUnpublishVolume', { volume_id: 'v', target_path });
      expect(await failureOf(unpublish)).toBe('ABORTED: volume v: publish is still running; try again');
      await publish;
    });

    it('mounts nothing for a client that left while init ran, after its unpublish was answered', async () => {
      const scenario = await start(plain);
      scenario.driver.script('init', { sleepMs: 1_500, prints: attachFalse });
      scenario.driver.write();
      const target_path = scenario.target();
      const request = { volume_id: 'v', target_path, volume_capability: mountCapability };
      const publish = scenario.client.node('NodePublishVolume', request, { deadlineMs: 500 });
      expect(await failureOf(publish)).toMatch(/^DEADLINE_EXCEEDED/);
      await scenario.client.node('NodeUnpublishVolume', { volume_id: 'v', target_path });
      await new Promise((resolve) => setTimeout(resolve, 2_000));
      expect(isMounted(target_path)).toBe(false);
      expect(scenario.driver.verbs()).not.toContain('mount');
    });

    it('answers a failure with a large secret, and goes on', async () => {
      const scenario = await start({
        ...plain,
        mount: { prints: answer('Failure', { message: 'no' }), exit: 1 },
      });
      const secrets = { bundle: 'k9(*$&'.repeat(8_000) };
      const request = {
        volume_id: 'v',
        target_path: scenario.target(),
        volume_capability: mountCapability,
        secrets,
      };
      expect(await failureOf(scenario.client.node('NodePublishVolume', request))).toContain('reason: no');
      await scenario.client.identity('Probe', {});
    });

    it('publishes 32 pods at once, one driver call each', async () => {
      const scenario = await start(plain);
      const targets = Array.from({ length: 32 }, (_, pod) => scenario.target(`pod-${pod}`));
      await Promise.all(
        targets.map((target_path) =>
          scenario.client.node('NodePublishVolume', {
            volume_id: 'v',
            target_path,
            volume_capability: mountCapability,
          }),
        ),
      );
      expect(targets.every(isMounted)).toBe(true);
      expect(scenario.driver.verbs()).toHaveLength(32);
    });

    it.each([
      ['nothing is there', false],
      ['the second time', true],
    ])('unpublishes when %s: OK without a call', async (_when, published) => {
      const scenario = await start(plain);
      const request = { volume_id: 'v', target_path: scenario.target() };
      if (published) {
        await scenario.client.node('NodePublishVolume', { ...request, volume_capability: mountCapability });
        await scenario.client.node('NodeUnpublishVolume', request);
        scenario.driver.forget();
      }
      await scenario.client.node('NodeUnpublishVolume', request);
      expect(scenario.driver.verbs()).toEqual([]);
    });

    it('fails an unpublish whose mount stays, and names who holds it', async () => {
      const scenario = await start({ ...plain, unmount: success });
      const request = { volume_id: 'v', target_path: scenario.target() };
      await scenario.client.node('NodePublishVolume', { ...request, volume_capability: mountCapability });
      const failure = await failureOf(scenario.client.node('NodeUnpublishVolume', request));
      expect(failure).toContain('INTERNAL: driver example.com/scripted says Success to unmount, but ');
      expect(failure).toContain('is still mounted: device or resource busy');
    });

    it('names who holds the mount when the driver fails to unmount it', async () => {
      const scenario = await start({ ...plain, unmount: { ...unmounts, prints: '', exit: 1 } });
      const request = { volume_id: 'v', target_path: scenario.target() };
      await scenario.client.node('NodePublishVolume', { ...request, volume_capability: mountCapability });
      const holder = spawn('sleep', ['1000'], { cwd: request.target_path, stdio: 'ignore' });
      try {
        await vi.waitFor(() => expect(readlinkSync(`/proc/${holder.pid}/cwd`)).toBe(request.target_path));
        const failure = await failureOf(scenario.client.node('NodeUnpublishVolume', request));
        expect(failure).toContain('INTERNAL: driver example.com/scripted: unmount failed');
        expect(failure).toContain(`; held by sleep (pid ${holder.pid})`);
      } finally {
        holder.kill('SIGKILL');
        await once(holder, 'exit');
      }
    });

    it('does not take the mount of a failed call, which could not be taken back, for a success', async () => {
      // A daemon of the driver works in the mount until the file is gone.
      const hold =
        'touch "$2.hold"; mount -t tmpfs tmpfs "$2"; (cd "$2" && while [ -e "$2.hold" ]; do sleep 0.05; done) &';
      const scenario = await start({ ...plain, mount: { shell: hold, prints: answer('Failure'), exit: 1 } });
      const target_path = scenario.target();
      const request = { volume_id: 'v', target_path };
      const publish = () =>
        failureOf(
          scenario.client.node('NodePublishVolume', { ...request, volume_capability: mountCapability }),
        );
      expect(await publish()).toMatch(/^UNAVAILABLE: .*; then unmounting .* again failed/);
      expect(await publish()).toMatch(/^UNAVAILABLE: an earlier call failed, and what it had mounted still/);
      expect(scenario.driver.verbs()).toEqual(['mount']);
      scenario.driver.script('mount', mountsTmpfs);
      rmSync(`${target_path}.hold`);
      await vi.waitFor(async () => {
        await scenario.client.node('NodePublishVolume', { ...request, volume_capability: mountCapability });
      });
      expect(scenario.driver.verbs()).toEqual(['mount', 'mount']);
      expect(isMounted(target_path)).toBe(true);
      await scenario.client.node('NodeUnpublishVolume', request);
      expect(existsSync(target_path)).toBe(false);
    });

    it('never removes a file that is in the way', async () => {
      const scenario = await start({ ...plain, unmount: success });
      const target_path = scenario.target();
      mkdirSync(target_path);
      writeFileSync(join(target_path, 'data'), 'precious');
      const unpublish = scenario.client.node('NodeUnpublishVolume', { volume_id: 'v', target_path });
      expect(await failureOf(unpublish)).toMatch(/^INTERNAL: remove .*: directory not empty; /);
      expect(readFileSync(join(target_path, 'data'), 'utf8')).toBe('precious');
    });

    it("works below a symbolic link, as when kubelet's directory is on another disk", async () => {
      const scenario = await start(plain);
      const real = scenario.target();
      const link = join(scenario.plugin.directory, 'link');
      symlinkSync(dirname(real), link);
      const request = { volume_id: 'v', target_path: join(link, 'mount') };
      await scenario.client.node('NodePublishVolume', { ...request, volume_capability: mountCapability });
      expect(isMounted(real)).toBe(true);
      await scenario.client.node('NodePublishVolume', { ...request, volume_capability: mountCapability });
      await scenario.client.node('NodeUnpublishVolume', request);
      expect(scenario.driver.verbs()).toEqual(['mount', 'unmount']);
      expect(existsSync(real)).toBe(false);
    });

    it('reports how full it is, and NOT_FOUND where nothing is mounted', async () => {
      const scenario = await start({
        ...plain,
        mount: {
          shell: 'mount -t tmpfs -o size=1m tmpfs "$2"; dd if=/dev/zero of="$2/f" bs=1k count=64',
          prints: success,
        },
      });
      const target_path = scenario.target();
      await scenario.client.node('NodePublishVolume', {
        volume_id: 'v',
        target_path,
        volume_capability: mountCapability,
      });
      const { usage } = await scenario.client.node('NodeGetVolumeStats', {
        volume_id: 'v',
        volume_path: target_path,
      });
      expect(usage).toContainEqual({ unit: 'BYTES', total: '1048576', available: '983040', used: '65536' });
      expect(usage[1]).toMatchObject({ unit: 'INODES' });
      const stats = (volume_path: string) =>
        failureOf(scenario.client.node('NodeGetVolumeStats', { volume_id: 'v', volume_path }));
      expect(await stats('/nothing/there')).toBe('NOT_FOUND: no volume is mounted at /nothing/there');
      expect(await stats('some/path')).toMatch(/^NOT_FOUND: /);
      expect(await stats('')).toBe('INVALID_ARGUMENT: volume_path is required');
    });

    it('has no stats when init says supportsMetrics: false', async () => {
      const init = answer('Success', { capabilities: { attach: false, supportsMetrics: false } });
      const scenario = await start({ ...plain, init });
      const stats = scenario.client.node('NodeGetVolumeStats', { volume_id: 'v', volume_path: '/x' });
      expect(await failureOf(stats)).toBe('UNIMPLEMENTED: the driver says supportsMetrics: false in init');
    });

    it('masks secrets in what the driver says', async () => {
      const scenario = await start({
        ...plain,
        mount: { prints: answer('Failure', { message: 'login with hunter2-secret refused' }), exit: 1 },
      });
      const publish = scenario.client.node('NodePublishVolume', {
        volume_id: 'v',
        target_path: scenario.target(),
        volume_capability: mountCapability,
        secrets: { password: 'hunter2-secret' },
      });
      expect(await failureOf(publish)).toContain('reason: login with *** refused');
    });

    it.each([
      [{ volume_id: '' }, 'volume_id is required'],
      [{ target_path: '' }, 'target_path is required'],
      [{ target_path: 'relative' }, 'target_path must be an absolute path, not "relative"'],
      [{ volume_capability: null }, 'volume_capability is required'],
      [
        { volume_context: { 'kubernetes.io/secret/x': 'eA==' } },
        'volume_context key "kubernetes.io/secret/x" is reserved for Kubernetes; use a key without kubernetes.io or k8s.io before the slash',
      ],
    ])('refuses %j', async (change, message) => {
      const scenario = await start(plain);
      const request = {
        volume_id: 'v',
        target_path: scenario.target(),
        volume_capability: mountCapability,
        ...change,
      };
      expect(await failureOf(scenario.client.node('NodePublishVolume', request))).toBe(
        `INVALID_ARGUMENT: ${message}`,
      );
      expect(scenario.driver.verbs()).toEqual([]);
    });
  });

  describe('a driver that attaches', () => {
    const attaching = {
      attach: answer('Success', { device: '/dev/vdb' }),
      waitforattach: answer('Success', { device: '/dev/vdb1' }),
      mountdevice: mountsTmpfs,
      unmountdevice: unmounts,
      detach: success,
    };
    const volume = { volume_id: 'pv-1', volume_capability: mountCapability };

    it('stages once, binds it into each pod read-write and read-only, and takes it all down', async () => {
      const scenario = await start(attaching);
      const staging_target_path = scenario.staging();
      await scenario.client.node('NodeStageVolume', {
        ...volume,
        staging_target_path,
        publish_context: { device: '/dev/vdb' },
      });
      await scenario.client.node('NodeStageVolume', {
        ...volume,
        staging_target_path,
        publish_context: { device: '/dev/vdb' },
      });
      const [first, second] = [scenario.target('pod-1'), scenario.target('pod-2')];
      await scenario.client.node('NodePublishVolume', { ...volume, staging_target_path, target_path: first });
      await scenario.client.node('NodePublishVolume', {
        ...volume,
        staging_target_path,
        target_path: second,
        readonly: true,
      });
      writeFileSync(join(first, 'file'), 'data');
      expect(readFileSync(join(second, 'file'), 'utf8')).toBe('data');
      expect(() => writeFileSync(join(second, 'file'), 'x')).toThrow(/EROFS/);
      for (const target_path of [first, second]) {
        await scenario.client.node('NodeUnpublishVolume', { volume_id: 'pv-1', target_path });
      }
      await scenario.client.node('NodeUnstageVolume', { volume_id: 'pv-1', staging_target_path });
      const calls = scenario.driver
        .calls()
        .map(({ verb, args }) => [verb, ...args.filter((arg) => !arg.startsWith('{'))]);
      expect(calls).toEqual([
        ['waitforattach', '/dev/vdb'],
        ['mountdevice', staging_target_path, '/dev/vdb1'],
        // Not supported: asked once.
        ['mount', first],
        ['unmount', first],
        ['unmountdevice', staging_target_path],
      ]);
      expect(existsSync(staging_target_path)).toBe(false);
    });

    it('needs a staging path to publish', async () => {
      const scenario = await start(attaching);
      const publish = scenario.client.node('NodePublishVolume', {
        ...volume,
        target_path: scenario.target(),
      });
      expect(await failureOf(publish)).toMatch(/^FAILED_PRECONDITION: staging_target_path is required: /);
    });

    it('repairs a stage that was lost when only publish is repeated', async () => {
      const scenario = await start(attaching);
      const request = {
        ...volume,
        staging_target_path: scenario.staging(),
        target_path: scenario.target(),
        publish_context: { device: '/dev/vdb' },
      };
      await scenario.client.node('NodePublishVolume', request);
      expect(scenario.driver.verbs()).toEqual(['waitforattach', 'mountdevice', 'mount']);
      expect(isMounted(request.target_path)).toBe(true);
    });

    it('stages again when the staging path has lost its mount, and never binds the bare directory', async () => {
      const scenario = await start(attaching);
      const staging_target_path = scenario.staging();
      await scenario.client.node('NodeStageVolume', { ...volume, staging_target_path });
      execFileSync('umount', [staging_target_path]);
      const target_path = scenario.target();
      await scenario.client.node('NodePublishVolume', { ...volume, staging_target_path, target_path });
      expect(scenario.driver.verbs()).toEqual([
        'waitforattach',
        'mountdevice',
        'waitforattach',
        'mountdevice',
        'mount',
      ]);
      expect(isMounted(staging_target_path)).toBe(true);
    });

    it('says so when the driver has neither mount nor anything staged', async () => {
      const scenario = await start({});
      const staging_target_path = scenario.staging();
      await scenario.client.node('NodeStageVolume', { ...volume, staging_target_path });
      const target_path = scenario.target();
      const publish = scenario.client.node('NodePublishVolume', {
        ...volume,
        staging_target_path,
        target_path,
      });
      expect(await failureOf(publish)).toMatch(
        /^INTERNAL: driver example\.com\/scripted does not support mount .*nothing is staged/,
      );
      expect(existsSync(target_path)).toBe(false);
    });

    it('lets mount do it all for a driver that stages nothing', async () => {
      const scenario = await start({ mount: mountsTmpfs, unmount: unmounts });
      const request = { ...volume, staging_target_path: scenario.staging() };
      await scenario.client.node('NodeStageVolume', request);
      await scenario.client.node('NodePublishVolume', { ...request, target_path: scenario.target() });
      expect(scenario.driver.verbs()).toEqual(['waitforattach', 'mountdevice', 'mount']);
    });

    it('masks mount flags that carry a value', async () => {
      const scenario = await start({
        ...attaching,
        mountdevice: answer('Not supported'),
        waitforattach: answer('Success', { device: '/dev/null' }),
      });
      const volume_capability = {
        mount: { mount_flags: ['noatime', 'password=hunter2'] },
        access_mode: writer,
      };
      const stage = scenario.client.node('NodeStageVolume', {
        volume_id: 'v',
        staging_target_path: scenario.staging(),
        volume_capability,
      });
      expect(await failureOf(stage)).not.toContain('hunter2');
    });

    it('detaches when it cannot be told whether the attach succeeded', async () => {
      const scenario = await start(
        { ...attaching, attach: { prints: success, exit: 1 } },
        { attachOn: 'node' },
      );
      const request = { ...volume, staging_target_path: scenario.staging() };
      expect(await failureOf(scenario.client.node('NodeStageVolume', request))).toContain(
        'though its answer says Success',
      );
      expect(scenario.driver.verbs()).toEqual(['attach', 'detach']);
      scenario.driver.script('attach', { prints: answer('Failure', { message: 'no such disk' }), exit: 1 });
      scenario.driver.forget();
      expect(await failureOf(scenario.client.node('NodeStageVolume', request))).toContain('no such disk');
      expect(scenario.driver.verbs()).toEqual(['attach']);
    });

    it('ends a read-only bind mount that a crash left writable', async () => {
      const scenario = await start(attaching);
      const staging_target_path = scenario.staging();
      const target_path = scenario.target();
      const request = { ...volume, staging_target_path, target_path, readonly: true };
      await scenario.client.node('NodeStageVolume', { ...volume, staging_target_path });
      // As between the two commands of the bind mount.
      mkdirSync(target_path);
      execFileSync('mount', ['--bind', staging_target_path, target_path]);
      await scenario.client.node('NodePublishVolume', request);
      expect(() => writeFileSync(join(target_path, 'file'), 'x')).toThrow(/EROFS/);
    });

    it('stages read-only for a reader', async () => {
      const scenario = await start(attaching);
      const staging_target_path = scenario.staging();
      const volume_capability = { mount: {}, access_mode: { mode: 'MULTI_NODE_READER_ONLY' as const } };
      await scenario.client.node('NodeStageVolume', {
        volume_id: 'v',
        staging_target_path,
        volume_capability,
      });
      expect(optionsOf(scenario.driver.calls()[0]?.args)['kubernetes.io/readwrite']).toBe('ro');
    });

    it('attaches and detaches on the node with --attach-on node', async () => {
      const scenario = await start(attaching, { attachOn: 'node' });
      const staging_target_path = scenario.staging();
      await scenario.client.node('NodeStageVolume', { ...volume, staging_target_path });
      await scenario.client.node('NodeUnstageVolume', { volume_id: 'pv-1', staging_target_path });
      const calls = scenario.driver
        .calls()
        .map(({ verb, args }) => [verb, ...args.filter((arg) => !arg.startsWith('{'))]);
      expect(calls).toEqual([
        ['attach', 'node-1'],
        ['waitforattach', '/dev/vdb'],
        ['mountdevice', staging_target_path, '/dev/vdb1'],
        ['unmountdevice', staging_target_path],
        ['detach', 'pv-1', 'node-1'],
      ]);
    });

    it('detaches again when the rest of the stage fails for good, but not a volume in use', async () => {
      const scenario = await start(
        { ...attaching, mountdevice: { prints: answer('Failure', { message: 'bad disk' }), exit: 1 } },
        { attachOn: 'node' },
      );
      const request = { ...volume, staging_target_path: scenario.staging() };
      expect(await failureOf(scenario.client.node('NodeStageVolume', request))).toContain(
        'mountdevice command failed, status: Failure, reason: bad disk',
      );
      expect(scenario.driver.verbs()).toEqual(['attach', 'waitforattach', 'mountdevice', 'detach']);

      scenario.driver.script('mountdevice', mountsTmpfs);
      await scenario.client.node('NodeStageVolume', request);
      scenario.driver.script('waitforattach', { prints: answer('Failure', { message: 'slow' }), exit: 1 });
      // Without its state flexcsi asks again; the failure must not detach what is mounted.
      await scenario.restart({ attachOn: 'node', stateDir: join(scenario.plugin.directory, 'lost-state') });
      expect(await failureOf(scenario.client.node('NodeStageVolume', request))).toContain('reason: slow');
      expect(scenario.driver.verbs()).not.toContain('detach');
      expect(isMounted(request.staging_target_path)).toBe(true);
    });

    it('refuses another use of the same staging path: ALREADY_EXISTS', async () => {
      const scenario = await start(attaching);
      const staging_target_path = scenario.staging();
      await scenario.client.node('NodeStageVolume', { ...volume, staging_target_path });
      const other = {
        volume_id: 'pv-1',
        staging_target_path,
        volume_capability: { block: {}, access_mode: writer },
      };
      expect(await failureOf(scenario.client.node('NodeStageVolume', other))).toMatch(
        /^ALREADY_EXISTS: .* with access type mount$/,
      );
    });

    it('unstages without a record, and what is not there', async () => {
      const scenario = await start(attaching);
      const staging_target_path = scenario.staging();
      await scenario.client.node('NodeStageVolume', { ...volume, staging_target_path });
      await scenario.restart({ stateDir: join(scenario.plugin.directory, 'lost-state') });
      await scenario.client.node('NodeUnstageVolume', { volume_id: 'pv-1', staging_target_path });
      await scenario.client.node('NodeUnstageVolume', { volume_id: 'pv-1', staging_target_path });
      expect(scenario.driver.verbs()).toEqual(['unmountdevice']);
    });
  });

  describe.skipIf(lacks('root', 'loop'))('raw block', () => {
    it.each([
      ['in /dev', false],
      ['that a driver has made elsewhere', true],
    ])('is the device %s, on the target file', async (_what, elsewhere) => {
      const scenario = await start({});
      const image = join(scenario.directory, 'image');
      execFileSync('truncate', ['-s', '1M', image]);
      const device = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
      try {
        const own = join(scenario.directory, 'node');
        if (elsewhere) execFileSync('cp', ['--archive', device, own]);
        scenario.driver.script('waitforattach', answer('Success', { device: elsewhere ? own : device }));
        const staging_target_path = scenario.staging();
        const target_path = join(scenario.plugin.directory, 'kubelet/device');
        const volume = {
          volume_id: 'v',
          staging_target_path,
          volume_capability: { block: {}, access_mode: writer },
        };
        await scenario.client.node('NodeStageVolume', { ...volume, publish_context: { device: '/dev/x' } });
        await scenario.client.node('NodePublishVolume', { ...volume, target_path });
        await scenario.client.node('NodePublishVolume', { ...volume, target_path });
        expect(statSync(target_path).rdev).toBe(statSync(device).rdev);
        const { usage } = await scenario.client.node('NodeGetVolumeStats', {
          volume_id: 'v',
          volume_path: target_path,
        });
        expect(usage).toEqual([{ unit: 'BYTES', total: '1048576', available: '0', used: '0' }]);
        expect(scenario.driver.verbs()).toEqual(['waitforattach']);
        await scenario.restart({ stateDir: join(scenario.plugin.directory, 'lost-state') });
        await scenario.client.node('NodeUnpublishVolume', { volume_id: 'v', target_path });
        expect(existsSync(target_path)).toBe(false);
        await scenario.client.node('NodeUnstageVolume', { volume_id: 'v', staging_target_path });
      } finally {
        execFileSync('losetup', ['--detach', device]);
      }
    });

    it('with two mounts on the target is not unpublished at the first try', async () => {
      const scenario = await start({ waitforattach: answer('Success', { device: '/dev/loop-control' }) });
      const image = join(scenario.directory, 'image');
      execFileSync('truncate', ['-s', '1M', image]);
      const device = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
      try {
        const staging_target_path = scenario.staging();
        const target_path = join(scenario.plugin.directory, 'kubelet/device');
        const volume = {
          volume_id: 'v',
          staging_target_path,
          volume_capability: { block: {}, access_mode: writer },
        };
        // A character device is none that a pod could have as raw block volume.
        await scenario.client.node('NodeStageVolume', volume);
        expect(
          await failureOf(scenario.client.node('NodePublishVolume', { ...volume, target_path })),
        ).toMatch(
          /^FAILED_PRECONDITION: volume v cannot be a raw block volume: .*"\/dev\/loop-control".* is no block device$/,
        );
        await scenario.client.node('NodeUnstageVolume', { volume_id: 'v', staging_target_path });

        scenario.driver.script('waitforattach', answer('Success', { device }));
        await scenario.client.node('NodeStageVolume', { ...volume, staging_target_path: scenario.staging() });
        await scenario.client.node('NodePublishVolume', { ...volume, target_path });
        execFileSync('mount', ['--bind', device, target_path]);
        const unpublish = { volume_id: 'v', target_path };
        expect(await failureOf(scenario.client.node('NodeUnpublishVolume', unpublish))).toMatch(
          /^INTERNAL: after one unmount .* is still mounted/,
        );
        expect(isMounted(target_path)).toBe(true);
        await scenario.client.node('NodeUnpublishVolume', unpublish);
        expect(existsSync(target_path)).toBe(false);
      } finally {
        execFileSync('losetup', ['--detach', device]);
      }
    });

    it('is not detached when a repeated stage fails, with or without its record', async () => {
      const scenario = await start({ detach: success }, { attachOn: 'node' });
      const image = join(scenario.directory, 'image');
      execFileSync('truncate', ['-s', '1M', image]);
      const device = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
      try {
        for (const verb of ['attach', 'waitforattach'])
          scenario.driver.script(verb, answer('Success', { device }));
        const staging_target_path = scenario.staging();
        const target_path = join(scenario.plugin.directory, 'kubelet/device');
        const volume = {
          volume_id: 'v',
          staging_target_path,
          volume_capability: { block: {}, access_mode: writer },
        };
        await scenario.client.node('NodeStageVolume', volume);
        await scenario.client.node('NodePublishVolume', { ...volume, target_path });
        scenario.driver.script('waitforattach', { prints: answer('Failure', { message: 'slow' }), exit: 1 });
        expect(await failureOf(scenario.client.node('NodeStageVolume', volume))).toContain('reason: slow');
        await scenario.restart({ attachOn: 'node', stateDir: join(scenario.plugin.directory, 'lost-state') });
        expect(await failureOf(scenario.client.node('NodeStageVolume', volume))).toContain('reason: slow');
        expect(scenario.driver.verbs()).not.toContain('detach');
        await scenario.client.node('NodeUnpublishVolume', { volume_id: 'v', target_path });
      } finally {
        execFileSync('losetup', ['--detach', device]);
      }
    });

    it('needs a driver that attaches', async () => {
      const scenario = await start(plain);
      const publish = scenario.client.node('NodePublishVolume', {
        volume_id: 'v',
        target_path: scenario.target(),
        volume_capability: { block: {}, access_mode: writer },
      });
      expect(await failureOf(publish)).toMatch(
        /^FAILED_PRECONDITION: raw block volumes need a driver that attaches/,
      );
    });
  });
});
