/** The Controller service: attach, detach and expand here; what only some drivers can in two files of its own. */
import { Failure, undo } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { VolumeService } from '../volume/service.ts';
import { checkMap } from './answers.ts';
import type { CsiCapabilities } from './capabilities.ts';
import { requireSize } from './capacity-range.ts';
import type { ControllerHandlers } from './generated/csi/v1/Controller.ts';
import type { ControllerExpandVolumeRequest__Output } from './generated/csi/v1/ControllerExpandVolumeRequest.ts';
import type { ControllerPublishVolumeRequest__Output } from './generated/csi/v1/ControllerPublishVolumeRequest.ts';
import type { ControllerUnpublishVolumeRequest__Output } from './generated/csi/v1/ControllerUnpublishVolumeRequest.ts';
import { type Gate, unary, unlessUnusable } from './handler.ts';
import { provisioningHandlers } from './provisioning.ts';
import { DEVICE_KEY, READONLY_KEY } from './publish-context.ts';
import { accessOf, requireCapability, requireText, volumeOptions } from './request.ts';
import { snapshotHandlers } from './snapshots.ts';

export function controllerHandlers(
  parts: { readonly gate: Gate; readonly log: Logger },
  volumes: VolumeService,
  capabilities: () => Promise<CsiCapabilities>,
) {
  const requireAttach = async (): Promise<void> => {
    if (!(await capabilities()).controller.includes('PUBLISH_UNPUBLISH_VOLUME')) {
      throw new Failure(
        'unsupported',
        'volumes of this driver are not attached by the controller: the driver says attach: false in init, or --attach-on node is set',
      );
    }
  };

  return {
    ControllerGetCapabilities: unary('ControllerGetCapabilities', parts, async () => ({
      capabilities: (await capabilities()).controller.map((type) => ({ rpc: { type } })),
    })),

    ControllerPublishVolume: unary(
      'ControllerPublishVolume',
      parts,
      async (request: ControllerPublishVolumeRequest__Output, { mask, cancelled }) => {
        await requireAttach();
        const volumeId = requireText('volume_id', request.volume_id);
        const nodeId = requireText('node_id', request.node_id);
        const wish = requireCapability('volume_capability', request.volume_capability);
        if (request.readonly && !(await capabilities()).controller.includes('PUBLISH_READONLY')) {
          throw new Failure(
            'invalid-request',
            'readonly needs the capability PUBLISH_READONLY, which this plugin does not have: its driver does not provision',
          );
        }
        const options = volumeOptions(request.volume_context);
        const readOnly = wish.readOnly || request.readonly;
        const use = { ...wish, volumeId, name: volumeId, nodeId, options, readOnly, mask };
        const device = await volumes.attach(use, cancelled);
        const context = { [DEVICE_KEY]: device, ...(request.readonly ? { [READONLY_KEY]: 'true' } : {}) };
        try {
          return { publish_context: checkMap('device and its key', context) };
        } catch (error) {
          // The client never hears of the device: the error may only be final when nothing is attached.
          await undo(error, 'detaching it again failed', () => volumes.detach(volumeId, nodeId));
          throw error;
        }
      },
    ),

    ControllerUnpublishVolume: unary(
      'ControllerUnpublishVolume',
      parts,
      async (request: ControllerUnpublishVolumeRequest__Output, { cancelled }) => {
        // What is attached can be detached also while init fails.
        await requireAttach().catch(unlessUnusable);
        const volumeId = requireText('volume_id', request.volume_id);
        if (request.node_id === '') {
          throw new Failure(
            'invalid-request',
            'node_id is required: FlexVolume detaches a volume from one node, which has to be named',
          );
        }
        await volumes.detach(volumeId, requireText('node_id', request.node_id), cancelled);
        return {};
      },
    ),

    ControllerExpandVolume: unary(
      'ControllerExpandVolume',
      parts,
      async (request: ControllerExpandVolumeRequest__Output, { cancelled }) => {
        const volumeId = requireText('volume_id', request.volume_id);
        const requiredBytes = requireSize(request.capacity_range);
        const access = accessOf(request.volume_capability);
        const grown = await volumes.expandVolume({ volumeId, requiredBytes, ...access }, cancelled);
        return { capacity_bytes: grown.bytes.toString(), node_expansion_required: grown.onNode };
      },
    ),

    ...provisioningHandlers(parts, volumes, capabilities),
    ...snapshotHandlers(parts, volumes, capabilities),
  } satisfies Partial<ControllerHandlers>;
}
