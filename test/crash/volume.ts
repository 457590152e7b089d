/**
 * One volume as kubelet, external-attacher, external-provisioner, -resizer and -snapshotter know it: what they have
 * asked for, and what of it was answered.
 */
import { dirname, join } from 'node:path';
import { differences, type Files, readFiles, writeFile } from './contents.ts';
import { Persistence } from './persistence.ts';
import { makePlace, placesAbove, removePlace } from './places.ts';
import type { Random } from './random.ts';
import { Requests } from './requests.ts';
import {
  type FileSystem,
  fileSystems,
  imageOf,
  placesOf,
  type Setting,
  stagingRoot,
  targetPath,
} from './setting.ts';
import { require } from './violation.ts';

/** `uncertain`: a call for it has not succeeded, and was not said to have failed for good. */
type Stand = 'none' | 'uncertain' | 'there';

interface Target {
  stand: Stand;
  readonly readOnly: boolean;
}

export interface Snapshot {
  readonly name: string;
  readonly fsType: FileSystem;
  readonly bytes: number;
  readonly files: Files;
}

export class Volume {
  readonly name: string;
  readonly fsType: FileSystem;
  readonly #setting: Setting;
  readonly #random: Random;
  readonly #requests: Requests;
  readonly #persistence: Persistence;
  readonly #files: Map<string, string>;
  readonly #targets = new Map<string, Target>();
  #bytes: number;
  #attached: Stand = 'none';
  #staged: Stand = 'none';
  /** The file system has not yet been grown to the volume's size. */
  #hasToGrow = false;
  /** How often the state directory had been lost when the volume was staged. */
  #stagedIn = 0;
  /** A snapshot that was asked for, and not answered yet. */
  #snapshot: Snapshot | undefined;

  constructor(setting: Setting, random: Random, name: string, fsType: FileSystem, source?: Snapshot) {
    this.#setting = setting;
    this.#random = random;
    this.name = name;
    this.fsType = fsType;
    this.#requests = new Requests(setting, name, fsType);
    this.#persistence = new Persistence(setting, random, name);
    this.#bytes = source?.bytes ?? fileSystems[fsType].bytes;
    this.#files = new Map(source?.files);
  }

