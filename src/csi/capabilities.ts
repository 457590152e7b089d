/** Which CSI capabilities follow from what the driver says in `init`. Pure. */
import type { Capabilities } from '../flex/capabilities.ts';

export type Mode = 'all' | 'controller' | 'node';

export interface Served {
  readonly mode: Mode;
  readonly attachOn: 'controller' | 'node';
}

export interface CsiCapabilities {
  /** Plugin services. */
  readonly services: readonly 'CONTROLLER_SERVICE'[];
  readonly controller: readonly ('PUBLISH_UNPUBLISH_VOLUME' | 'EXPAND_VOLUME' | 'SINGLE_NODE_MULTI_WRITER')[];
  readonly node: readonly (
    | 'STAGE_UNSTAGE_VOLUME'
    | 'GET_VOLUME_STATS'
    | 'EXPAND_VOLUME'
    | 'SINGLE_NODE_MULTI_WRITER'
    | 'VOLUME_MOUNT_GROUP'
  )[];
}

/** True for this very driver: nothing that it cannot do, and all that it can. */
export function csiCapabilities(driver: Capabilities, served: Served): CsiCapabilities {
  const controller = served.mode !== 'node';
  const node = served.mode !== 'controller';
  return {
    services: only([controller, 'CONTROLLER_SERVICE']),
    controller: only(
      [controller && driver.attach && served.attachOn === 'controller', 'PUBLISH_UNPUBLISH_VOLUME'],
      // Kubelet asks every driver to expand, and takes Not supported for success.
      [controller, 'EXPAND_VOLUME'],
      [controller, 'SINGLE_NODE_MULTI_WRITER'],
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
  };
}

function only<Name extends string>(...entries: readonly (readonly [boolean, Name])[]): Name[] {
  return entries.filter(([holds]) => holds).map(([, name]) => name);
}
