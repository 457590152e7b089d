/** One volume's whole life through CSI, checked at each step. */
import { randomUUID } from 'node:crypto';
import { readFile, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parseMountInfo } from '../../mount/mount-table.ts';
import type { DemoClient } from './client.ts';
import type { Recorder } from './recorder.ts';
import type { Story } from './story.ts';

export interface LifeSettings {
  readonly volumeId: string;
  readonly nodeId: string;
  readonly fsType: string;
  readonly options: Readonly<Record<string, string>>;
  readonly secrets: Readonly<Record<string, string>>;
  readonly stagingPath: string;
  readonly targetPath: string;
  readonly oldBytes: number;
  readonly newBytes: number;
  /** Whether the driver may be one whose volumes do not keep their data. */
  readonly mayStartEmpty: boolean;
  /** Whether a mounted file system can grow here; else it grows between two lives. */
  readonly growsMounted: boolean;
}

interface Can {
  readonly attach: boolean;
  readonly stage: boolean;
  readonly stats: boolean;
  readonly expand: boolean;
  readonly expandOnNode: boolean;
}

const CLEAN_UP_ATTEMPTS = 10;
const CLEAN_UP_PAUSE_MS = 1_000;

/** Plays kubelet and the sidecars. */
export class Life {
  readonly #client: DemoClient;
  readonly #recorder: Recorder;
  readonly #story: Story;
  readonly #settings: LifeSettings;
  #can: Can = { attach: false, stage: false, stats: false, expand: false, expandOnNode: false };
  #publishContext: unknown = {};

  constructor(client: DemoClient, recorder: Recorder, story: Story, settings: LifeSettings) {
    this.#client = client;
    this.#recorder = recorder;
    this.#story = story;
    this.#settings = settings;
  }

  /** Attach to detach, twice: what the first pod writes the second one reads. Throws the first CSI error. */
  async live(): Promise<void> {
    const text = `written by the first pod, ${new Date().toISOString()}\n`;
    await this.#introduce();
    const grow = this.#can.expand;
    await this.#bringUp();
    const file = join(this.#settings.targetPath, `flexcsi-demo-${randomUUID()}`);
    // Its own name, and never over a file that is there: with --driver this is somebody's volume.
    await writeFile(file, text, { flag: 'wx' });
    this.#story.check('the pod', 'writes a file and reads it back', (await readFile(file, 'utf8')) === text);
    const before = await this.#stats();
    if (grow && this.#settings.growsMounted) await this.#expand(before);
    await this.#takeDown();
    if (grow && !this.#settings.growsMounted) {
      this.#story.say(
        '    (the kernel lets nobody here grow a mounted ext4: it grows at the next mount instead)',
      );
      await this.#growVolume();
    }
    await this.#bringUp();
    await this.#readAgain(file, text);
    if (grow && !this.#settings.growsMounted) this.#checkGrown(before, await this.#stats());
    await this.#takeDown();
  }

  async #readAgain(file: string, text: string): Promise<void> {
    const read = await readFile(file, 'utf8').catch(() => undefined);
    if (read === undefined && this.#settings.mayStartEmpty) {
      this.#story.say(
        '    (a second pod does not find the file: this volume starts empty at every mount, right for a tmpfs and the like)',
      );
      return;
    }
    this.#story.check('a second pod', 'reads the file: the data is there', read === text);
    if (read !== undefined) await unlink(file);
  }

  /**
   * Takes down whatever a failure or an interruption left, as kubelet would: again and again, since a call may
   * still run. Answers whether it succeeded.
   */
  async cleanUp(): Promise<boolean> {
    for (let attempt = 0; attempt < CLEAN_UP_ATTEMPTS; attempt += 1) {
      try {
        await this.#takeDown();
        return true;
      } catch {
        await setTimeout(CLEAN_UP_PAUSE_MS);
      }
    }
    return false;
  }

