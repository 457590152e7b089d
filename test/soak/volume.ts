/** A volume's life, again and again: from its creation by way of pods, expansion and snapshots to its deletion. */
import { mkdirSync, rmdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Send } from './calls.ts';
import { NODE, stagingPath, targetPath } from './places.ts';
import { block, MIB, mounted, SECRET, type Setting } from './setting.ts';

/** How likely it is that a pod goes away when a call for it has failed. */
const GIVES_UP = 0.1;

class PodGone extends Error {}

export class VolumeLife {
  readonly #setting: Setting;
  readonly #label: string;
  readonly #kind: 'mount' | 'block';
  #count = 0;

  constructor(setting: Setting, label: string, kind: 'mount' | 'block') {
    this.#setting = setting;
    this.#label = label;
    this.#kind = kind;
  }

  /** Ends once the setting says so, with everything taken down. */
  async run(): Promise<void> {
    const { random, isEnding } = this.#setting;
    await sleep(random.whole(0, 2_000));
    while (!isEnding()) {
      await this.#live(`${this.#label}-${this.#count++}`);
      await sleep(random.whole(0, 500));
    }
  }

  async #live(name: string): Promise<void> {
    const { random, isEnding } = this.#setting;
    await this.#create(name);
    for (let pods = random.whole(1, 2); pods > 0 && !isEnding(); pods--)
      await this.#use(name, `${name}-${pods}`);
    if (random.chance(0.3) && !isEnding()) await this.#copy(name);
    await this.#delete(name);
  }

  async #create(name: string, snapshot?: string): Promise<void> {
    const { client, calls } = this.#setting;
    const source =
      snapshot === undefined ? {} : { volume_content_source: { snapshot: { snapshot_id: snapshot } } };
    await calls.until(`CreateVolume ${name}`, (options) =>
      client.controller(
        'CreateVolume',
        {
          name,
          capacity_range: { required_bytes: MIB },
          volume_capabilities: [this.#capability()],
          parameters: { kind: this.#kind },
          ...source,
        },
        options,
      ),
    );
  }

  async #delete(name: string): Promise<void> {
    const { client, calls } = this.#setting;
    const request = { volume_id: name };
    await calls.until(`DeleteVolume ${name}`, (options) =>
      client.controller('DeleteVolume', request, options),
    );
  }

  /** Through a snapshot to another volume, which is deleted with it. */
  async #copy(name: string): Promise<void> {
    const { client, calls } = this.#setting;
    const snapshot = `${name}-s`;
    await calls.until(`CreateSnapshot ${snapshot}`, (options) =>
      client.controller('CreateSnapshot', { name: snapshot, source_volume_id: name }, options),
    );
    await this.#create(`${name}-c`, snapshot);
    await this.#delete(`${name}-c`);
    await calls.until(`DeleteSnapshot ${snapshot}`, (options) =>
      client.controller('DeleteSnapshot', { snapshot_id: snapshot }, options),
    );
  }

  async #use(name: string, pod: string): Promise<void> {
    const { random, places } = this.#setting;
    const targets = Array.from({ length: random.whole(1, 3) }, (_, index) =>
      targetPath(places, `${pod}-${index}`, name),
    );
    try {
      await this.#bringUp(name, targets);
    } catch (error) {
      if (!(error instanceof PodGone)) throw error;
    }
    await this.#takeDown(name, targets);
  }

  async #bringUp(name: string, targets: readonly string[]): Promise<void> {
    const { client, random, places, isEnding } = this.#setting;
    const volume_id = name;
    const volume_capability = this.#capability();
    const volume_context = { kind: this.#kind };
    const attached = await this.#wanted(`ControllerPublishVolume ${name}`, (options) =>
      client.controller(
        'ControllerPublishVolume',
        { volume_id, node_id: NODE, volume_capability, volume_context },
        options,
      ),
    );
    const { publish_context } = attached;
    const staging_target_path = stagingPath(places, name);
    mkdirSync(this.#kind === 'block' ? staging_target_path : dirname(staging_target_path), {
      recursive: true,
    });
    const staged = { volume_id, publish_context, staging_target_path, volume_capability, volume_context };
    await this.#wanted(`NodeStageVolume ${name}`, (options) =>
      client.node('NodeStageVolume', staged, options),
    );

    const group = this.#kind === 'mount' && random.chance(0.4) ? { volume_mount_group: '2000' } : {};
    const published = await Promise.allSettled(
      targets.map(async (target_path, index) => {
        mkdirSync(dirname(target_path), { recursive: true });
        const readonly = index > 0 && random.chance(0.4);
        const capability =
          this.#kind === 'mount' ? { ...mounted, mount: { ...mounted.mount, ...group } } : volume_capability;
        const request = {
          ...staged,
          volume_capability: capability,
          target_path,
          readonly,
          secrets: { token: SECRET },
        };
        await this.#wanted(`NodePublishVolume ${target_path}`, (options) =>
          client.node('NodePublishVolume', request, options),
        );
        await this.#stats(name, target_path);
      }),
    );
    // Only when all have ended: what is still repeated would come after the clean-up.
    for (const end of published) if (end.status === 'rejected') throw end.reason;
    if (random.chance(0.3)) await this.#expand(name, targets[0] ?? '');
    await sleep(isEnding() ? 0 : random.whole(0, 1_500));
    await Promise.all(targets.map((target) => this.#stats(name, target)));
  }

  async #expand(name: string, path: string): Promise<void> {
    const { client } = this.#setting;
    const range = { volume_id: name, capacity_range: { required_bytes: 2 * MIB } };
    await this.#wanted(`ControllerExpandVolume ${name}`, (options) =>
      client.controller('ControllerExpandVolume', range, options),
    );
    await this.#wanted(`NodeExpandVolume ${name}`, (options) =>
      client.node('NodeExpandVolume', { ...range, volume_path: path }, options),
    );
  }

  async #stats(volume_id: string, volume_path: string): Promise<void> {
    const { client, calls } = this.#setting;
    const what = `NodeGetVolumeStats ${volume_path}`;
    await calls.once(
      what,
      (options) => client.node('NodeGetVolumeStats', { volume_id, volume_path }, options),
      {
        driver: false,
      },
    );
  }

  async #takeDown(name: string, targets: readonly string[]): Promise<void> {
    const { client, calls, places } = this.#setting;
    await Promise.all(
      targets.map(async (target_path) => {
        await calls.until(`NodeUnpublishVolume ${target_path}`, (options) =>
          client.node('NodeUnpublishVolume', { volume_id: name, target_path }, options),
        );
        removeEmpty(dirname(target_path), `${places.kubelet}/pods`);
      }),
    );
    const staging_target_path = stagingPath(places, name);
    await calls.until(`NodeUnstageVolume ${name}`, (options) =>
      client.node('NodeUnstageVolume', { volume_id: name, staging_target_path }, options),
    );
    removeEmpty(dirname(staging_target_path), `${places.kubelet}/plugins/kubernetes.io/csi`);
    await calls.until(`ControllerUnpublishVolume ${name}`, (options) =>
      client.controller('ControllerUnpublishVolume', { volume_id: name, node_id: NODE }, options),
    );
  }

  /** A call for a pod, which may be deleted before it has succeeded. @throws {PodGone} then. */
  async #wanted<Answer>(what: string, send: Send<Answer>): Promise<Answer> {
    const { calls, random, isEnding } = this.#setting;
    const giveUp = (): boolean => isEnding() || random.chance(GIVES_UP);
    const answer = await calls.until(what, send, { giveUp });
    if (answer === undefined) throw new PodGone(what);
    return answer;
  }

  #capability() {
    return this.#kind === 'mount' ? mounted : block;
  }
}

/** What kubelet removes around a path that a plugin has given up: empty directories, up to `root`. */
export function removeEmpty(path: string, root: string): void {
  for (let place = path; place.startsWith(`${root}/`); place = dirname(place)) {
    try {
      rmdirSync(place);
    } catch {
      // Not empty: others are using it.
      return;
    }
  }
}
