/** The Controller's RPCs on volumes as such: create, delete, describe, list, modify, and the room there is. */
import { Failure } from '../errors.ts';
import type { DescribedVolume } from '../flex/described.ts';
import type { Logger } from '../log.ts';
import type { VolumeService } from '../volume/service.ts';
import { unlessUnusable, volumeMessage } from './answers.ts';
import type { CsiCapabilities } from './capabilities.ts';
import { sizeRange } from './capacity-range.ts';
import type { ControllerHandlers } from './generated/csi/v1/Controller.ts';
import type { ControllerGetVolumeRequest__Output } from './generated/csi/v1/ControllerGetVolumeRequest.ts';
import type { ControllerModifyVolumeRequest__Output } from './generated/csi/v1/ControllerModifyVolumeRequest.ts';
import type { CreateVolumeRequest__Output } from './generated/csi/v1/CreateVolumeRequest.ts';
import type { DeleteVolumeRequest__Output } from './generated/csi/v1/DeleteVolumeRequest.ts';
import type { GetCapacityRequest__Output } from './generated/csi/v1/GetCapacityRequest.ts';
import type { ListVolumesRequest__Output } from './generated/csi/v1/ListVolumesRequest.ts';
import type { ValidateVolumeCapabilitiesRequest__Output } from './generated/csi/v1/ValidateVolumeCapabilitiesRequest.ts';
import type { VolumeCapability__Output } from './generated/csi/v1/VolumeCapability.ts';
import type { VolumeContentSource__Output } from './generated/csi/v1/VolumeContentSource.ts';
import { type Gate, unary } from './handler.ts';
import { pageOf } from './paging.ts';
import {
  checkSecrets,
  ownParameters,
  placesOf,
  requireCapability,
  requireName,
  requireParameters,
  requireText,
  volumeOptions,
} from './request.ts';

export function provisioningHandlers(
  parts: { readonly gate: Gate; readonly log: Logger },
  volumes: VolumeService,
  capabilities: () => Promise<CsiCapabilities>,
) {
  const require = async (name: CsiCapabilities['controller'][number], verb: string): Promise<void> => {
    if (!(await capabilities()).controller.includes(name)) {
      throw new Failure('unsupported', `the driver does not say ${verb}: true in init`);
    }
  };

  /** CSI: a plugin that names places has to say that it does. */
  const placedAsOffered = async (): Promise<(volume: DescribedVolume) => DescribedVolume> => {
    const names = (await capabilities()).services.includes('VOLUME_ACCESSIBILITY_CONSTRAINTS');
    return (volume) => (names ? volume : { ...volume, topology: [] });
  };

  const publishesNodes = async (): Promise<boolean> =>
    (await capabilities()).controller.includes('LIST_VOLUMES_PUBLISHED_NODES');

  /** @throws {Failure} `invalid-request` for values that cannot be changed. */
  const requireMutable = async (changes: Readonly<Record<string, string>>): Promise<void> => {
    const names = Object.keys(changes);
    if (names.length === 0) return;
    const { modifyVolume } = (await volumes.capabilities()).extensions;
    if (modifyVolume === 'any') return;
    const allowed: readonly string[] = modifyVolume === 'none' ? [] : modifyVolume;
    const wrong = names.find((name) => !allowed.includes(name));
    if (wrong === undefined) return;
    throw new Failure(
      'invalid-request',
      `mutable_parameters: ${JSON.stringify(wrong)} cannot be changed; the driver can change ${allowed.join(', ') || 'none'}`,
    );
  };

  return {
    CreateVolume: unary(
      'CreateVolume',
      parts,
      async (request: CreateVolumeRequest__Output, { mask, cancelled }) => {
        await require('CREATE_DELETE_VOLUME', 'provision');
        const name = requireName('name', request.name);
        const wishes = requireCapabilities(request.volume_capabilities);
        await refuseBlockWithoutAttach(volumes, wishes);
        const parameters = requireParameters('parameters', request.parameters);
        const mutable = requireParameters('mutable_parameters', request.mutable_parameters);
        await requireMutable(mutable);
        const source = await sourceOf(request.volume_content_source, await capabilities());
        const secrets = checkSecrets(request.secrets);
        const { requiredBytes, limitBytes } = sizeRange(request.capacity_range);
        const volume = await volumes.provision(
          {
            ...wantedOf(wishes),
            ...(requiredBytes === undefined ? {} : { requestBytes: requiredBytes }),
            ...(limitBytes === undefined ? {} : { limitBytes }),
            ...source,
            name,
            parameters: { ...parameters, ...mutable },
            defaultOptions: ownParameters(parameters),
            topology: placesOf(request.accessibility_requirements),
            secrets,
            mask,
          },
          cancelled,
        );
        return { volume: volumeMessage(name, { ...(await placedAsOffered())(volume), ...source }) };
      },
    ),

    DeleteVolume: unary(
      'DeleteVolume',
      parts,
      async (request: DeleteVolumeRequest__Output, { mask, cancelled }) => {
        await require('CREATE_DELETE_VOLUME', 'provision');
        const volumeId = requireText('volume_id', request.volume_id);
        await volumes.delete({ volumeId, secrets: checkSecrets(request.secrets), mask }, cancelled);
        return {};
      },
    ),

    ControllerModifyVolume: unary(
      'ControllerModifyVolume',
      parts,
      async (request: ControllerModifyVolumeRequest__Output, { mask, cancelled }) => {
        await require('MODIFY_VOLUME', 'modifyvolume');
        const volumeId = requireText('volume_id', request.volume_id);
        const changes = requireParameters('mutable_parameters', request.mutable_parameters);
        await requireMutable(changes);
        const secrets = checkSecrets(request.secrets);
        await volumes.modify({ volumeId, changes, secrets, mask }, cancelled);
        return {};
      },
    ),

    ControllerGetVolume: unary(
      'ControllerGetVolume',
      parts,
      async (request: ControllerGetVolumeRequest__Output) => {
        await require('GET_VOLUME', 'getvolume');
        const volumeId = requireText('volume_id', request.volume_id);
        const volume = await volumes.getVolume(volumeId);
        if (volume === undefined) throw new Failure('not-found', `volume ${volumeId} is not there`);
        const published_node_ids = (await publishesNodes()) ? [...volume.nodes] : [];
        const placed = await placedAsOffered();
        return { volume: volumeMessage(volumeId, placed(volume)), status: { published_node_ids } };
      },
    ),

    ListVolumes: unary('ListVolumes', parts, async (request: ListVolumesRequest__Output) => {
      await require('LIST_VOLUMES', 'listvolumes');
      const shows = await publishesNodes();
      const placed = await placedAsOffered();
      return pageOf(
        await volumes.listVolumes(),
        ({ id }) => id,
        (listed) =>
          unlessUnusable(parts.log, 'volume', listed.id, () => {
            const volume = placed(listed.read());
            const status = shows ? { status: { published_node_ids: [...volume.nodes] } } : {};
            return { volume: volumeMessage(listed.id, volume), ...status };
          }),
        request,
      );
    }),

    GetCapacity: unary('GetCapacity', parts, async (request: GetCapacityRequest__Output) => {
      await require('GET_CAPACITY', 'getcapacity');
      const wishes = request.volume_capabilities.map((one, index) =>
        requireCapability(`volume_capabilities[${index}]`, one),
      );
      const parameters = requireParameters('parameters', request.parameters);
      const place = request.accessible_topology;
      const topology = place === null ? [] : placesOf({ requisite: [place], preferred: [] });
      const room = await volumes.getCapacity({ ...wantedOf(wishes), parameters, topology });
      return {
        available_capacity: String(room.availableBytes),
        ...(room.maxVolumeBytes === undefined
          ? {}
          : { maximum_volume_size: { value: String(room.maxVolumeBytes) } }),
        ...(room.minVolumeBytes === undefined
          ? {}
          : { minimum_volume_size: { value: String(room.minVolumeBytes) } }),
      };
    }),

    // What a driver can at all is confirmed; whether the volume is there, only where the driver can be asked.
    ValidateVolumeCapabilities: unary(
      'ValidateVolumeCapabilities',
      parts,
      async (request: ValidateVolumeCapabilitiesRequest__Output) => {
        const volumeId = requireText('volume_id', request.volume_id);
        const { volume_capabilities, volume_context, parameters, mutable_parameters } = request;
        const wishes = requireCapabilities(volume_capabilities);
        const options = Object.keys(volume_context).length === 0 ? undefined : volumeOptions(volume_context);
        await volumes.getVolume(volumeId, options);
        const attaches = (await volumes.capabilities()).attach;
        if (!attaches && wishes.some((wish) => wish.access === 'block')) {
          return { message: noBlock };
        }
        return { confirmed: { volume_capabilities, volume_context, parameters, mutable_parameters } };
      },
    ),
  } satisfies Partial<ControllerHandlers>;
}

