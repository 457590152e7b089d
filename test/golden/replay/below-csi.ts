/**
 * The questions to src/volume itself, for what kubelet could give to a driver and no CSI request can carry:
 * options that are not UTF-8 or take keys of Kubernetes, secrets that are not UTF-8. All below is the real code.
 */
import type { VolumeUse } from '../../../src/volume/parts.ts';
import type { VolumeService } from '../../../src/volume/service.ts';
import type { Calls, PublishDetails, Volume } from './calls.ts';
import { ephemeralId } from './over-csi.ts';

export function belowCsi(volumes: VolumeService): Calls {
  return {
    attach: (volume, nodeId) => volumes.attach({ ...use(volume), nodeId, singleNode: false }),
    detach: (volumeId, node) => volumes.detach(volumeId, node),
    stage: (volume, staging, device) => volumes.stage({ ...use(volume), stagingPath: staging, device }),
    unstage: (volumeId, stagingPath) => volumes.unstage({ volumeId, stagingPath }),
    publish: (volume, details) => volumes.publish(publishRequest(volume, details)),
    unpublish: (volumeId, targetPath) => volumes.unpublish({ volumeId, targetPath }),
    async expandVolume(volume, bytes) {
      const request = { volumeId: volume.name, requiredBytes: bytes, access: 'mount' as const };
      return await volumes.expandVolume(request);
    },
    expandFileSystem: (volume, volumePath, _staging, requiredBytes) =>
      volumes.expandFileSystem({ volumeId: volume.name, volumePath, requiredBytes, access: 'mount' }),
  };
}

function use(volume: Volume): VolumeUse {
  const { name, fsType, readOnly, options, mountFlags } = volume;
  return {
    volumeId: name,
    name,
    options,
    fsType,
    access: 'mount',
    readOnly,
    mountFlags,
    mask: (text) => text,
  };
}

function publishRequest(volume: Volume, details: PublishDetails) {
  const { target, staging = '', device, pod, group } = details;
  return {
    ...use(volume),
    ...(volume.inline ? { volumeId: ephemeralId(volume.name, pod.uid) } : {}),
    targetPath: target,
    stagingPath: staging,
    device,
    stageReadOnly: false,
    exclusive: false,
    ephemeral: volume.inline,
    pod,
    // Bytes, where the type says text: the encoder below takes both, and only gRPC cannot carry them.
    secrets: details.secrets as unknown as Record<string, string>,
    ...(group === undefined ? {} : { group }),
  };
}
