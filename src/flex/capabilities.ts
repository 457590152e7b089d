/** What a driver says of itself in its answer to `init`. */
import { type Fields, foldName } from './fields.ts';

export interface Capabilities {
  readonly attach: boolean;
  readonly selinuxRelabel: boolean;
  readonly fsGroup: boolean;
  readonly requiresFSResize: boolean;
  /** `undefined`: the driver does not say. To kubelet that is false. */
  readonly supportsMetrics: boolean | undefined;
  /** Capabilities that kubelet does not know, by name as `extension` looks them up. */
  readonly extensions: ReadonlyMap<string, boolean | string>;
}

/** Kubelet's own defaults, for a driver whose `init` does not mention capabilities. */
export const defaultCapabilities: Capabilities = {
  attach: true,
  selinuxRelabel: true,
  fsGroup: true,
  requiresFSResize: true,
  supportsMetrics: undefined,
  extensions: new Map(),
};

const kubeletNames: ReadonlySet<string> = new Set(
  ['attach', 'selinuxRelabel', 'fsGroup', 'requiresFSResize', 'supportsMetrics'].map(foldName),
);

/**
 * Reads the `capabilities` object; left out or `null`: the defaults. Throws a `Failure` for a capability of
 * the wrong type, as kubelet refuses `"attach": "false"`. An extension of a type that none has is ignored, as
 * kubelet ignores all of them: the same driver must go on running under both.
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

/** The value of a capability beyond kubelet's, without regard to case: `extension(capabilities, 'snapshot')`. */
export function extension(capabilities: Capabilities, name: string): boolean | string | undefined {
  return capabilities.extensions.get(foldName(name));
}

function readExtensions(fields: Fields): ReadonlyMap<string, boolean | string> {
  const extensions = new Map<string, boolean | string>();
  for (const name of fields.names()) {
    if (kubeletNames.has(name)) continue;
    for (const value of fields.values(name)) {
      if (typeof value === 'boolean' || typeof value === 'string') extensions.set(name, value);
    }
  }
  return extensions;
}
