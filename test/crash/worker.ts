/** A worker: one volume after the other, from creation to deletion, used by several pods in between. */
import { DEADLINE_MS } from './calls.ts';
import { PodGone } from './persistence.ts';
import type { Random } from './random.ts';
import { type FileSystem, fileSystems, type Setting } from './setting.ts';
import { type Snapshot, Volume } from './volume.ts';

const TYPES = Object.keys(fileSystems) as [FileSystem, ...FileSystem[]];

export class Worker {
  readonly #setting: Setting;
  readonly #random: Random;
  readonly #label: string;
  #volume: Volume | undefined;
  #snapshots: Snapshot[] = [];
  #count = 0;
  #ending = false;

  constructor(setting: Setting, random: Random, label: string) {
    this.#setting = setting;
    this.#random = random;
    this.#label = label;
  }

  /** The volume that there is now, if there is one. */
  get volume(): Volume | undefined {
    return this.#volume;
  }

  /** Takes everything down and deletes it, and then ends. */
  end(): void {
    this.#ending = true;
  }

  /** @throws {Violation} */
  async run(): Promise<void> {
    try {
      while (!this.#ending) await this.#live();
      for (const snapshot of this.#snapshots.splice(0)) await this.#deleteSnapshot(snapshot);
    } finally {
      this.#setting.pace.leave();
    }
  }

  async #live(): Promise<void> {
    const source = this.#random.chance(0.7) ? this.#snapshots.shift() : undefined;
    const name = `${this.#setting.prefix}-${this.#label}-${this.#count++}`;
    const type = source?.fsType ?? this.#random.pick(TYPES);
    await this.#setting.pace.pass();
    const volume = new Volume(this.#setting, this.#random.fork(name), name, type, source);
    await volume.create(source);
    this.#volume = volume;
    if (source !== undefined) await this.#deleteSnapshot(source);
    for (let pods = this.#random.whole(1, 3); pods > 0 && !this.#ending; pods--) {
      await this.#use(volume, `${this.#label}-${this.#count}-${pods}`);
    }
    await this.#setting.pace.pass();
    await volume.delete();
    this.#volume = undefined;
  }

  async #use(volume: Volume, pod: string): Promise<void> {
    try {
      await this.#bringUp(volume, pod);
    } catch (error) {
      if (!(error instanceof PodGone)) throw error;
    }
    await volume.takeDown();
    await this.#setting.pace.pass();
    const late = await volume.finishSnapshot();
    if (late !== undefined) this.#snapshots.push(late);
  }

  async #bringUp(volume: Volume, pod: string): Promise<void> {
    const { pace } = this.#setting;
    const random = this.#random;
    await pace.pass();
    await volume.attach();
    await pace.pass();
    await volume.stage();
    await pace.pass();
    const path = await volume.publish(`${pod}-a`);
    await volume.verify();
    await volume.write(path);
    await pace.pass();
    if (random.chance(0.6)) {
      const readOnly = random.chance(0.4);
      const other = await volume.publish(`${pod}-b`, readOnly);
      if (!readOnly) await volume.write(other);
      await volume.verify();
      await pace.pass();
    }
    await volume.totalBytes(path);
    await pace.pass();
    if (random.chance(0.35)) {
      await volume.expand(path);
      await pace.pass();
    }
    if (random.chance(0.35) && this.#snapshots.length < 2) {
      this.#snapshots.push(await volume.takeSnapshot(`${volume.name}-s${pod.at(-1)}`));
      await pace.pass();
    }
    if (random.chance(0.5)) await volume.write(path);
    await volume.verify();
    await pace.pass();
  }

  async #deleteSnapshot(snapshot: Snapshot): Promise<void> {
    const { calls, client, pace } = this.#setting;
    await pace.pass();
    const request = { snapshot_id: snapshot.name };
    const send = () => client.controller('DeleteSnapshot', request, { deadlineMs: DEADLINE_MS });
    await calls.until(snapshot.name, 'DeleteSnapshot', send, () => false);
  }
}
