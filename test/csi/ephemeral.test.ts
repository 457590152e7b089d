import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
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

/** Kubelet's volume id of an ephemeral volume: `csi-` and a SHA-256. */
const idOf = (pod: string): string => `csi-${Buffer.from(pod).toString('hex').padEnd(64, '0')}`;

describe.skipIf(lacks('mounts'))('an ephemeral volume', () => {
  const start = useScenarios();
  type Started = Awaited<ReturnType<typeof start>>;

  const publish = (scenario: Started, pod: string, options: Record<string, string> = {}, name = 'scratch') =>
    scenario.client.node('NodePublishVolume', {
      volume_id: idOf(pod),
      target_path: scenario.target(pod, name),
      volume_capability: mountCapability,
      volume_context: {
        ...options,
        'csi.storage.k8s.io/ephemeral': 'true',
        'csi.storage.k8s.io/pod.name': pod,
      },
    });
  const unpublish = (scenario: Started, pod: string) =>
    scenario.client.node('NodeUnpublishVolume', {
      volume_id: idOf(pod),
      target_path: scenario.target(pod, 'scratch'),
    });

  it('of a driver without attach is a mount under its name in the pod', async () => {
    const scenario = await start({ init: attachFalse, mount: mountsTmpfs, unmount: unmounts });
    await publish(scenario, 'pod-1');
    expect(optionsOf(scenario.driver.calls()[0]?.args)).toMatchObject({
      'kubernetes.io/pvOrVolumeName': 'scratch',
      'kubernetes.io/pod.name': 'pod-1',
    });
    await unpublish(scenario, 'pod-1');
    expect(scenario.driver.verbs()).toEqual(['mount', 'unmount']);
  });

  it("of a driver without attach does not wait for another pod's volume of the same name", async () => {
    const scenario = await start({
      init: attachFalse,
      mount: { sleepMs: 5_000, ...mountsTmpfs },
      unmount: unmounts,
    });
    let slowIsDone = false;
    const slow = publish(scenario, 'pod-1').then(() => {
      slowIsDone = true;
    });
    await vi.waitFor(() => expect(isMounted(scenario.target('pod-1', 'scratch'))).toBe(true));
    scenario.driver.script('mount', mountsTmpfs);
    await publish(scenario, 'pod-2');
    expect(slowIsDone).toBe(false);
    await unpublish(scenario, 'pod-2');
    await slow;
  });

  describe('of a driver that attaches', () => {
    const attaching = {
      attach: answer('Success', { device: '/dev/vdb' }),
      waitforattach: answer('Success', { device: '/dev/vdb' }),
      mountdevice: mountsTmpfs,
      unmountdevice: unmounts,
      detach: success,
    };
    const life = ['attach', 'waitforattach', 'mountdevice', 'mount', 'unmount', 'unmountdevice', 'detach'];

    it('is attached, staged and mounted by publish, and all of it undone by unpublish', async () => {
      const scenario = await start(attaching);
      await publish(scenario, 'pod-1', { size: '1Gi' });
      const calls = scenario.driver.calls();
      expect(optionsOf(calls[0]?.args)).toMatchObject({
        'kubernetes.io/pvOrVolumeName': 'scratch',
        size: '1Gi',
      });
      expect(calls[0]?.args[1]).toBe('node-1');
      const shared = calls[2]?.args[0] ?? '';
      expect(shared).toBe(
        join(scenario.plugin.directory, 'kubelet/plugins/scripted.example.com/ephemeral/scratch'),
      );
      expect(isMounted(shared)).toBe(true);
      await unpublish(scenario, 'pod-1');
      expect(scenario.driver.verbs()).toEqual(life);
      expect(scenario.driver.calls().at(-1)?.args).toEqual(['scratch', 'node-1']);
      expect(existsSync(shared)).toBe(false);
    });

    it('is shared by pods that use the same name, until the last one goes', async () => {
      const scenario = await start(attaching);
      await publish(scenario, 'pod-1');
      await publish(scenario, 'pod-2');
      writeFileSync(join(scenario.target('pod-1', 'scratch'), 'file'), 'data');
      expect(readFileSync(join(scenario.target('pod-2', 'scratch'), 'file'), 'utf8')).toBe('data');
      await unpublish(scenario, 'pod-1');
      await scenario.restart();
      expect(isMounted(scenario.target('pod-2', 'scratch'))).toBe(true);
      await unpublish(scenario, 'pod-2');
      expect(scenario.driver.verbs()).toEqual(['unmount', 'unmountdevice', 'detach']);
    });

    it('with other options for the same name is FAILED_PRECONDITION, naming the holder', async () => {
      const scenario = await start(attaching);
      await publish(scenario, 'pod-1', { size: '1Gi' });
      const failure = await failureOf(publish(scenario, 'pod-2', { size: '2Gi' }));
      expect(failure).toMatch(
        /^FAILED_PRECONDITION: in-line volume scratch is in use on this node with another value of option "size" by .*pod-1/,
      );
      await unpublish(scenario, 'pod-2');
      expect(isMounted(scenario.target('pod-1', 'scratch'))).toBe(true);
      await unpublish(scenario, 'pod-1');
      await publish(scenario, 'pod-2', { size: '2Gi' });
    });

    it('is not held when its mount fails: the device is detached again', async () => {
      const scenario = await start({
        ...attaching,
        mount: { prints: answer('Failure', { message: 'no' }), exit: 1 },
      });
      expect(await failureOf(publish(scenario, 'pod-1'))).toContain('reason: no');
      expect(scenario.driver.verbs()).toEqual([
        'attach',
        'waitforattach',
        'mountdevice',
        'mount',
        'unmountdevice',
        'detach',
      ]);
    });

    it('is detached once when its stage fails', async () => {
      const scenario = await start({
        ...attaching,
        mountdevice: { prints: answer('Failure', { message: 'no' }), exit: 1 },
      });
      expect(await failureOf(publish(scenario, 'pod-1'))).toContain('reason: no');
      expect(scenario.driver.verbs()).toEqual(['attach', 'waitforattach', 'mountdevice', 'detach']);
    });

    it("stays attached for the pods that use it when another pod's publish fails", async () => {
      // Nothing is mounted in the shared directory: the driver's mount does it all.
      const { mountdevice: _none, unmountdevice: _no, ...rest } = attaching;
      const scenario = await start({
        ...rest,
        waitforattach: answer('Success'),
        mount: mountsTmpfs,
        unmount: unmounts,
      });
      await publish(scenario, 'pod-1');
      scenario.driver.script('waitforattach', { prints: answer('Failure', { message: 'slow' }), exit: 1 });
      expect(await failureOf(publish(scenario, 'pod-2'))).toContain('reason: slow');
      expect(scenario.driver.verbs()).not.toContain('detach');
      await unpublish(scenario, 'pod-2');
      expect(scenario.driver.verbs()).not.toContain('detach');
      await unpublish(scenario, 'pod-1');
      expect(scenario.driver.verbs().at(-1)).toBe('detach');
    });

    it('is left to unpublish when its mount ran out of time', async () => {
      const scenario = await start({ ...attaching, mount: { sleepMs: 60_000 } }, { driverTimeout: 500 });
      expect(await failureOf(publish(scenario, 'pod-1'))).toMatch(/^DEADLINE_EXCEEDED: /);
      expect(scenario.driver.verbs()).not.toContain('detach');
      await unpublish(scenario, 'pod-1');
      expect(scenario.driver.verbs().slice(-2)).toEqual(['unmountdevice', 'detach']);
    });

    it('is taken down though all state is lost, but not under another pod', async () => {
      const scenario = await start(attaching);
      await publish(scenario, 'pod-1');
      await publish(scenario, 'pod-2');
      await scenario.restart({ stateDir: join(scenario.plugin.directory, 'lost-state') });
      await unpublish(scenario, 'pod-1');
      expect(scenario.driver.verbs()).toEqual(['unmount']);
      expect(isMounted(scenario.target('pod-2', 'scratch'))).toBe(true);
      await unpublish(scenario, 'pod-2');
      expect(scenario.driver.verbs()).toEqual(['unmount', 'unmountdevice', 'detach']);
    });

    it('stays for a pod from before the loss, though the one after it is on record', async () => {
      const scenario = await start(attaching);
      await publish(scenario, 'pod-1');
      await scenario.restart({ stateDir: join(scenario.plugin.directory, 'lost-state') });
      await publish(scenario, 'pod-2');
      await unpublish(scenario, 'pod-2');
      expect(scenario.driver.verbs()).not.toContain('detach');
      expect(isMounted(scenario.target('pod-1', 'scratch'))).toBe(true);
      await unpublish(scenario, 'pod-1');
      expect(scenario.driver.verbs().at(-1)).toBe('detach');
    });

    it('is detached though its directory is part of a file system that is mounted elsewhere as a whole', async () => {
      const scenario = await start({
        ...attaching,
        mountdevice: { shell: 'mount --bind "$(dirname "$0")/share/part" "$2"', prints: success },
      });
      const share = join(dirname(scenario.driver.file), 'share');
      mkdirSync(share);
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', share]);
      try {
        mkdirSync(join(share, 'part'));
        await publish(scenario, 'pod-1');
        await unpublish(scenario, 'pod-1');
        expect(scenario.driver.verbs()).toEqual(life);
      } finally {
        execFileSync('umount', ['-l', share]);
      }
    });

    it('stays attached when a repeat of its own publish fails', async () => {
      // A driver that only writes files: nothing is mounted, so that the repeat calls it again.
      const scenario = await start({ ...attaching, mount: success, unmount: success });
      await publish(scenario, 'pod-1');
      scenario.driver.script('mount', { prints: answer('Failure', { message: 'no' }), exit: 1 });
      expect(await failureOf(publish(scenario, 'pod-1'))).toContain('reason: no');
      expect(scenario.driver.verbs()).not.toContain('detach');
    });

    it('of two pods at once attaches one device', async () => {
      const scenario = await start(attaching);
      await Promise.all(['pod-1', 'pod-2', 'pod-3'].map((pod) => publish(scenario, pod)));
      expect(scenario.driver.verbs().filter((verb) => verb === 'attach')).toHaveLength(1);
    });
  });

  it.each([
    ['/kubelet/elsewhere', mountCapability, 'must end in /kubernetes.io~csi/<volume name>/mount'],
    [
      '/p/kubernetes.io~csi/Bad_Name/mount',
      mountCapability,
      'must end in /kubernetes.io~csi/<volume name>/mount',
    ],
    ['/p/kubernetes.io~csi/x/mount', { block: {}, access_mode: writer }, 'cannot be a raw block volume'],
  ])('at %s is refused', async (target_path, volume_capability, message) => {
    const scenario = await start({ init: attachFalse });
    const call = scenario.client.node('NodePublishVolume', {
      volume_id: idOf('pod'),
      target_path,
      volume_capability,
      volume_context: { 'csi.storage.k8s.io/ephemeral': 'true' },
    });
    expect(await failureOf(call)).toMatch(/^INVALID_ARGUMENT: /);
    expect(await failureOf(call)).toContain(message);
  });
});
