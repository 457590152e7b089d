/** The Controller service of a plain FlexVolume driver: attach, detach, expand. */
import { Failure, undo } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { VolumeService } from '../volume/service.ts';
import type { CsiCapabilities } from './capabilities.ts';
import type { ControllerHandlers } from './generated/csi/v1/Controller.ts';
import type { ControllerExpandVolumeRequest__Output } from './generated/csi/v1/ControllerExpandVolumeRequest.ts';
import type { ControllerPublishVolumeRequest__Output } from './generated/csi/v1/ControllerPublishVolumeRequest.ts';
import type { ControllerUnpublishVolumeRequest__Output } from './generated/csi/v1/ControllerUnpublishVolumeRequest.ts';
import type { ValidateVolumeCapabilitiesRequest__Output } from './generated/csi/v1/ValidateVolumeCapabilitiesRequest.ts';
import { type Gate, unary } from './handler.ts';
import { DEVICE_KEY } from './publish-context.ts';
import { accessOf, requireCapability, requireText, volumeOptions } from './request.ts';

/** What the answers of a CSI plugin may hold in one map (CSI, "Size limits"). */
const MAP_BYTES = 4096;

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
        if (request.readonly) {
          throw new Failure(
            'invalid-request',
            'readonly needs the capability PUBLISH_READONLY, which this plugin does not have',
          );
        }
        const options = volumeOptions(request.volume_context);
        const use = { ...wish, volumeId, name: volumeId, options, mask };
        const device = await volumes.attach(use, nodeId, cancelled);
        if (Buffer.byteLength(DEVICE_KEY) + Buffer.byteLength(device) > MAP_BYTES) {
          // The client never hears of the device: the error may only be final when nothing is attached.
          const failure = new Failure(
            'driver-failed',
            `the device that the driver's attach named has more than ${MAP_BYTES} bytes, which CSI does not allow`,
          );
          await undo(failure, 'detaching it again failed', () => volumes.detach(volumeId, nodeId));
          throw failure;
        }
        return { publish_context: { [DEVICE_KEY]: device } };
      },
    ),

    ControllerUnpublishVolume: unary(
      'ControllerUnpublishVolume',
      parts,
      async (request: ControllerUnpublishVolumeRequest__Output, { cancelled }) => {
        await requireAttach();
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
        const onNode = await volumes.expandVolume({ volumeId, requiredBytes, ...access }, cancelled);
        return { capacity_bytes: requiredBytes.toString(), node_expansion_required: onNode };
      },
    ),

    // A FlexVolume driver cannot be asked whether a volume exists, or what it can: what it can at all is confirmed.
    ValidateVolumeCapabilities: unary(
      'ValidateVolumeCapabilities',
      parts,
      async (request: ValidateVolumeCapabilitiesRequest__Output) => {
        requireText('volume_id', request.volume_id);
        const { volume_capabilities, volume_context, parameters, mutable_parameters } = request;
        if (volume_capabilities.length === 0) {
          throw new Failure('invalid-request', 'volume_capabilities is required');
        }
        const wishes = volume_capabilities.map((one, index) =>
          requireCapability(`volume_capabilities[${index}]`, one),
        );
        const attaches = (await volumes.capabilities()).attach;
        if (!attaches && wishes.some((wish) => wish.access === 'block')) {
          return {
            message: 'raw block volumes need a driver that attaches: this one says attach: false in init',
          };
        }
        return { confirmed: { volume_capabilities, volume_context, parameters, mutable_parameters } };
      },
    ),
  } satisfies Partial<ControllerHandlers>;
}

type CapacityRange = ControllerExpandVolumeRequest__Output['capacity_range'];

/**
 * The size that a capacity range asks for, in bytes.
 *
 * @throws {Failure} `invalid-request` naming the field.
 */
function requireSize(range: CapacityRange): bigint {
  if (range === null) throw new Failure('invalid-request', 'capacity_range is required');
  const size = sizeOf(range);
  if (size === undefined) {
    throw new Failure('invalid-request', 'capacity_range: one of required_bytes and limit_bytes is required');
  }
  return size;
}

/**
 * The size that a capacity range asks for, undefined when it says none.
 *
 * @throws {Failure} `invalid-request` for negative sizes and a limit below what is required.
 */
export function sizeOf(range: NonNullable<CapacityRange>): bigint | undefined {
  const required = BigInt(range.required_bytes);
  const limit = BigInt(range.limit_bytes);
  if (required < 0n || limit < 0n) {
    throw new Failure(
      'invalid-request',
      'capacity_range: required_bytes and limit_bytes must not be negative',
    );
  }
  if (limit !== 0n && required > limit) {
    throw new Failure(
      'invalid-request',
      `capacity_range: required_bytes ${required} is more than limit_bytes ${limit}`,
    );
  }
  if (required !== 0n) return required;
  return limit === 0n ? undefined : limit;
}
