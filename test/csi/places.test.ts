/** Symbolic links in the paths of a client: flexcsi works as root and must not be led out of kubelet's directory. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lacks } from '../support/requirements.ts';
import {
  attachFalse,
  failureOf,
  isMounted,
  mountCapability,
  mountsTmpfs,
  success,
  unmounts,
  useScenarios,
} from '../support/scenario.ts';

describe.skipIf(lacks('mounts'))('a path', () => {
  const start = useScenarios();
  const plain = { init: attachFalse, mount: mountsTmpfs, unmount: unmounts };
  const volume = { volume_id: 'pv-1', volume_capability: mountCapability };

  it("outside kubelet's directory is not mounted on", async () => {
    const scenario = await start(plain);
    const kubelet = join(scenario.plugin.directory, 'kubelet');
    const target_path = join(scenario.directory, 'target');
    expect(await failureOf(scenario.client.node('NodePublishVolume', { ...volume, target_path }))).toBe(
      `INVALID_ARGUMENT: target_path "${target_path}" is not below kubelet's directory ${kubelet} (--kubelet-dir)`,
    );
    expect(existsSync(target_path)).toBe(false);
    // The directory may have been another one when it was published.
    await scenario.client.node('NodeUnpublishVolume', { volume_id: 'pv-1', target_path });
    expect(scenario.driver.verbs()).toEqual([]);
  });

  it('whose links lead out of it is neither mounted on nor unmounted nor removed', async () => {
    const scenario = await start(plain);
    const kubelet = join(scenario.plugin.directory, 'kubelet');
    const outside = join(scenario.directory, 'outside');
    mkdirSync(join(outside, 'mount'), { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', 'none', join(outside, 'mount')]);
    try {
      writeFileSync(join(outside, 'mount/file'), 'mine');
      symlinkSync(outside, join(kubelet, 'link'));
      const target_path = join(kubelet, 'link/mount');
      const leads = `target_path "${target_path}" leads to ${join(outside, 'mount')}, `;
      expect(
        await failureOf(scenario.client.node('NodePublishVolume', { ...volume, target_path })),
      ).toContain(`INVALID_ARGUMENT: ${leads}`);
      expect(
        await failureOf(scenario.client.node('NodeUnpublishVolume', { volume_id: 'pv-1', target_path })),
      ).toContain(`FAILED_PRECONDITION: ${leads}`);
      // Also where the rest of the path is not there yet.
      const deep = join(kubelet, 'link/not/there/mount');
      expect(
        await failureOf(scenario.client.node('NodePublishVolume', { ...volume, target_path: deep })),
      ).toContain('INVALID_ARGUMENT: ');
      expect(readdirSync(outside)).toEqual(['mount']);
      expect(isMounted(join(outside, 'mount'))).toBe(true);
      expect(scenario.driver.verbs()).toEqual([]);
    } finally {
      execFileSync('umount', [join(outside, 'mount')]);
    }
  });

  it("at which another volume is mounted is not taken for this one's", async () => {
    const scenario = await start({
      ...plain,
      init: success,
      waitforattach: success,
      mountdevice: mountsTmpfs,
    });
    const [staging_target_path, target_path] = [scenario.staging(), scenario.target()];
    const paths = { ...volume, staging_target_path, target_path };
    await scenario.client.node('NodeStageVolume', paths);
    await scenario.client.node('NodePublishVolume', paths);
    const other = { ...paths, volume_id: 'pv-2' };
    expect(await failureOf(scenario.client.node('NodeStageVolume', other))).toBe(
      `ALREADY_EXISTS: volume pv-1 is at ${staging_target_path}, where volume pv-2 is asked for`,
    );
    const published = { ...other, staging_target_path: scenario.staging('pv-2') };
    expect(await failureOf(scenario.client.node('NodePublishVolume', published))).toBe(
      `ALREADY_EXISTS: volume pv-1 is at ${target_path}, where volume pv-2 is asked for`,
    );
  });

  it('of a staging directory is held to the same', async () => {
    const scenario = await start({ waitforattach: success, detach: success });
    const staging_target_path = join(scenario.directory, 'staging');
    mkdirSync(staging_target_path);
    expect(
      await failureOf(scenario.client.node('NodeStageVolume', { ...volume, staging_target_path })),
    ).toMatch(/^INVALID_ARGUMENT: staging_target_path .* is not below kubelet's directory/);
    const link = join(scenario.plugin.directory, 'kubelet/link');
    symlinkSync(scenario.directory, link);
    const linked = { volume_id: 'pv-1', staging_target_path: join(link, 'staging') };
    expect(await failureOf(scenario.client.node('NodeUnstageVolume', linked))).toMatch(
      /^FAILED_PRECONDITION: /,
    );
    expect(existsSync(staging_target_path)).toBe(true);
  });

  it("is fine when kubelet's directory is itself a link, to another disk for example", async () => {
    const scenario = await start(plain);
    const real = join(scenario.plugin.directory, 'kubelet');
    const kubeletDir = join(scenario.directory, 'kubelet');
    symlinkSync(real, kubeletDir);
    await scenario.restart({ kubeletDir });
    for (const directory of [kubeletDir, real]) {
      const target_path = join(directory, 'target');
      await scenario.client.node('NodePublishVolume', { ...volume, target_path });
      expect(isMounted(join(real, 'target'))).toBe(true);
      await scenario.client.node('NodeUnpublishVolume', { volume_id: 'pv-1', target_path });
      expect(existsSync(join(real, 'target'))).toBe(false);
    }
  });
});
