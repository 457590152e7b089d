/** The Identity service: who serves, and what it can. */

import type { Logger } from '../log.ts';
import type { CsiCapabilities } from './capabilities.ts';
import type { IdentityHandlers } from './generated/csi/v1/Identity.ts';
import { type Gate, unary } from './handler.ts';

export interface PluginDescription {
  /** The CSI name. */
  readonly name: string;
  readonly version: string;
  /** The driver's FlexVolume name and where it is, for people who look. */
  readonly manifest: Readonly<Record<string, string>>;
}

/** `capabilities` reads them from the driver's `init`, anew when the driver has changed; it fails while init does. */
export function identityHandlers(
  parts: { readonly gate: Gate; readonly log: Logger },
  plugin: PluginDescription,
  capabilities: () => Promise<CsiCapabilities>,
) {
  return {
    GetPluginInfo: unary('GetPluginInfo', parts, async () => ({
      name: plugin.name,
      vendor_version: plugin.version,
      manifest: plugin.manifest,
    })),

    GetPluginCapabilities: unary('GetPluginCapabilities', parts, async () => {
      const { services } = await capabilities();
      return {
        capabilities: [
          ...services.map((type) => ({ service: { type } })),
          // The controller always expands.
          { volume_expansion: { type: 'ONLINE' as const } },
        ],
      };
    }),

    Probe: unary('Probe', parts, async () => {
      await capabilities();
      return { ready: { value: true } };
    }),
  } satisfies IdentityHandlers;
}
