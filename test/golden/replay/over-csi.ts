/** The questions over gRPC, as kubelet, external-attacher and external-resizer put them. */
import { createHash } from 'node:crypto';
import type { CsiClient } from '../../support/csi-client.ts';
import type { Calls, PublishDetails, Volume } from './calls.ts';

/**
 * How kubelet puts it: the read-only of attaching and staging is the access mode; a volume in a pod's
 * specification has an id of its own.
 */
export function overCsi(client: CsiClient): Calls {
  return {
    async attach(volume, node) {
      const { publish_context } = await client.controller('ControllerPublishVolume', {
        volume_id: volume.name,
        node_id: node,
        volume_capability: capability(volume),
        volume_context: volume.options,
      });
      return publish_context.device ?? '';
    },
    async detach(volumeId, node) {
      await client.controller('ControllerUnpublishVolume', { volume_id: volumeId, node_id: node });
    },
    async stage(volume, staging, device) {
      await client.node('NodeStageVolume', {
        volume_id: volume.name,
        staging_target_path: staging,
        volume_capability: capability(volume),
        volume_context: volume.options,
        publish_context: { device },
      });
    },
    async unstage(volumeId, staging) {
      await client.node('NodeUnstageVolume', { volume_id: volumeId, staging_target_path: staging });
    },
    async publish(volume, details) {
      await client.node('NodePublishVolume', {
        volume_id: volume.inline ? ephemeralId(volume.name, details.pod.uid) : volume.name,
        target_path: details.target,
        ...(details.staging === undefined
          ? {}
          : { staging_target_path: details.staging, publish_context: { device: details.device } }),
        // The claim's read-only is the target's own; staging is not asked to be read-only for it.
        volume_capability: capability({ ...volume, readOnly: false }, details.group),
        readonly: volume.readOnly,
        volume_context: { ...volume.options, ...podContext(details.pod), ...ephemeral(volume) },
        secrets: Object.fromEntries(
          Object.entries(details.secrets).map(([key, value]) => [key, value.toString()]),
        ),
      });
    },
    async unpublish(volumeId, target) {
      await client.node('NodeUnpublishVolume', { volume_id: volumeId, target_path: target });
    },
    async expandVolume(volume, bytes) {
      const response = await client.controller('ControllerExpandVolume', {
        volume_id: volume.name,
        capacity_range: { required_bytes: bytes.toString() },
        volume_capability: capability(volume),
      });
      return { bytes: BigInt(response.capacity_bytes), onNode: response.node_expansion_required };
    },
    async expandFileSystem(volume, path, staging, bytes) {
      await client.node('NodeExpandVolume', {
        volume_id: volume.inline ? ephemeralId(volume.name, '') : volume.name,
        volume_path: path,
        staging_target_path: staging,
        capacity_range: { required_bytes: bytes.toString() },
        volume_capability: capability(volume),
      });
    },
  };
}

function capability(volume: Volume, group = '') {
  return {
    mount: { fs_type: volume.fsType, mount_flags: [...volume.mountFlags], volume_mount_group: group },
    access_mode: {
      mode: volume.readOnly ? ('MULTI_NODE_READER_ONLY' as const) : ('SINGLE_NODE_WRITER' as const),
    },
  };
}

/** Kubelet's id of an ephemeral volume: `csi-` and 64 hexadecimal digits, for each pod its own. */
export function ephemeralId(name: string, podUid: string): string {
  return `csi-${createHash('sha256').update(`${name}\n${podUid}`).digest('hex')}`;
}

function podContext(pod: PublishDetails['pod']): Record<string, string> {
  return {
    'csi.storage.k8s.io/pod.name': pod.name,
    'csi.storage.k8s.io/pod.namespace': pod.namespace,
    'csi.storage.k8s.io/pod.uid': pod.uid,
    'csi.storage.k8s.io/serviceAccount.name': pod.serviceAccount,
  };
}

function ephemeral({ inline }: Volume): Record<string, string> {
  return inline ? { 'csi.storage.k8s.io/ephemeral': 'true' } : {};
}
