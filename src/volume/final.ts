import { Failure, type FailureKind } from '../errors.ts';

/**
 * Kinds whose gRPC code tells kubelet "it may still be running" (see `csi/status.ts`): it will come back or
 * clean up. All others are final: kubelet then takes it that nothing is mounted or attached.
 */
const pending: ReadonlySet<FailureKind> = new Set([
  'conflict',
  'driver-timeout',
  'host-timeout',
  'undo-failed',
  'draining',
  'overloaded',
  'node-full',
  'bad-token',
]);

/** The same of the codes that drivers give their failures. */
const pendingCodes: ReadonlySet<string> = new Set([
  'CANCELLED',
  'DEADLINE_EXCEEDED',
  'UNAVAILABLE',
  'RESOURCE_EXHAUSTED',
  'ABORTED',
]);

/** Whether kubelet will take this error for final. */
export function isFinal(error: unknown): boolean {
  if (!(error instanceof Failure)) return true;
  return !(error.code === undefined ? pending.has(error.kind) : pendingCodes.has(error.code));
}
