/** The requests for one volume, as Kubernetes writes them. Each is a function that sends it, to be called again. */
import { DEADLINE_MS } from './calls.ts';
import { type FileSystem, NODE, type Setting, stagingPath } from './setting.ts';

const options = { deadlineMs: DEADLINE_MS };

export class Requests {
  readonly #setting: Setting;
  readonly #name: string;
  readonly #fsType: FileSystem;
  /** What the PersistentVolume holds of CreateVolume's answer. */
  context: Record<string, string> = {};
  /** What the VolumeAttachment holds of ControllerPublishVolume's answer. */
  publishContext: Record<string, string> = {};

  constructor(setting: Setting, name: string, fsType: FileSystem) {
    this.#setting = setting;
    this.#name = name;
    this.#fsType = fsType;
  }

  get staging(): string {
    return stagingPath(this.#setting.directory, this.#name);
  }

  create(bytes: number, snapshotId: string | undefined) {
    const source =
      snapshotId === undefined ? {} : { volume_content_source: { snapshot: { snapshot_id: snapshotId } } };
    const request = {
      name: this.#name,
      capacity_range: { required_bytes: bytes },
      volume_capabilities: [this.#capability],
      ...source,
    };
    return () => this.#setting.client.controller('CreateVolume', request, options);
  }

  delete() {
    const request = { volume_id: this.#name };
    return () => this.#setting.client.controller('DeleteVolume', request, options);
  }

  attach() {
    const request = { ...this.#use, node_id: NODE };
    return () => this.#setting.client.controller('ControllerPublishVolume', request, options);
  }

  detach() {
    const request = { volume_id: this.#name, node_id: NODE };
    return () => this.#setting.client.controller('ControllerUnpublishVolume', request, options);
  }

  stage() {
    const request = { ...this.#mount };
    return () => this.#setting.client.node('NodeStageVolume', request, options);
  }

  unstage() {
    const request = { volume_id: this.#name, staging_target_path: this.staging };
    return () => this.#setting.client.node('NodeUnstageVolume', request, options);
  }

  publish(path: string, readonly: boolean) {
    const request = { ...this.#mount, target_path: path, readonly };
    return () => this.#setting.client.node('NodePublishVolume', request, options);
  }

  unpublish(path: string) {
    const request = { volume_id: this.#name, target_path: path };
    return () => this.#setting.client.node('NodeUnpublishVolume', request, options);
  }

  stats(path: string) {
    const request = { volume_id: this.#name, volume_path: path };
    return () => this.#setting.client.node('NodeGetVolumeStats', request, options);
  }

  expand(bytes: number) {
    const request = {
      volume_id: this.#name,
      capacity_range: { required_bytes: bytes },
      volume_capability: this.#capability,
    };
    return () => this.#setting.client.controller('ControllerExpandVolume', request, options);
  }

  grow(bytes: number) {
    const request = {
      volume_id: this.#name,
      volume_path: this.staging,
      staging_target_path: this.staging,
      volume_capability: this.#capability,
      capacity_range: { required_bytes: bytes },
    };
    return () => this.#setting.client.node('NodeExpandVolume', request, options);
  }

  snapshot(name: string) {
    const request = { source_volume_id: this.#name, name };
    return () => this.#setting.client.controller('CreateSnapshot', request, options);
  }

  get #capability() {
    return {
      mount: { fs_type: this.#fsType },
      access_mode: { mode: 'SINGLE_NODE_MULTI_WRITER' as const },
    };
  }

  get #use() {
    return {
      volume_id: this.#name,
      volume_capability: this.#capability,
      volume_context: this.context,
    };
  }

  get #mount() {
    return { ...this.#use, staging_target_path: this.staging, publish_context: this.publishContext };
  }
}
