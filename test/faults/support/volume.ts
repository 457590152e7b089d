/** A volume of a site, as a CSI client uses it: kubelet's paths, and the calls from attach to detach. */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { CsiClient } from '../../support/csi-client.ts';
import { answerOf, demand } from './answers.ts';

export const NODE = 'faults-node';
export const writer = { mode: 'SINGLE_NODE_WRITER' as const };
export const capability = { mount: { fs_type: 'ext4' }, access_mode: writer };
/** So long that only a call that hangs passes it. */
export const NO_HURRY = { deadlineMs: 10 * 60_000 };
const RETRY_MS = 180_000;
const MIB = 1024 * 1024;

export interface VolumeSettings {
  readonly client: () => CsiClient;
  readonly kubelet: string;
  /** Where the driver keeps what is in its volumes. */
  readonly shelf: string;
  /** Whether its driver attaches and stages. */
  readonly attaches: boolean;
  /** Whether it is on a device that the driver makes: its files are written when it is published first. */
  readonly onDevice: boolean;
}

export class Volume {
  readonly id: string;
  readonly staging: string;
  target: string;
  /** Where its driver keeps what is in it. */
  readonly content: string;
  /** Of its client: the request's `volume_context`. */
  options: Record<string, string> = { share: 'a' };
  readonly #settings: VolumeSettings;
  #before = '';
  /** What attach answered. */
  #context: Record<string, string> = {};

  /** Makes the volume, with files in it. Kubelet's part of its directories is made, as kubelet does. */
  constructor(id: string, settings: VolumeSettings) {
    this.id = id;
    this.#settings = settings;
    const pod = join(settings.kubelet, 'pods', id, 'volumes/kubernetes.io~csi', id);
    this.target = join(pod, 'mount');
    this.staging = join(settings.kubelet, 'plugins/kubernetes.io/csi/shelf.example.com', id, 'globalmount');
    mkdirSync(pod, { recursive: true });
    this.content = join(settings.shelf, 'volumes', id);
    if (settings.onDevice) this.options = { size: '16Mi' };
    else this.#fill(this.content);
  }

