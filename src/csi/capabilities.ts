/** Which CSI capabilities follow from what the driver says in `init`. Pure. */
import type { Capabilities } from '../flex/capabilities.ts';
import type { Segments } from '../flex/topology.ts';

export type Mode = 'all' | 'controller' | 'node';

export interface Served {
  readonly mode: Mode;
  readonly attachOn: 'controller' | 'node';
  /** Where the node is; undefined: what the driver says. */
  readonly topology?: Segments;
  /** 0: no limit; undefined: what the driver says. */
  readonly maxVolumesPerNode?: number;
}

export interface CsiCapabilities {
  /** Of the plugin as a whole, whatever this instance of it serves (CSI, GetPluginCapabilities). */
  readonly services: readonly (
    | 'CONTROLLER_SERVICE'
    | 'VOLUME_ACCESSIBILITY_CONSTRAINTS'
    | 'SNAPSHOT_ACCESSIBILITY_CONSTRAINTS'
  )[];
  readonly controller: readonly (
    | 'CREATE_DELETE_VOLUME'
    | 'PUBLISH_UNPUBLISH_VOLUME'
    | 'LIST_VOLUMES'
    | 'GET_CAPACITY'
    | 'CREATE_DELETE_SNAPSHOT'
    | 'LIST_SNAPSHOTS'
    | 'CLONE_VOLUME'
    | 'PUBLISH_READONLY'
    | 'EXPAND_VOLUME'
    | 'LIST_VOLUMES_PUBLISHED_NODES'
    | 'GET_VOLUME'
    | 'SINGLE_NODE_MULTI_WRITER'
    | 'MODIFY_VOLUME'
    | 'GET_SNAPSHOT'
  )[];
  readonly node: readonly (
    | 'STAGE_UNSTAGE_VOLUME'
    | 'GET_VOLUME_STATS'
    | 'EXPAND_VOLUME'
    | 'SINGLE_NODE_MULTI_WRITER'
    | 'VOLUME_MOUNT_GROUP'
  )[];
  /** Where the node is. */
  readonly topology?: Segments | undefined;
  /** 0: no limit. */
  readonly maxVolumesPerNode: number;
}

/** What the Node service says of itself. */
export type NodeCapabilities = Pick<CsiCapabilities, 'node' | 'topology' | 'maxVolumesPerNode'>;

/** True for this very driver: nothing that it cannot do, and all that it can. */
export function csiCapabilities(driver: Capabilities, served: Served): CsiCapabilities {
  const controller = served.mode !== 'node';
  const node = served.mode !== 'controller';
  const { extensions } = driver;
  const topology = served.topology ?? extensions.topology;
  const publishes = controller && driver.attach && served.attachOn === 'controller';
  const has = (extension: boolean): boolean => controller && extension;
  return {
    services: only(
      [true, 'CONTROLLER_SERVICE'],
      [topology !== undefined, 'VOLUME_ACCESSIBILITY_CONSTRAINTS'],
      [topology !== undefined && extensions.snapshot, 'SNAPSHOT_ACCESSIBILITY_CONSTRAINTS'],
    ),
    controller: only(
      [has(extensions.provision), 'CREATE_DELETE_VOLUME'],
      [publishes, 'PUBLISH_UNPUBLISH_VOLUME'],
      [has(extensions.listVolumes), 'LIST_VOLUMES'],
      [has(extensions.getCapacity), 'GET_CAPACITY'],
      [has(extensions.snapshot), 'CREATE_DELETE_SNAPSHOT'],
      [has(extensions.listSnapshots), 'LIST_SNAPSHOTS'],
      [has(extensions.clone), 'CLONE_VOLUME'],
      // A PersistentVolume that was moved from FlexVolume says readOnly at the mount, and attaches as it did.
      [publishes && extensions.provision, 'PUBLISH_READONLY'],
      // Kubelet asks every driver to expand, and takes Not supported for success.
      [controller, 'EXPAND_VOLUME'],
      [publishes && extensions.publishedNodes, 'LIST_VOLUMES_PUBLISHED_NODES'],
      [has(extensions.getVolume || extensions.listVolumes), 'GET_VOLUME'],
      [controller, 'SINGLE_NODE_MULTI_WRITER'],
      [has(extensions.modifyVolume !== 'none'), 'MODIFY_VOLUME'],
      [has(extensions.listSnapshots), 'GET_SNAPSHOT'],
    ),
    node: only(
      [node && driver.attach, 'STAGE_UNSTAGE_VOLUME'],
      // Kubelet had no numbers where init did not ask for them; a driver that does not say no can have them.
      [node && driver.supportsMetrics !== false, 'GET_VOLUME_STATS'],
      [node && driver.requiresFSResize, 'EXPAND_VOLUME'],
      // Always, so that SINGLE_NODE_WRITER, which Kubernetes then uses less, goes on allowing many pods.
      [node, 'SINGLE_NODE_MULTI_WRITER'],
      // Drivers got the group's key whatever they said of fsGroup.
      [node, 'VOLUME_MOUNT_GROUP'],
    ),
    ...(topology === undefined ? {} : { topology }),
    maxVolumesPerNode: served.maxVolumesPerNode ?? extensions.maxVolumesPerNode ?? 0,
  };
}

function only<Name extends string>(...entries: readonly (readonly [boolean, Name])[]): Name[] {
  return entries.filter(([holds]) => holds).map(([, name]) => name);
}
