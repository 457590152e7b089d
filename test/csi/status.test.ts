import { status } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { codeOf, type Rpc, statusMessage } from '../../src/csi/status.ts';
import { Failure, type FailureKind } from '../../src/errors.ts';
import { isFinal } from '../../src/volume/final.ts';

const kinds: Record<FailureKind, keyof typeof status> = {
  'invalid-request': 'INVALID_ARGUMENT',
  'not-found': 'NOT_FOUND',
  incompatible: 'ALREADY_EXISTS',
  precondition: 'FAILED_PRECONDITION',
  conflict: 'ABORTED',
  'bad-token': 'ABORTED',
  'node-full': 'RESOURCE_EXHAUSTED',
  unsupported: 'UNIMPLEMENTED',
  'driver-failed': 'INTERNAL',
  'driver-unclear': 'INTERNAL',
  'driver-unusable': 'INTERNAL',
  'driver-timeout': 'DEADLINE_EXCEEDED',
  'host-failed': 'INTERNAL',
  'host-timeout': 'DEADLINE_EXCEEDED',
  busy: 'INTERNAL',
  'expand-unknown': 'INTERNAL',
  'undo-failed': 'UNAVAILABLE',
  draining: 'UNAVAILABLE',
  overloaded: 'UNAVAILABLE',
};

describe('codeOf', () => {
  it.each(Object.entries(kinds))('%s is %s for NodePublishVolume', (kind, code) => {
    expect(status[codeOf('NodePublishVolume', new Failure(kind as FailureKind, ''))]).toBe(code);
  });

  it.each<[Rpc, FailureKind, keyof typeof status]>([
    ['Probe', 'driver-unusable', 'FAILED_PRECONDITION'],
    ['Probe', 'driver-failed', 'FAILED_PRECONDITION'],
    ['NodeGetCapabilities', 'driver-unusable', 'UNAVAILABLE'],
    ['ControllerGetCapabilities', 'driver-unusable', 'UNAVAILABLE'],
    ['GetPluginCapabilities', 'driver-unusable', 'UNAVAILABLE'],
    // FAILED_PRECONDITION would make the resizer give the volume up.
    ['ControllerExpandVolume', 'precondition', 'INTERNAL'],
    ['NodeExpandVolume', 'precondition', 'INTERNAL'],
    ['NodeExpandVolume', 'not-found', 'NOT_FOUND'],
  ])('%s: %s is %s', (rpc, kind, code) => {
    expect(status[codeOf(rpc, new Failure(kind, ''))]).toBe(code);
  });

  it('calls a bug of ours INTERNAL', () => {
    expect(codeOf('NodePublishVolume', new TypeError('x'))).toBe(status.INTERNAL);
  });

  // What kubelet takes for "may still be running" (kubelet: volume/csi, isFinalError).
  const pending = new Set(['CANCELLED', 'DEADLINE_EXCEEDED', 'UNAVAILABLE', 'RESOURCE_EXHAUSTED', 'ABORTED']);
  it.each(Object.keys(kinds) as FailureKind[])('agrees with isFinal on %s', (kind) => {
    const failure = new Failure(kind, '');
    expect(isFinal(failure)).toBe(!pending.has(status[codeOf('NodePublishVolume', failure)] as string));
  });
});

describe('statusMessage', () => {
  it('is one line that gRPC can carry', () => {
    expect(statusMessage('a\n  b\r\nc\0d \ud800')).toBe('a | b | c d \ufffd');
  });

  it('takes no time for a long text of spaces', () => {
    const started = performance.now();
    statusMessage(`key "${' '.repeat(1_000_000)}" is reserved`);
    expect(performance.now() - started).toBeLessThan(1_000);
  });

  it('is bounded, and does not cut a character in two', () => {
    const text = statusMessage('😀'.repeat(5_000));
    expect(text.length).toBeLessThanOrEqual(2_001);
    expect(text.isWellFormed()).toBe(true);
  });
});
