/** CapacityRange: how large a volume may and must be. Pure. */
import { Failure } from '../errors.ts';
import type { CapacityRange__Output } from './generated/csi/v1/CapacityRange.ts';

export interface SizeRange {
  /** What is asked for: what is required, or the limit where that alone is set. Undefined: nothing is. */
  readonly requestBytes?: bigint;
  readonly requiredBytes?: bigint;
  readonly limitBytes?: bigint;
}

/**
 * The sizes that a range names, in bytes.
 *
 * @throws {Failure} `invalid-request` for negative sizes and a limit below what is required.
 */
export function sizeRange(range: CapacityRange__Output | null): SizeRange {
  if (range === null) return {};
  const required = BigInt(range.required_bytes);
  const limit = BigInt(range.limit_bytes);
  if (required < 0n || limit < 0n) {
    throw new Failure(
      'invalid-request',
      'capacity_range: required_bytes and limit_bytes must not be negative',
    );
  }
  if (limit !== 0n && required > limit) {
    throw new Failure(
      'invalid-request',
      `capacity_range: required_bytes ${required} is more than limit_bytes ${limit}`,
    );
  }
  const request = required === 0n ? limit : required;
  return {
    ...(request === 0n ? {} : { requestBytes: request }),
    ...(required === 0n ? {} : { requiredBytes: required }),
    ...(limit === 0n ? {} : { limitBytes: limit }),
  };
}

/**
 * The size that a required range asks for, in bytes.
 *
 * @throws {Failure} `invalid-request` naming the field.
 */
export function requireSize(range: CapacityRange__Output | null): bigint {
  if (range === null) throw new Failure('invalid-request', 'capacity_range is required');
  const { requestBytes } = sizeRange(range);
  if (requestBytes !== undefined) return requestBytes;
  throw new Failure('invalid-request', 'capacity_range: one of required_bytes and limit_bytes is required');
}
