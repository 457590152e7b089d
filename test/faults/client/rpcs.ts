/** The RPCs that a driver works for, as data: what comes before each, its request, and the driver's verb. */
import type { MethodDefinition } from '@grpc/grpc-js';
import { csi } from '../../../src/csi/proto.ts';
import type { CallOptions } from '../../support/csi-client.ts';
import type { SiteOptions } from '../support/site.ts';
import { capability, NO_HURRY, NODE, type Volume } from '../support/volume.ts';

const MIB = 1024 * 1024;

export interface DriverRpc {
  readonly call: string;
  readonly options: SiteOptions;
  readonly service: 'Controller' | 'Node';
  readonly name: string;
  /** What comes before it in a volume's life. */
  before(volume: Volume): Promise<void>;
  request(volume: Volume): object;
  /** What runs for it, and for what. */
  readonly verb: string;
  about(volume: Volume): string;
}

const nothing = async (): Promise<void> => {};
const idOf = (volume: Volume): string => volume.id;
const attaches = { attaches: true };

export const rpcs: readonly DriverRpc[] = [
  {
    ...{ call: 'create', options: {}, service: 'Controller', name: 'CreateVolume', verb: 'provision' },
    before: nothing,
    request: ({ id }) => ({
      name: id,
      volume_capabilities: [capability],
      parameters: { pool: 'a' },
      capacity_range: { required_bytes: MIB },
    }),
    about: idOf,
  },
  {
    ...{ call: 'delete', options: {}, service: 'Controller', name: 'DeleteVolume', verb: 'delete' },
    before: nothing,
    request: ({ id }) => ({ volume_id: id }),
    about: idOf,
  },
  {
    ...{
      call: 'attach',
      options: attaches,
      service: 'Controller',
      name: 'ControllerPublishVolume',
      verb: 'attach',
    },
    before: nothing,
    request: ({ id, options }) => ({
      volume_id: id,
      node_id: NODE,
      volume_capability: capability,
      volume_context: options,
    }),
    about: idOf,
  },
  {
    ...{
      call: 'detach',
      options: attaches,
      service: 'Controller',
      name: 'ControllerUnpublishVolume',
      verb: 'detach',
    },
    before: async (volume) => void (await volume.attach()),
    request: ({ id }) => ({ volume_id: id, node_id: NODE }),
    about: idOf,
  },
  {
    ...{ call: 'stage', options: attaches, service: 'Node', name: 'NodeStageVolume', verb: 'mountdevice' },
    before: async (volume) => void (await volume.attach()),
    request: (volume) => volume.stageRequest(),
    about: idOf,
  },
  {
    ...{
      call: 'unstage',
      options: attaches,
      service: 'Node',
      name: 'NodeUnstageVolume',
      verb: 'unmountdevice',
    },
    before: async (volume) => {
      await volume.attach();
      await volume.stage();
    },
    request: ({ id, staging }) => ({ volume_id: id, staging_target_path: staging }),
    about: ({ staging }) => staging,
  },
  {
    ...{ call: 'publish', options: {}, service: 'Node', name: 'NodePublishVolume', verb: 'mount' },
    before: nothing,
    request: (volume) => volume.publishRequest(),
    about: idOf,
  },
  {
    ...{ call: 'unpublish', options: {}, service: 'Node', name: 'NodeUnpublishVolume', verb: 'unmount' },
    before: (volume) => volume.up(),
    request: ({ id, target }) => ({ volume_id: id, target_path: target }),
    about: ({ target }) => target,
  },
  {
    ...{ call: 'expand', options: {}, service: 'Node', name: 'NodeExpandVolume', verb: 'expandfs' },
    before: (volume) => volume.up(),
    request: ({ id, target }) => ({
      volume_id: id,
      volume_path: target,
      capacity_range: { required_bytes: 2 * MIB },
    }),
    about: idOf,
  },
  {
    ...{
      call: 'expand, controller',
      options: {},
      service: 'Controller',
      name: 'ControllerExpandVolume',
      verb: 'expandvolume',
    },
    before: async (volume) => void (await volume.create()),
    request: ({ id }) => ({ volume_id: id, capacity_range: { required_bytes: 2 * MIB } }),
    about: idOf,
  },
];

/** Sends the RPC through the usual client. */
export function send(rpc: DriverRpc, volume: Volume, options: CallOptions = {}): Promise<unknown> {
  const { client } = volume;
  const args = [rpc.name as never, rpc.request(volume) as never, { ...NO_HURRY, ...options }] as const;
  return rpc.service === 'Node' ? client.node(...args) : client.controller(...args);
}

/** The RPC as it goes over the wire: its path, and its request without gRPC's frame. */
export function onTheWire(
  service: 'Identity' | 'Controller' | 'Node',
  name: string,
  request: object,
): { path: string; message: Buffer } {
  const methods = csi[service].service as unknown as Record<string, MethodDefinition<object, object>>;
  const method = methods[name];
  if (method === undefined) throw new Error(`${service} has no RPC ${name}`);
  return { path: method.path, message: method.requestSerialize(request) };
}