  #fill(directory: string): void {
    mkdirSync(join(directory, 'directory/empty'), { recursive: true });
    writeFileSync(join(directory, 'file'), randomBytes(64 * 1024));
    writeFileSync(join(directory, 'directory/file'), randomBytes(100));
    this.#before = fingerprint(directory);
  }

  get client(): CsiClient {
    return this.#settings.client();
  }

  async attach(): Promise<string> {
    const request = { volume_id: this.id, node_id: NODE, volume_capability: capability };
    const { publish_context } = await this.client.controller(
      'ControllerPublishVolume',
      { ...request, volume_context: this.options },
      NO_HURRY,
    );
    this.#context = publish_context;
    return publish_context.device ?? '';
  }

  detach(): Promise<unknown> {
    return this.client.controller(
      'ControllerUnpublishVolume',
      { volume_id: this.id, node_id: NODE },
      NO_HURRY,
    );
  }

  stage(): Promise<unknown> {
    return this.client.node('NodeStageVolume', this.stageRequest(), NO_HURRY);
  }

  unstage(): Promise<unknown> {
    const request = { volume_id: this.id, staging_target_path: this.staging };
    return this.client.node('NodeUnstageVolume', request, NO_HURRY);
  }

  publish(target = this.target): Promise<unknown> {
    return this.client.node('NodePublishVolume', this.publishRequest(target), NO_HURRY);
  }

  unpublish(target = this.target): Promise<unknown> {
    return this.client.node('NodeUnpublishVolume', { volume_id: this.id, target_path: target }, NO_HURRY);
  }

  stats(path = this.target): Promise<unknown> {
    return this.client.node('NodeGetVolumeStats', { volume_id: this.id, volume_path: path }, NO_HURRY);
  }

  expandHere(path = this.target): Promise<unknown> {
    const request = { volume_id: this.id, volume_path: path, capacity_range: { required_bytes: 2 * MIB } };
    return this.client.node('NodeExpandVolume', request, NO_HURRY);
  }

  expand(): Promise<unknown> {
    const request = { volume_id: this.id, capacity_range: { required_bytes: 2 * MIB } };
    return this.client.controller('ControllerExpandVolume', request, NO_HURRY);
  }

  create(): Promise<unknown> {
    const request = { name: this.id, volume_capabilities: [capability], parameters: { pool: 'a' } };
    return this.client.controller(
      'CreateVolume',
      { ...request, capacity_range: { required_bytes: MIB } },
      NO_HURRY,
    );
  }

  delete(): Promise<unknown> {
    return this.client.controller('DeleteVolume', { volume_id: this.id }, NO_HURRY);
  }

  /** Deletes what CreateVolume may have put on record. Its files stay: the driver is told that it never made it. */
  async forget(): Promise<void> {
    rmSync(join(this.#settings.shelf, 'provisioned', this.id), { force: true });
    await untilOk(() => this.delete());
  }

  stageRequest() {
    return {
      volume_id: this.id,
      staging_target_path: this.staging,
      volume_capability: capability,
      volume_context: this.options,
      publish_context: this.#context,
    };
  }

  publishRequest(target = this.target) {
    return {
      volume_id: this.id,
      target_path: target,
      volume_capability: capability,
      volume_context: this.options,
      ...(this.#settings.attaches
        ? { staging_target_path: this.staging, publish_context: this.#context }
        : {}),
    };
  }

  /** All calls from the first to publish; each must succeed. */
  async up(): Promise<void> {
    if (this.#settings.attaches) {
      await this.attach();
      await this.stage();
    }
    await this.publish();
    if (this.#before === '') this.#fill(this.target);
    this.demandContent(this.target);
  }

  /** All calls that take it down, each repeated until it succeeds, as kubelet does. */
  async down(): Promise<void> {
    await untilOk(() => this.unpublish());
    if (this.#settings.attaches) {
      await untilOk(() => this.unstage());
      await untilOk(() => this.detach());
    }
  }

  /** @throws {Error} unless exactly what was put into the volume is at this path. */
  demandContent(path: string): void {
    demand(fingerprint(path) === this.#before, `volume ${this.id} does not show its files at ${path}`);
  }

  /** @throws {Error} when a byte of it is lost, or there is more than was. */
  demandIntact(): void {
    // On a device they can be seen only while it is mounted.
    if (this.#settings.onDevice) return;
    demand(
      fingerprint(this.content) === this.#before,
      `the files in volume ${this.id} are not what they were`,
    );
  }

  /** @throws {Error} when a directory that was made for it is left. */
  demandGone(): void {
    for (const path of [this.target, this.staging]) demand(!existsSync(path), `${path} is left behind`);
  }

  /** For volumes whose files do not matter: takes them away, with what a driver keeps of them. */
  discard(): void {
    rmSync(this.content, { recursive: true, force: true });
    rmSync(dirname(dirname(dirname(dirname(this.target)))), { recursive: true, force: true });
  }
}

/** Repeats a call until it succeeds. @throws {Error} with its last failure when it never does. */
export async function untilOk(call: () => Promise<unknown>): Promise<void> {
  for (const start = Date.now(); ; await setTimeout(100)) {
    const { code, details } = await answerOf(call());
    if (code === 'OK') return;
    demand(Date.now() - start < RETRY_MS, `still answers ${code} after many retries: ${details}`);
  }
}

/** Names, kinds and bytes of all that is at and below a directory. */
export function fingerprint(directory: string): string {
  const hash = createHash('sha256');
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  const paths = entries.map((entry) => ({
    path: join(entry.parentPath, entry.name),
    isFile: entry.isFile(),
  }));
  for (const { path, isFile } of paths.sort((a, b) => (a.path < b.path ? -1 : 1))) {
    hash.update(`${path.slice(directory.length)}\0${isFile}\0`);
    if (isFile) hash.update(readFileSync(path));
  }
  return hash.digest('hex');
}
