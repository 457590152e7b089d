/** The Node service: stage, publish, and back; how full; grow. */
import { Failure } from '../errors.ts';
import type { Logger } from '../log.ts';
import { ephemeralName, isEphemeralId } from '../volume/ephemeral.ts';
import type { VolumeService } from '../volume/service.ts';
import type { VolumeStats } from '../volume/stats.ts';
import { topologyMessage } from './answers.ts';
import type { NodeCapabilities } from './capabilities.ts';
import { sizeRange } from './capacity-range.ts';
import type { NodeHandlers } from './generated/csi/v1/Node.ts';
import type { NodeExpandVolumeRequest__Output } from './generated/csi/v1/NodeExpandVolumeRequest.ts';
import type { NodeGetVolumeStatsRequest__Output } from './generated/csi/v1/NodeGetVolumeStatsRequest.ts';
import type { NodePublishVolumeRequest__Output } from './generated/csi/v1/NodePublishVolumeRequest.ts';
import type { NodeStageVolumeRequest__Output } from './generated/csi/v1/NodeStageVolumeRequest.ts';
import type { NodeUnpublishVolumeRequest__Output } from './generated/csi/v1/NodeUnpublishVolumeRequest.ts';
import type { NodeUnstageVolumeRequest__Output } from './generated/csi/v1/NodeUnstageVolumeRequest.ts';
import { type Gate, unary, unlessUnusable } from './handler.ts';
import { DEVICE_KEY, READONLY_KEY } from './publish-context.ts';
import {
  accessOf,
  checkSecrets,
  requireCapability,
  requirePath,
  requireText,
  volumeOptions,
} from './request.ts';

export function nodeHandlers(
  parts: { readonly gate: Gate; readonly log: Logger },
  nodeId: string,
  volumes: VolumeService,
  capabilities: () => Promise<NodeCapabilities>,
) {
  const require = async (name: NodeCapabilities['node'][number], why: string): Promise<void> => {
    if (!(await capabilities()).node.includes(name)) throw new Failure('unsupported', why);
  };

  /** The same, for what is done also with a driver whose `init` fails. */
  const requireUnlessBroken: typeof require = (name, why) => require(name, why).catch(unlessUnusable);

  return {
    NodeGetCapabilities: unary('NodeGetCapabilities', parts, async () => ({
      capabilities: (await capabilities()).node.map((type) => ({ rpc: { type } })),
    })),

    NodeGetInfo: unary('NodeGetInfo', parts, async () => {
      const { topology, maxVolumesPerNode } = await capabilities();
      return {
        node_id: nodeId,
        max_volumes_per_node: String(maxVolumesPerNode),
        ...(topology === undefined ? {} : { accessible_topology: topologyMessage(topology) }),
      };
    }),

    NodeStageVolume: unary(
      'NodeStageVolume',
      parts,
      async (request: NodeStageVolumeRequest__Output, { mask, cancelled }) => {
        await require('STAGE_UNSTAGE_VOLUME', notStaged);
        const volumeId = requireText('volume_id', request.volume_id);
        const stagingPath = requirePath('staging_target_path', request.staging_target_path);
        const wish = requireCapability('volume_capability', request.volume_capability);
        const options = volumeOptions(request.volume_context);
        const device = request.publish_context[DEVICE_KEY] ?? '';
        const readOnly = wish.readOnly || isAttachedReadOnly(request.publish_context);
        await volumes.stage(
          { ...wish, volumeId, name: volumeId, stagingPath, options, device, readOnly, mask },
          cancelled,
        );
        return {};
      },
    ),

    NodeUnstageVolume: unary(
      'NodeUnstageVolume',
      parts,
      async (request: NodeUnstageVolumeRequest__Output, { cancelled }) => {
        await requireUnlessBroken('STAGE_UNSTAGE_VOLUME', notStaged);
        const volumeId = requireText('volume_id', request.volume_id);
        const stagingPath = requirePath('staging_target_path', request.staging_target_path);
        await volumes.unstage({ volumeId, stagingPath }, cancelled);
        return {};
      },
    ),

    NodePublishVolume: unary(
      'NodePublishVolume',
      parts,
      async (request: NodePublishVolumeRequest__Output, { mask, cancelled }) => {
        const volumeId = requireText('volume_id', request.volume_id);
        const targetPath = requirePath('target_path', request.target_path);
        const wish = requireCapability('volume_capability', request.volume_capability);
        const context = request.volume_context;
        const options = volumeOptions(context);
        const ephemeral = context['csi.storage.k8s.io/ephemeral'] === 'true';
        const name = ephemeral ? requireEphemeralName(volumeId, targetPath, wish.access) : volumeId;
        const stagingPath = await stagingPathOf(request, ephemeral, wish.access);
        await volumes.publish(
          {
            ...wish,
            volumeId,
            name,
            targetPath,
            stagingPath,
            options,
            device: request.publish_context[DEVICE_KEY] ?? '',
            stageReadOnly: wish.readOnly || isAttachedReadOnly(request.publish_context),
            readOnly: request.readonly,
            ephemeral,
            pod: podOf(context),
            secrets: checkSecrets(request.secrets),
            mask,
          },
          cancelled,
        );
        return {};
      },
    ),

    NodeUnpublishVolume: unary(
      'NodeUnpublishVolume',
      parts,
      async (request: NodeUnpublishVolumeRequest__Output, { cancelled }) => {
        const volumeId = requireText('volume_id', request.volume_id);
        const targetPath = requirePath('target_path', request.target_path);
        await volumes.unpublish({ volumeId, targetPath }, cancelled);
        return {};
      },
    ),

    NodeGetVolumeStats: unary(
      'NodeGetVolumeStats',
      parts,
      async (request: NodeGetVolumeStatsRequest__Output) => {
        // The mount table answers, not the driver.
        await requireUnlessBroken('GET_VOLUME_STATS', 'the driver says supportsMetrics: false in init');
        const volumeId = requireText('volume_id', request.volume_id);
        const path = requireVolumePath(volumeId, request.volume_path);
        return { usage: usageOf(await volumes.stats(path)) };
      },
    ),

    NodeExpandVolume: unary(
      'NodeExpandVolume',
      parts,
      async (request: NodeExpandVolumeRequest__Output, { cancelled }) => {
        await require('EXPAND_VOLUME', 'the driver says requiresFSResize: false in init');
        const volumeId = requireText('volume_id', request.volume_id);
        const volumePath = requireVolumePath(volumeId, request.volume_path);
        const access = accessOf(request.volume_capability);
        const requiredBytes = sizeRange(request.capacity_range).requestBytes;
        const size = requiredBytes === undefined ? {} : { requiredBytes };
        await volumes.expandFileSystem({ volumeId, volumePath, ...access, ...size }, cancelled);
        return requiredBytes === undefined ? {} : { capacity_bytes: requiredBytes.toString() };
      },
    ),
  } satisfies Partial<NodeHandlers>;

  async function stagingPathOf(
    request: NodePublishVolumeRequest__Output,
    ephemeral: boolean,
    access: 'mount' | 'block',
  ): Promise<string> {
    const { attach } = await volumes.capabilities();
    if (access === 'block' && !attach) {
      throw new Failure(
        'precondition',
        'raw block volumes need a driver that attaches: this one says attach: false in init',
      );
    }
    if (request.staging_target_path !== '')
      return requirePath('staging_target_path', request.staging_target_path);
    if (attach && !ephemeral) {
      throw new Failure(
        'precondition',
        'staging_target_path is required: volumes of this driver are staged (NodeStageVolume) before they are published',
      );
    }
    return '';
  }
}

