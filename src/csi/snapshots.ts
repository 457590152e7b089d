/** The Controller's RPCs on snapshots. */
import { Failure } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { VolumeService } from '../volume/service.ts';
import { snapshotMessage, unlessUnusable } from './answers.ts';
import type { CsiCapabilities } from './capabilities.ts';
import type { ControllerHandlers } from './generated/csi/v1/Controller.ts';
import type { CreateSnapshotRequest__Output } from './generated/csi/v1/CreateSnapshotRequest.ts';
import type { DeleteSnapshotRequest__Output } from './generated/csi/v1/DeleteSnapshotRequest.ts';
import type { GetSnapshotRequest__Output } from './generated/csi/v1/GetSnapshotRequest.ts';
import type { ListSnapshotsRequest__Output } from './generated/csi/v1/ListSnapshotsRequest.ts';
import { type Gate, unary } from './handler.ts';
import { pageOf } from './paging.ts';
import { checkSecrets, placesOf, requireName, requireParameters, requireText } from './request.ts';

export function snapshotHandlers(
  parts: { readonly gate: Gate; readonly log: Logger },
  volumes: VolumeService,
  capabilities: () => Promise<CsiCapabilities>,
) {
  const require = async (name: CsiCapabilities['controller'][number], verb: string): Promise<void> => {
    if (!(await capabilities()).controller.includes(name)) {
      throw new Failure('unsupported', `the driver does not say ${verb}: true in init`);
    }
  };

  return {
    CreateSnapshot: unary(
      'CreateSnapshot',
      parts,
      async (request: CreateSnapshotRequest__Output, { mask, cancelled }) => {
        await require('CREATE_DELETE_SNAPSHOT', 'snapshot');
        const volumeId = requireText('source_volume_id', request.source_volume_id);
        const name = requireName('name', request.name);
        const parameters = requireParameters('parameters', request.parameters);
        const topology = placesOf(request.accessibility_requirements);
        const secrets = checkSecrets(request.secrets);
        const snapshot = await volumes.createSnapshot(
          { volumeId, name, parameters, topology, secrets, mask },
          cancelled,
        );
        return { snapshot: snapshotMessage(snapshot) };
      },
    ),

    DeleteSnapshot: unary(
      'DeleteSnapshot',
      parts,
      async (request: DeleteSnapshotRequest__Output, { mask, cancelled }) => {
        await require('CREATE_DELETE_SNAPSHOT', 'snapshot');
        const snapshotId = requireText('snapshot_id', request.snapshot_id);
        await volumes.deleteSnapshot({ snapshotId, secrets: checkSecrets(request.secrets), mask }, cancelled);
        return {};
      },
    ),

    ListSnapshots: unary('ListSnapshots', parts, async (request: ListSnapshotsRequest__Output, { mask }) => {
      await require('LIST_SNAPSHOTS', 'listsnapshots');
      const { snapshot_id, source_volume_id } = request;
      const all = await volumes.listSnapshots({ secrets: checkSecrets(request.secrets), mask });
      return pageOf(
        all.filter(({ id }) => snapshot_id === '' || snapshot_id === id),
        ({ id }) => id,
        (listed) =>
          unlessUnusable(parts.log, 'snapshot', listed.id, () => {
            const snapshot = listed.read();
            const isWanted = source_volume_id === '' || source_volume_id === snapshot.sourceVolume;
            return isWanted ? { snapshot: snapshotMessage(snapshot) } : undefined;
          }),
        request,
      );
    }),

    GetSnapshot: unary('GetSnapshot', parts, async (request: GetSnapshotRequest__Output, { mask }) => {
      await require('GET_SNAPSHOT', 'listsnapshots');
      const id = requireText('snapshot_id', request.snapshot_id);
      const all = await volumes.listSnapshots({ secrets: checkSecrets(request.secrets), mask });
      const snapshot = all.find((listed) => listed.id === id)?.read();
      if (snapshot === undefined) throw new Failure('not-found', `snapshot ${id} is not there`);
      return { snapshot: snapshotMessage(snapshot) };
    }),
  } satisfies Partial<ControllerHandlers>;
}
