/** All that `csi/` calls: the steps of this folder, each in its turn on its volume. */
import type { Capabilities } from '../flex/capabilities.ts';
import type { DescribedSnapshot, DescribedVolume, Room } from '../flex/described.ts';
import type { WantedVolume } from '../flex/extended-options.ts';
import type { Options } from '../flex/options.ts';
import { SharedRun } from '../flex/shared-run.ts';
import type { AttachRequest } from './attachments.ts';
import { controllerPublish, controllerUnpublish } from './controller-publish.ts';
import { type DeleteRequest, deleteVolume } from './delete.ts';
import { ephemeralName, isEphemeralId } from './ephemeral.ts';
import { type ExpandRequest, expandFileSystem, expandVolume, type NodeExpandRequest } from './expand.ts';
import { getCapacity, getVolume, listVolumes, type ModifyRequest, modifyVolume } from './inventory.ts';
import { VolumeLocks } from './lock.ts';
import type { PublishRequest, StageRequest, VolumeParts } from './parts.ts';
import { type ProvisionedVolume, type ProvisionRequest, provision } from './provision.ts';
import { publish } from './publish.ts';
import {
  createSnapshot,
  type DeleteSnapshotRequest,
  deleteSnapshot,
  listSnapshots,
  type SnapshotRequest,
} from './snapshots.ts';
import { stage } from './stage.ts';
import { type VolumeStats, volumeStats } from './stats.ts';
import { type UnpublishRequest, unpublish } from './unpublish.ts';
import { type UnstageRequest, unstage } from './unstage.ts';

/** Fires when the client has cancelled the call or its deadline has passed. */
type Cancelled = AbortSignal;

export class VolumeService {
  readonly #parts: VolumeParts;
  /** Apart, as the controller manager and kubelet were: attaching elsewhere does not wait for a pod here. */
  readonly #controller = new VolumeLocks();
  readonly #node = new VolumeLocks();
  /** By a snapshot's name or id: a long copy must not keep its volume from being attached. */
  readonly #snapshots = new VolumeLocks('snapshot');
  /** Volumes that are being copied: they may be attached and mounted meanwhile, but not deleted. */
  readonly #sources = new VolumeLocks();

  /** Long lists take long to read: who asks at the same time gets the same one. */
  readonly #lists = new SharedRun(() => listVolumes(this.#parts));

  readonly #stats = new Map<string, Promise<VolumeStats>>();

  constructor(parts: VolumeParts) {
    this.#parts = parts;
  }