/** Whether the controller attached it read-only by the request's own `readonly`, which staging is not told. */
function isAttachedReadOnly(context: Readonly<Record<string, string>>): boolean {
  return context[READONLY_KEY] === 'true';
}

const notStaged = 'volumes of this driver are not staged: the driver says attach: false in init';

/**
 * An in-line volume is known by kubelet's own id and path: nothing else tells it when it is unpublished.
 *
 * @throws {Failure} `invalid-request`.
 */
function requireEphemeralName(volumeId: string, targetPath: string, access: 'mount' | 'block'): string {
  if (access === 'block') {
    throw new Failure('invalid-request', 'an ephemeral volume cannot be a raw block volume');
  }
  if (!isEphemeralId(volumeId)) {
    throw new Failure(
      'invalid-request',
      'volume_id of an ephemeral volume must be as kubelet makes it: csi- and 64 hexadecimal digits',
    );
  }
  const name = ephemeralName(targetPath);
  if (name === undefined || !/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name)) {
    throw new Failure(
      'invalid-request',
      `target_path of an ephemeral volume must end in /kubernetes.io~csi/<volume name>/mount, from which the driver gets the volume's name, not ${JSON.stringify(targetPath)}`,
    );
  }
  return name;
}

/** A path at which nothing can be is not found; it is not a fault of the request. */
function requireVolumePath(volumeId: string, path: string): string {
  requireText('volume_path', path);
  if (!path.startsWith('/'))
    throw new Failure(
      'not-found',
      `volume ${volumeId} is not at ${JSON.stringify(path)}, which is not an absolute path`,
    );
  return requirePath('volume_path', path);
}

/** Kubernetes' words for the pod, with CSIDriver `podInfoOnMount`; empty where it says nothing. */
function podOf(context: Readonly<Record<string, string>>) {
  return {
    name: context['csi.storage.k8s.io/pod.name'] ?? '',
    namespace: context['csi.storage.k8s.io/pod.namespace'] ?? '',
    uid: context['csi.storage.k8s.io/pod.uid'] ?? '',
    serviceAccount: context['csi.storage.k8s.io/serviceAccount.name'] ?? '',
  };
}

function usageOf(stats: VolumeStats) {
  if (stats.access === 'block') return [{ unit: 'BYTES' as const, total: stats.totalBytes.toString() }];
  return (['bytes', 'inodes'] as const).map((what) => ({
    unit: what === 'bytes' ? ('BYTES' as const) : ('INODES' as const),
    total: stats[what].total.toString(),
    available: stats[what].available.toString(),
    used: stats[what].used.toString(),
  }));
}
