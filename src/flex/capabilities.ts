/** What a driver says of itself in its answer to `init`. */
import { type Extensions, noExtensions, readExtensions } from './extensions.ts';
import type { Fields } from './fields.ts';

export interface Capabilities {
  readonly attach: boolean;
  readonly selinuxRelabel: boolean;
  readonly fsGroup: boolean;
  readonly requiresFSResize: boolean;
  /** `undefined`: the driver does not say. To kubelet that is false. */
  readonly supportsMetrics: boolean | undefined;
  /** What kubelet does not know, and ignores. */
  readonly extensions: Extensions;
}

/** Kubelet's own defaults, for a driver whose `init` does not mention capabilities. */
export const defaultCapabilities: Capabilities = {
  attach: true,
  selinuxRelabel: true,
  fsGroup: true,
  requiresFSResize: true,
  supportsMetrics: undefined,
  extensions: noExtensions,
};

/**
 * Reads the `capabilities` object; left out or `null`: the defaults. Throws a `Failure` for a capability of
 * the wrong type, as kubelet refuses `"attach": "false"`.
 */
export function readCapabilities(fields: Fields | undefined): Capabilities {
  if (fields === undefined) return defaultCapabilities;
  return {
    attach: fields.boolean('attach') ?? true,
    selinuxRelabel: fields.boolean('selinuxRelabel') ?? true,
    fsGroup: fields.boolean('fsGroup') ?? true,
    requiresFSResize: fields.boolean('requiresFSResize') ?? true,
    supportsMetrics: fields.boolean('supportsMetrics'),
    extensions: readExtensions(fields),
  };
}