  /** What the driver says in `init`; asked again when the driver has changed. */
  async capabilities(): Promise<Capabilities> {
    return (await this.#parts.driver.current()).capabilities;
  }

  attach(request: AttachRequest, cancelled?: Cancelled): Promise<string> {
    const { volumeId: volume, nodeId: target } = request;
    const call = { volume, kind: 'attach', target, text: textOf(request) };
    return this.#controller.run(call, () => controllerPublish(this.#parts, request), cancelled);
  }

  detach(volumeId: string, nodeId: string, cancelled?: Cancelled): Promise<void> {
    const call = { volume: volumeId, kind: 'detach', target: nodeId, text: '' };
    return this.#controller.run(call, () => controllerUnpublish(this.#parts, volumeId, nodeId), cancelled);
  }

  provision(request: ProvisionRequest, cancelled?: Cancelled): Promise<ProvisionedVolume> {
    const call = { volume: request.name, kind: 'provision', target: '', text: textOf(request) };
    const { name, sourceVolume, sourceSnapshot } = request;
    const work = (): Promise<ProvisionedVolume> =>
      copying(this.#sources, sourceVolume, name, () =>
        copying(this.#snapshots, sourceSnapshot, name, () => provision(this.#parts, request)),
      );
    return this.#controller.run(call, work, cancelled);
  }

  delete(request: DeleteRequest, cancelled?: Cancelled): Promise<void> {
    const call = { volume: request.volumeId, kind: 'delete', target: '', text: '' };
    const work = (): Promise<void> =>
      // Not beside a stage or publish on this node, nor while it is copied.
      this.#node.run(call, () => this.#sources.run(call, () => deleteVolume(this.#parts, request)));
    return this.#controller.run(call, work, cancelled);
  }

  modify(request: ModifyRequest, cancelled?: Cancelled): Promise<void> {
    const call = { volume: request.volumeId, kind: 'modify', target: '', text: textOf(request) };
    return this.#controller.run(call, () => modifyVolume(this.#parts, request), cancelled);
  }

  createSnapshot(request: SnapshotRequest, cancelled?: Cancelled): Promise<DescribedSnapshot> {
    const call = { volume: request.name, kind: 'snapshot', target: '', text: textOf(request) };
    const work = (): Promise<DescribedSnapshot> =>
      copying(this.#sources, request.volumeId, request.name, () => createSnapshot(this.#parts, request));
    return this.#snapshots.run(call, work, cancelled);
  }

  deleteSnapshot(request: DeleteSnapshotRequest, cancelled?: Cancelled): Promise<void> {
    const call = { volume: request.snapshotId, kind: 'delete', target: '', text: '' };
    return this.#snapshots.run(call, () => deleteSnapshot(this.#parts, request), cancelled);
  }

  // What only reads takes no lock.

  getVolume(volumeId: string, options?: Options): Promise<DescribedVolume | undefined> {
    return getVolume(this.#parts, volumeId, options);
  }

  listVolumes(): ReturnType<typeof listVolumes> {
    return this.#lists.ask();
  }

  listSnapshots(request: Parameters<typeof listSnapshots>[1]): ReturnType<typeof listSnapshots> {
    return listSnapshots(this.#parts, request);
  }

  getCapacity(wanted: WantedVolume): Promise<Room> {
    return getCapacity(this.#parts, wanted);
  }

  expandVolume(request: ExpandRequest, cancelled?: Cancelled): ReturnType<typeof expandVolume> {
    const call = { volume: request.volumeId, kind: 'expand', target: '', text: textOf(request) };
    return this.#controller.run(call, () => expandVolume(this.#parts, request), cancelled);
  }

  stage(request: StageRequest, cancelled?: Cancelled): Promise<void> {
    const call = {
      volume: request.volumeId,
      kind: 'stage',
      target: request.stagingPath,
      text: textOf(request),
    };
    return this.#node.run(call, async () => void (await stage(this.#parts, request)), cancelled);
  }

  unstage(request: UnstageRequest, cancelled?: Cancelled): Promise<void> {
    const call = { volume: request.volumeId, kind: 'unstage', target: request.stagingPath, text: '' };
    return this.#node.run(call, () => unstage(this.#parts, request), cancelled);
  }

  async publish(request: PublishRequest, cancelled?: Cancelled): Promise<void> {
    const volume = await this.#lockedVolume(request);
    const call = { volume, kind: 'publish', target: request.targetPath, text: textOf(request) };
    await this.#node.run(call, () => publish(this.#parts, request), cancelled);
  }

  async unpublish(request: UnpublishRequest, cancelled?: Cancelled): Promise<void> {
    const volume = await this.#lockedVolume(request);
    const call = { volume, kind: 'unpublish', target: request.targetPath, text: '' };
    await this.#node.run(call, () => unpublish(this.#parts, request), cancelled);
  }

  expandFileSystem(request: NodeExpandRequest, cancelled?: Cancelled): Promise<void> {
    const call = {
      volume: request.volumeId,
      kind: 'expand',
      target: request.volumePath,
      text: textOf(request),
    };
    return this.#node.run(call, () => expandFileSystem(this.#parts, request), cancelled);
  }

  /** Asked again while the first answer is still awaited, as on a hung mount: joins it. */
  stats(volumePath: string): Promise<VolumeStats> {
    let running = this.#stats.get(volumePath);
    if (running === undefined) {
      running = volumeStats(this.#parts, volumePath).finally(() => this.#stats.delete(volumePath));
      this.#stats.set(volumePath, running);
    }
    return running;
  }

  /**
   * Pods that use an in-line volume of one name share its device, so they share its lock, whatever their
   * volume ids. Without attach there is no device to share.
   */
  async #lockedVolume({ volumeId, targetPath }: UnpublishRequest): Promise<string> {
    const name = isEphemeralId(volumeId) ? ephemeralName(targetPath) : undefined;
    if (name === undefined) return volumeId;
    // Where the driver cannot be asked, unpublish must still not run beside a publish of the name.
    const { attach } = (await this.#parts.driver.forCleanUp()).capabilities;
    return attach ? `in-line volume ${name}` : volumeId;
  }

  /** Whether a call is running, whether or not a client still waits for it. */
  get isBusy(): boolean {
    return this.#locks().some((locks) => locks.isBusy);
  }

  /** Resolves when no call is running any more. */
  async idle(): Promise<void> {
    await Promise.all(this.#locks().map((locks) => locks.idle()));
  }

  #locks(): VolumeLocks[] {
    return [this.#controller, this.#node, this.#snapshots, this.#sources];
  }
}

/** Runs a copy of `source` to `target`, if it is one, so that `source` is not deleted meanwhile. */
function copying<Result>(
  locks: VolumeLocks,
  source: string | undefined,
  target: string,
  work: () => Promise<Result>,
): Promise<Result> {
  if (source === undefined) return work();
  return locks.run({ volume: source, kind: 'copy', target, text: '', shared: true }, work);
}

/** What makes two requests the same: all but secrets and what Kubernetes adds for the pod. */
function textOf(request: object): string {
  const { mask: _mask, secrets: _secrets, pod: _pod, ...rest } = request as Record<string, unknown>;
  return JSON.stringify(rest, (_key, value: unknown) => {
    if (typeof value === 'bigint') return value.toString();
    if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
