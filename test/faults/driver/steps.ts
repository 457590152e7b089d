/** What a CSI client does with a volume, and how it takes that back. */
import type { Role, World } from './world.ts';

export interface CallOptions {
  readonly deadlineMs: number;
}

export type Rpc = (world: World, options?: CallOptions) => Promise<unknown>;

/** Something that is done, and undone later. */
export interface Step {
  readonly up: Rpc;
  readonly down: Rpc;
}

/** For calls that have to end by themselves. */
const patient: CallOptions = { deadlineMs: 180_000 };
const capability = { mount: { fs_type: 'ext4' }, access_mode: { mode: 'SINGLE_NODE_WRITER' as const } };
/** Kubelet's id of an in-line volume; the driver knows it by the name in its target path. */
const IN_LINE = `csi-${'5'.repeat(64)}`;

export const created: Step = {
  up: (world, options = patient) =>
    world.client.controller(
      'CreateVolume',
      {
        name: world.volume('victim'),
        volume_capabilities: [capability],
        capacity_range: { required_bytes: 1024 },
      },
      options,
    ),
  down: (world, options = patient) =>
    world.client.controller('DeleteVolume', { volume_id: world.volume('victim') }, options),
};

export const attached = attaching('victim');
export const staged = staging('victim');
export const published = publishing('victim');
/** Another volume of the same driver, from attach to detach. */
export const otherSteps: readonly Step[] = [attaching('other'), staging('other'), publishing('other')];

function attaching(role: Role): Step {
  return {
    up: (world, options = patient) =>
      world.client.controller(
        'ControllerPublishVolume',
        { volume_id: world.volume(role), node_id: world.nodeId, volume_capability: capability },
        options,
      ),
    down: (world, options = patient) =>
      world.client.controller(
        'ControllerUnpublishVolume',
        { volume_id: world.volume(role), node_id: world.nodeId },
        options,
      ),
  };
}

function staging(role: Role): Step {
  const place = (world: World) => ({
    volume_id: world.volume(role),
    staging_target_path: world.staging(role),
  });
  return {
    up: (world, options = patient) =>
      world.client.node(
        'NodeStageVolume',
        {
          ...place(world),
          publish_context: { device: `/dev/flexcsi-fault/${world.volume(role)}` },
          volume_capability: capability,
        },
        options,
      ),
    down: (world, options = patient) => world.client.node('NodeUnstageVolume', place(world), options),
  };
}

function publishing(role: Role): Step {
  return {
    up: (world, options = patient) =>
      world.client.node(
        'NodePublishVolume',
        {
          volume_id: world.volume(role),
          target_path: world.target(role),
          staging_target_path: world.staging(role),
          publish_context: { device: `/dev/flexcsi-fault/${world.volume(role)}` },
          volume_capability: capability,
        },
        options,
      ),
    down: (world, options = patient) =>
      world.client.node(
        'NodeUnpublishVolume',
        { volume_id: world.volume(role), target_path: world.target(role) },
        options,
      ),
  };
}

/** A volume in a pod's own description: attached, staged and mounted by NodePublishVolume alone. */
export const inLine: Step = {
  up: (world, options = patient) =>
    world.client.node(
      'NodePublishVolume',
      {
        volume_id: IN_LINE,
        target_path: world.target('victim'),
        volume_capability: capability,
        volume_context: { 'csi.storage.k8s.io/ephemeral': 'true' },
      },
      options,
    ),
  down: (world, options = patient) =>
    world.client.node(
      'NodeUnpublishVolume',
      { volume_id: IN_LINE, target_path: world.target('victim') },
      options,
    ),
};

export const snapshotted: Step = {
  up: (world, options = patient) =>
    world.client.controller(
      'CreateSnapshot',
      { name: 'victim-snap', source_volume_id: world.volume('victim') },
      options,
    ),
  down: (world, options = patient) =>
    world.client.controller('DeleteSnapshot', { snapshot_id: 'victim-snap' }, options),
};

const bigger = { required_bytes: 2 * 1024 * 1024 };

export const probe: Rpc = (world, options = patient) => world.client.identity('Probe', {}, options);
export const getVolume: Rpc = (world, options = patient) =>
  world.client.controller('ControllerGetVolume', { volume_id: world.volume('victim') }, options);
export const listVolumes: Rpc = (world, options = patient) =>
  world.client.controller('ListVolumes', {}, options);
export const listSnapshots: Rpc = (world, options = patient) =>
  world.client.controller('ListSnapshots', {}, options);
export const getCapacity: Rpc = (world, options = patient) =>
  world.client.controller('GetCapacity', {}, options);
export const modifyVolume: Rpc = (world, options = patient) =>
  world.client.controller(
    'ControllerModifyVolume',
    { volume_id: world.volume('victim'), mutable_parameters: { iops: '500' } },
    options,
  );
export const expandVolume: Rpc = (world, options = patient) =>
  world.client.controller(
    'ControllerExpandVolume',
    { volume_id: world.volume('victim'), capacity_range: bigger },
    options,
  );
export const expandFileSystem: Rpc = (world, options = patient) =>
  world.client.node(
    'NodeExpandVolume',
    { volume_id: world.volume('victim'), volume_path: world.target('victim'), capacity_range: bigger },
    options,
  );
/** Numbers of the other volume: neither lock nor driver stands between them and the client. */
export const otherStats: Rpc = (world, options = patient) =>
  world.client.node(
    'NodeGetVolumeStats',
    { volume_id: world.volume('other'), volume_path: world.target('other') },
    options,
  );
