/** From what went wrong to the gRPC code, per RPC. The only place that chooses codes. */
import { status } from '@grpc/grpc-js';
import { Failure, type FailureKind } from '../errors.ts';

export type Rpc =
  | 'Probe'
  | 'GetPluginInfo'
  | 'GetPluginCapabilities'
  | 'ControllerGetCapabilities'
  | 'ValidateVolumeCapabilities'
  | 'ControllerPublishVolume'
  | 'ControllerUnpublishVolume'
  | 'ControllerExpandVolume'
  | 'ControllerGetVolume'
  | 'ControllerModifyVolume'
  | 'CreateVolume'
  | 'DeleteVolume'
  | 'ListVolumes'
  | 'GetCapacity'
  | 'CreateSnapshot'
  | 'DeleteSnapshot'
  | 'ListSnapshots'
  | 'GetSnapshot'
  | 'NodeGetCapabilities'
  | 'NodeGetInfo'
  | 'NodeStageVolume'
  | 'NodeUnstageVolume'
  | 'NodePublishVolume'
  | 'NodeUnpublishVolume'
  | 'NodeGetVolumeStats'
  | 'NodeExpandVolume';

type Codes = Readonly<Record<FailureKind, status>>;

/**
 * Kubelet and the sidecars take CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE, RESOURCE_EXHAUSTED and ABORTED for
 * "may still be running" and all others for final. `volume/final.ts` lists the kinds that are not final; the
 * test of this table holds the two together.
 */
const usual: Codes = {
  'invalid-request': status.INVALID_ARGUMENT,
  'not-found': status.NOT_FOUND,
  incompatible: status.ALREADY_EXISTS,
  precondition: status.FAILED_PRECONDITION,
  conflict: status.ABORTED,
  'bad-token': status.ABORTED,
  'node-full': status.RESOURCE_EXHAUSTED,
  unsupported: status.UNIMPLEMENTED,
  'driver-failed': status.INTERNAL,
  'driver-unclear': status.INTERNAL,
  'driver-unusable': status.INTERNAL,
  'driver-timeout': status.DEADLINE_EXCEEDED,
  'host-failed': status.INTERNAL,
  'host-timeout': status.DEADLINE_EXCEEDED,
  busy: status.INTERNAL,
  'expand-unknown': status.INTERNAL,
  'undo-failed': status.UNAVAILABLE,
  draining: status.UNAVAILABLE,
  overloaded: status.UNAVAILABLE,
};

/** The resizer gives a volume up for good on INVALID_ARGUMENT, NOT_FOUND, OUT_OF_RANGE and FAILED_PRECONDITION. */
const expansion: Codes = { ...usual, precondition: status.INTERNAL };

/** Without `init` nothing can be told of the driver: its callers ask again. */
const description: Codes = { ...usual, 'driver-unusable': status.UNAVAILABLE };

const special: Readonly<Partial<Record<Rpc, Codes>>> = {
  // CSI: FAILED_PRECONDITION is "not healthy", and "a needed dependency is missing".
  Probe: {
    ...usual,
    'driver-failed': status.FAILED_PRECONDITION,
    'driver-unclear': status.FAILED_PRECONDITION,
    'driver-unusable': status.FAILED_PRECONDITION,
  },
  GetPluginCapabilities: description,
  ControllerGetCapabilities: description,
  NodeGetCapabilities: description,
  NodeGetInfo: description,
  ControllerExpandVolume: expansion,
  NodeExpandVolume: expansion,
};

/**
 * The gRPC code of a failure in this RPC: the driver's own, where it has one. What is not a Failure is a bug of
 * ours: INTERNAL.
 */
export function codeOf(rpc: Rpc, error: unknown): status {
  if (!(error instanceof Failure)) return status.INTERNAL;
  const said = error.code === undefined ? undefined : status[error.code as keyof typeof status];
  if (said !== undefined) return said;
  return (special[rpc] ?? usual)[error.kind];
}

/** Bytes of a status message; gRPC sends it in a header. */
const MESSAGE_LIMIT = 2000;

/** One line that gRPC can carry: no control characters, well-formed, bounded. The text is masked already. */
export function statusMessage(text: string): string {
  // Cut first: what clients put into a message may be long, and nothing below may take long for it.
  const line = text
    .slice(0, 4 * MESSAGE_LIMIT)
    .split(/[\r\n]+/)
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .join(' | ')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
    .replace(/[\u0000-\u001f\u007f]/g, ' ')
    .toWellFormed();
  return line.length > MESSAGE_LIMIT ? `${line.slice(0, MESSAGE_LIMIT).toWellFormed()}…` : line;
}