  async #introduce(): Promise<void> {
    await this.#call('Identity', 'Probe', {}, () => 'ready');
    const { capabilities: controller } = await this.#quietly('Controller', 'ControllerGetCapabilities');
    const { capabilities: node } = await this.#quietly('Node', 'NodeGetCapabilities');
    const has = (list: unknown, type: string): boolean => JSON.stringify(list).includes(`"${type}"`);
    this.#can = {
      attach: has(controller, 'PUBLISH_UNPUBLISH_VOLUME'),
      stage: has(node, 'STAGE_UNSTAGE_VOLUME'),
      stats: has(node, 'GET_VOLUME_STATS'),
      expand: has(controller, 'EXPAND_VOLUME') && this.#settings.newBytes > 0,
      expandOnNode: has(node, 'EXPAND_VOLUME'),
    };
  }

  async #bringUp(): Promise<void> {
    const { volumeId, nodeId, options, stagingPath, targetPath, secrets } = this.#settings;
    const volume = { volume_id: volumeId, volume_capability: this.#capability(), volume_context: options };
    if (this.#can.attach) {
      const answer = await this.#call(
        'Controller',
        'ControllerPublishVolume',
        { ...volume, node_id: nodeId },
        ({ publish_context }) => Object.values(publish_context as object).join(' ') || 'attached',
      );
      this.#publishContext = answer.publish_context;
    }
    const publish_context = this.#publishContext;
    const staging_target_path = stagingPath;
    if (this.#can.stage)
      await this.#call('Node', 'NodeStageVolume', { ...volume, publish_context, staging_target_path });
    const staged = this.#can.stage ? { staging_target_path } : {};
    await this.#call('Node', 'NodePublishVolume', {
      ...volume,
      ...staged,
      publish_context,
      secrets,
      target_path: targetPath,
    });
  }

  async #takeDown(): Promise<void> {
    const { volumeId: volume_id, nodeId: node_id, stagingPath, targetPath } = this.#settings;
    await this.#call('Node', 'NodeUnpublishVolume', { volume_id, target_path: targetPath });
    if (this.#can.stage)
      await this.#call('Node', 'NodeUnstageVolume', { volume_id, staging_target_path: stagingPath });
    if (this.#can.attach) await this.#call('Controller', 'ControllerUnpublishVolume', { volume_id, node_id });
    const gone = await Promise.all([targetPath, stagingPath].map(async (path) => !(await isMounted(path))));
    this.#story.check('the mount table', 'shows nothing of the volume any more', gone.every(Boolean));
    this.#story.check('the target path', 'is removed', !(await exists(targetPath)));
  }

  async #stats(): Promise<number> {
    if (!this.#can.stats) return 0;
    const { volumeId: volume_id, targetPath: volume_path } = this.#settings;
    const answer = await this.#call('Node', 'NodeGetVolumeStats', { volume_id, volume_path }, ({ usage }) => {
      const { total, used } = bytesOf(usage);
      return `${mebibytes(used)} of ${mebibytes(total)} used`;
    });
    return bytesOf(answer.usage).total;
  }

  async #expand(before: number): Promise<void> {
    const onNode = await this.#growVolume();
    if (onNode && this.#can.expandOnNode) {
      const { volumeId: volume_id, targetPath: volume_path, stagingPath, newBytes } = this.#settings;
      await this.#call('Node', 'NodeExpandVolume', {
        volume_id,
        volume_path,
        volume_capability: this.#capability(),
        capacity_range: { required_bytes: newBytes },
        ...(this.#can.stage ? { staging_target_path: stagingPath } : {}),
      });
      this.#checkGrown(before, await this.#stats());
    }
  }

  async #growVolume(): Promise<boolean> {
    const { volumeId: volume_id, newBytes } = this.#settings;
    const request = {
      volume_id,
      capacity_range: { required_bytes: newBytes },
      volume_capability: this.#capability(),
    };
    const answer = await this.#call('Controller', 'ControllerExpandVolume', request, ({ capacity_bytes }) =>
      mebibytes(Number(capacity_bytes)),
    );
    return answer.node_expansion_required === true;
  }

  #checkGrown(before: number, after: number): void {
    if (!this.#can.stats) return;
    this.#story.check(
      'the file system',
      `has grown from ${mebibytes(before)} to ${mebibytes(after)}`,
      after > before,
    );
  }

  #capability(): object {
    return { mount: { fs_type: this.#settings.fsType }, access_mode: { mode: 'SINGLE_NODE_WRITER' } };
  }

  async #call(
    service: 'Identity' | 'Controller' | 'Node',
    rpc: string,
    request: object,
    tell: (answer: Record<string, unknown>) => string = () => 'OK',
  ): Promise<Record<string, unknown>> {
    this.#recorder.take();
    const started = performance.now();
    try {
      const answer = await this.#client.call(service, rpc, request);
      this.#story.call(rpc, this.#recorder.take(), tell(answer), performance.now() - started);
      return answer;
    } catch (error) {
      this.#story.call(rpc, this.#recorder.take(), 'FAILED', performance.now() - started);
      throw error;
    }
  }

  #quietly(service: 'Controller' | 'Node', rpc: string): Promise<Record<string, unknown>> {
    return this.#client.call(service, rpc, {});
  }
}

function bytesOf(usage: unknown): { total: number; used: number } {
  const bytes = (usage as { unit: string; total: string; used: string }[]).find(
    ({ unit }) => unit === 'BYTES',
  );
  return { total: Number(bytes?.total ?? 0), used: Number(bytes?.used ?? 0) };
}

function mebibytes(bytes: number): string {
  return `${(bytes / 1024 ** 2).toFixed(bytes < 100 * 1024 ** 2 ? 1 : 0)} MiB`;
}

async function isMounted(path: string): Promise<boolean> {
  const entries = parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8'));
  return entries.some(({ mountPoint }) => mountPoint === path);
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