const noBlock = 'raw block volumes need a driver that attaches: this one says attach: false in init';

type Wishes = ReturnType<typeof requireCapability>[];

/** @throws {Failure} `invalid-request` naming the field. */
function requireCapabilities(all: VolumeCapability__Output[]): Wishes {
  if (all.length === 0) throw new Failure('invalid-request', 'volume_capabilities is required');
  return all.map((one, index) => requireCapability(`volume_capabilities[${index}]`, one));
}

async function refuseBlockWithoutAttach(volumes: VolumeService, wishes: Wishes): Promise<void> {
  if (!wishes.some(({ access }) => access === 'block')) return;
  if (!(await volumes.capabilities()).attach) {
    throw new Failure('invalid-request', `volume_capabilities: ${noBlock}`);
  }
}

/** What several capabilities ask for together: what they agree on, or the first of them says. */
function wantedOf(wishes: Wishes) {
  const kinds = [...new Set(wishes.map(({ access }) => access))];
  return {
    fsType: wishes.map(({ fsType }) => fsType).find((fsType) => fsType !== '') ?? '',
    ...(kinds.length === 1 && kinds[0] !== undefined ? { access: kinds[0] } : {}),
    accessModes: [...new Set(wishes.map(({ mode }) => mode))],
    mountFlags: wishes.map(({ mountFlags }) => mountFlags).find((flags) => flags.length > 0) ?? [],
  };
}

/** @throws {Failure} `invalid-request` for a source that this driver cannot use. */
async function sourceOf(
  source: VolumeContentSource__Output | null,
  { controller }: CsiCapabilities,
): Promise<{ sourceVolume?: string; sourceSnapshot?: string }> {
  if (source === null) return {};
  if (source.snapshot) {
    if (!controller.includes('CREATE_DELETE_SNAPSHOT')) {
      throw new Failure(
        'invalid-request',
        'volume_content_source.snapshot: the driver does not say snapshot: true in init',
      );
    }
    const id = requireText('volume_content_source.snapshot.snapshot_id', source.snapshot.snapshot_id);
    return { sourceSnapshot: id };
  }
  if (source.volume) {
    if (!controller.includes('CLONE_VOLUME')) {
      throw new Failure(
        'invalid-request',
        'volume_content_source.volume: the driver does not say clone: true in init',
      );
    }
    return {
      sourceVolume: requireText('volume_content_source.volume.volume_id', source.volume.volume_id),
    };
  }
  throw new Failure('invalid-request', 'volume_content_source: one of snapshot and volume is required');
}
