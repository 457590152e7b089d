/** Kubelet over the drivers of a plugin directory, for tests. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, vi } from 'vitest';
import { serve } from '../../src/cli/serve.ts';
import type { DriverStatus, Serving } from '../../src/cli/serving.ts';
import type { ServeOptions } from '../../src/cli/settings.ts';
import { silentLogger } from '../../src/log.ts';
import { CsiClient } from '../support/csi-client.ts';
import { usualOptions } from '../support/plugin.ts';
import { PluginWatcher } from '../support/plugin-watcher.ts';
import {
  attachFalse,
  isMounted,
  mountCapability,
  mountsBelow,
  mountsTmpfs,
  success,
  unmounts,
} from '../support/scenario.ts';
import { answer, ScriptedDriver } from '../support/scripted-driver.ts';

export const soon = { timeout: 30_000 };
const notSupported = { prints: answer('Not supported'), exit: 1 };

/** A driver's init that fails. */
export const noLicence = { prints: answer('Failure', { message: 'no licence' }), exit: 1 };

export class DirectorySite {
  readonly directory = realpathSync(mkdtempSync(join(tmpdir(), 'flexcsi-directory-')));
  readonly drivers = join(this.directory, 'drivers');
  readonly kubelet = join(this.directory, 'kubelet');
  readonly watcher: PluginWatcher;
  serving: Serving | undefined;
  readonly #clients: CsiClient[] = [];

  constructor() {
    for (const path of [
      this.drivers,
      join(this.kubelet, 'plugins'),
      join(this.kubelet, 'plugins_registry'),
    ]) {
      mkdirSync(path, { recursive: true });
    }
    this.watcher = new PluginWatcher(join(this.kubelet, 'plugins_registry'));
  }

  async end(): Promise<void> {
    for (const client of this.#clients) client.close();
    await this.serving?.stop();
    await this.watcher.close();
    for (const mountPoint of mountsBelow(this.directory)) execFileSync('umount', [mountPoint]);
    rmSync(this.directory, { recursive: true });
  }

  async start(options: Partial<ServeOptions> = {}): Promise<Serving> {
    this.serving = await serve(
      {
        ...usualOptions,
        pluginDir: this.drivers,
        stateDir: join(this.directory, 'state'),
        kubeletDir: this.kubelet,
        ...options,
      },
      { log: silentLogger(), lookEveryMs: 100, goneMs: 500 },
    );
    return this.serving;
  }

  async restart(options: Partial<ServeOptions> = {}): Promise<void> {
    await this.serving?.stop();
    await this.start(options);
  }

  /** A driver that mounts a tmpfs, installed aside and renamed. */
  install(name: string, init = attachFalse): ScriptedDriver {
    const driver = ScriptedDriver.install(this.drivers, name);
    for (const [verb, what] of Object.entries({ init, mount: mountsTmpfs, unmount: unmounts })) {
      driver.script(verb, what);
    }
    return driver;
  }

  /** A driver that attaches, and mounts a tmpfs for the device. */
  installStaged(name: string): ScriptedDriver {
    const driver = this.install(name, answer('Success', { capabilities: { attach: true } }));
    driver.script('attach', answer('Success', { device: '/dev/shelf' }));
    driver.script('waitforattach', answer('Success', { device: '/dev/shelf' }));
    driver.script('mountdevice', mountsTmpfs);
    driver.script('unmountdevice', unmounts);
    driver.script('detach', success);
    driver.script('mount', notSupported);
    driver.script('unmount', notSupported);
    return driver;
  }

  /** Attach and stage, as Kubernetes does before the first pod. */
  async stage(client: CsiClient, volume: string): Promise<string> {
    const staging_target_path = join(this.kubelet, 'plugins/kubernetes.io/csi', volume, 'globalmount');
    mkdirSync(staging_target_path, { recursive: true });
    const request = { volume_id: volume, volume_capability: mountCapability };
    const { publish_context } = await client.controller('ControllerPublishVolume', {
      ...request,
      node_id: 'node-1',
    });
    await client.node('NodeStageVolume', { ...request, publish_context, staging_target_path });
    expect(isMounted(staging_target_path)).toBe(true);
    return staging_target_path;
  }

  async registered(...names: string[]): Promise<void> {
    await vi.waitFor(() => expect([...this.watcher.registered.keys()].sort()).toEqual(names.sort()), soon);
  }

  /** A client of the socket that kubelet was told of. */
  clientOf(name: string): CsiClient {
    const client = new CsiClient(this.watcher.registered.get(name)?.endpoint ?? '');
    this.#clients.push(client);
    return client;
  }

  target(volume: string): string {
    const path = join(this.kubelet, 'pods/pod-1/volumes/kubernetes.io~csi', volume, 'mount');
    mkdirSync(dirname(path), { recursive: true });
    return path;
  }

  async publish(client: CsiClient, volume: string, staging_target_path = ''): Promise<string> {
    const target_path = this.target(volume);
    const request = { volume_id: volume, target_path, staging_target_path };
    await client.node('NodePublishVolume', { ...request, volume_capability: mountCapability });
    expect(isMounted(target_path)).toBe(true);
    return target_path;
  }

  async unpublish(client: CsiClient, volume: string): Promise<void> {
    await client.node('NodeUnpublishVolume', { volume_id: volume, target_path: this.target(volume) });
    expect(existsSync(this.target(volume))).toBe(false);
  }

  statusOf(driver: string): DriverStatus | undefined {
    return this.serving?.drivers().find((one) => one.driver === driver);
  }
}

/** A new site for each test, as `site()`. */
export function useDirectorySite(): () => DirectorySite {
  let site: DirectorySite;
  beforeEach(() => {
    site = new DirectorySite();
  });
  afterEach(() => site.end());
  return () => site;
}