  /** Whether what is there can be told from what was asked for and answered. */
  get isSettled(): boolean {
    const stands = [this.#attached, this.#staged, ...[...this.#targets.values()].map(({ stand }) => stand)];
    return !stands.includes('uncertain');
  }

  /** Where it is to be mounted, each path once. */
  get mountPoints(): string[] {
    return [...(this.#staged === 'there' ? [this.#requests.staging] : []), ...this.#published()];
  }

  /** Where it is to be mounted read-only. */
  get readOnlyPoints(): string[] {
    return this.#published().filter((path) => this.#targets.get(path)?.readOnly);
  }

  /** Its image, if it is to be attached. */
  get attachedImage(): string | undefined {
    const stand = this.#setting.attachOn === 'node' ? this.#staged : this.#attached;
    return stand === 'there' ? imageOf(this.#setting.directory, this.name) : undefined;
  }

  /** The directories that are to be there for it. */
  get directories(): string[] {
    const { kubelet } = placesOf(this.#setting.directory);
    return this.mountPoints.flatMap((path) => placesAbove(path, kubelet));
  }

  async create(source?: Snapshot): Promise<void> {
    const send = this.#requests.create(this.#bytes, source?.name);
    const { volume } = await this.#persistence.always('CreateVolume', send);
    this.#requests.context = volume?.volume_context ?? {};
    this.#setting.done.volumes += 1;
    if (source !== undefined) this.#setting.done.restored += 1;
  }

  async delete(): Promise<void> {
    await this.#persistence.always('DeleteVolume', this.#requests.delete());
  }

  async attach(): Promise<void> {
    if (this.#setting.attachOn === 'node') return;
    this.#attached = 'uncertain';
    const send = this.#requests.attach();
    const answer = await this.#persistence.unlessGone('ControllerPublishVolume', send);
    this.#requests.publishContext = answer.publish_context;
    this.#attached = 'there';
  }

  async stage(): Promise<void> {
    const { staging } = this.#requests;
    makePlace(staging);
    this.#staged = 'uncertain';
    await this.#persistence.mounting('NodeStageVolume', staging, this.#requests.stage(), () => {
      this.#staged = 'none';
      this.#removeStaging();
    });
    this.#staged = 'there';
    this.#stagedIn = this.#setting.lost.states;
    // ext4 has been grown before it was mounted; kubelet asks all the same.
    if (this.#hasToGrow) await this.#grow();
  }

  async publish(pod: string, readOnly = false): Promise<string> {
    const path = targetPath(this.#setting.directory, pod, this.name);
    makePlace(dirname(path));
    const target: Target = { stand: 'uncertain', readOnly };
    this.#targets.set(path, target);
    const send = this.#requests.publish(path, readOnly);
    await this.#persistence.mounting('NodePublishVolume', path, send, () => this.#removeTarget(path));
    target.stand = 'there';
    return path;
  }

  /** Takes it down from the node, however far it was brought up. All of it is repeated until it succeeds. */
  async takeDown(): Promise<void> {
    for (const path of this.#targets.keys()) {
      await this.#pass();
      await this.#persistence.always('NodeUnpublishVolume', this.#requests.unpublish(path));
      this.#removeTarget(path);
    }
    await this.#pass();
    if (this.#staged !== 'none') {
      await this.#persistence.always('NodeUnstageVolume', this.#requests.unstage());
      this.#staged = 'none';
      this.#removeStaging();
    }
    await this.#pass();
    if (this.#attached !== 'none') {
      await this.#persistence.always('ControllerUnpublishVolume', this.#requests.detach());
      this.#attached = 'none';
    }
  }

  /** Every byte that was ever written is read again. */
  async verify(): Promise<void> {
    for (const path of this.#published()) {
      const found = await readFiles(path);
      const problems = differences(this.#files, found).map((problem) => `${path}: ${problem}`);
      require('the files are as they were written', problems);
      this.#setting.done.verified += found.size;
    }
  }

  async write(path: string): Promise<void> {
    const name = `file-${this.#files.size}`;
    const bytes = this.#random.whole(1, 400_000);
    const sync = this.#random.chance(0.5);
    this.#files.set(name, await writeFile(path, name, { bytes, sync }));
    this.#setting.done.written += 1;
  }

  /** The bytes of the file system, as the plugin tells them. */
  async totalBytes(path: string): Promise<number> {
    const { usage } = await this.#persistence.always('NodeGetVolumeStats', this.#requests.stats(path));
    const total = Number(usage.find(({ unit }) => unit === 'BYTES')?.total ?? 0);
    require('stats tell how large the volume is', total > 0 ? [] : [`${path}: ${JSON.stringify(usage)}`]);
    return total;
  }

  /** Where the file system cannot grow now, it does at the next stage. */
  async expand(path: string): Promise<void> {
    const { growBy, growsMounted } = fileSystems[this.fsType];
    const before = await this.totalBytes(path);
    this.#bytes += growBy;
    const send = this.#requests.expand(this.#bytes);
    await this.#persistence.expanding('ControllerExpandVolume', send, () => false);
    this.#hasToGrow = true;
    if (!growsMounted || !(await this.#grow())) return;
    const after = await this.totalBytes(path);
    const problem = `${this.name}: ${before} bytes before, ${after} after`;
    require('an expansion makes the file system larger', after > before ? [] : [problem]);
  }

  /**
   * As external-snapshotter: it is repeated until it is there, also when the pod has gone meanwhile (`finishSnapshot`).
   *
   * @throws {PodGone}
   */
  async takeSnapshot(name: string): Promise<Snapshot> {
    this.#snapshot = { name, fsType: this.fsType, bytes: this.#bytes, files: new Map(this.#files) };
    await this.#persistence.unlessGone('CreateSnapshot', this.#requests.snapshot(name));
    return this.#haveSnapshot(this.#snapshot);
  }

  /** The snapshot that was asked for before the pod went, if there is one. Nothing was written since. */
  async finishSnapshot(): Promise<Snapshot | undefined> {
    const snapshot = this.#snapshot;
    if (snapshot === undefined) return undefined;
    await this.#persistence.always('CreateSnapshot', this.#requests.snapshot(snapshot.name));
    return this.#haveSnapshot(snapshot);
  }

  #haveSnapshot(snapshot: Snapshot): Snapshot {
    this.#snapshot = undefined;
    this.#setting.done.snapshots += 1;
    return snapshot;
  }

  /** Answers whether it has: the options are on record only, and may have been lost. Then the next stage does it. */
  async #grow(): Promise<boolean> {
    const send = this.#requests.grow(this.#bytes);
    const isLost = (): boolean => this.#setting.lost.states > this.#stagedIn;
    const answer = await this.#persistence.expanding('NodeExpandVolume', send, isLost);
    this.#hasToGrow = answer === undefined;
    if (answer !== undefined) this.#setting.done.expanded += 1;
    return answer !== undefined;
  }

  #published(): string[] {
    return [...this.#targets].filter(([, { stand }]) => stand === 'there').map(([path]) => path);
  }

  #removeTarget(path: string): void {
    removePlace(path, join(placesOf(this.#setting.directory).kubelet, 'pods'));
    this.#targets.delete(path);
  }

  #removeStaging(): void {
    removePlace(this.#requests.staging, stagingRoot(this.#setting.directory));
  }

  /** Nobody can tell what has to be there while something is uncertain: then it goes on. */
  async #pass(): Promise<void> {
    if (this.isSettled) await this.#setting.pace.pass();
  }
}
