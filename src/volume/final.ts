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
]);

/** Whether kubelet will take this error for final. */
export function isFinal(error: unknown): boolean {
  return !(error instanceof Failure && pending.has(error.kind));
}
