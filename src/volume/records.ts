/** The shape of what flexcsi remembers on this node. No field ever holds a secret. */
import { z } from 'zod';

/**
 * A map with any keys is stored as a list of pairs: `JSON.parse` of Node 26 (V8 14.6) takes a key that ends in
 * an escape for a similar one that it has seen at that place before, `"a\""` for `"a\\"`.
 */
export function mapOf<Value extends z.ZodType>(value: Value) {
  // The values are left to the record: checked by both, one that is such a map itself would be decoded twice.
  return z.codec(z.array(z.tuple([z.string(), z.unknown()])), z.record(z.string(), value), {
    decode: (pairs) => Object.fromEntries(pairs) as Record<string, z.input<Value>>,
    encode: (map) => Object.entries(map),
  });
}

const useSchema = z.object({
  /** The boot in which this was written; mounts and devices of another boot are gone. */
  boot: z.string(),
  options: mapOf(z.string()),
  fsType: z.string(),
  access: z.enum(['mount', 'block']),
  /** The device of the last `waitforattach`; empty when the driver names none. */
  device: z.string().optional(),
});

/** A volume that is staged or published here. */
export const volumeRecordSchema = useSchema.extend({
  stagingPath: z.string().optional(),
  /** Whether staging left a mount at the staging path. A driver whose `mount` does it all leaves none. */
  stageMounted: z.boolean().optional(),
  /** By target path. `mountPoint`: the target as the mount table spells it (its parents may be symbolic links). */
  targets: mapOf(
    z.object({
      readOnly: z.boolean(),
      mountPoint: z.string(),
      /** Whether publishing left a mount there; a driver that only writes files leaves none. */
      mounted: z.boolean().optional(),
    }),
  ),
});

export type VolumeRecord = z.infer<typeof volumeRecordSchema>;

/** A volume as CreateVolume made it, by its name. */
export const provisionRecordSchema = z.object({
  parameters: mapOf(z.string()),
  options: mapOf(z.string()),
  fsType: z.string(),
  /** As it was made, or last expanded. */
  capacityBytes: z
    .codec(z.string(), z.bigint(), { decode: (text) => BigInt(text), encode: String })
    .optional(),
  access: z.enum(['mount', 'block']).optional(),
  sourceVolume: z.string().optional(),
  sourceSnapshot: z.string().optional(),
});

export type ProvisionRecord = z.infer<typeof provisionRecordSchema>;

const attachedVolumeSchema = z.object({
  options: mapOf(z.string()),
  fsType: z.string(),
  readOnly: z.boolean(),
  access: z.enum(['mount', 'block']),
});

/** How a volume is attached to a node. */
export type AttachedVolume = z.infer<typeof attachedVolumeSchema>;

/** Where the controller has attached a volume, by node. */
export const attachedSchema = z.object({ nodes: mapOf(attachedVolumeSchema) });

export type Attached = z.infer<typeof attachedSchema>;

/** The device of an ephemeral volume of an attaching driver, by the volume's name in its pods. */
export const sharedDeviceSchema = useSchema.extend({
  readOnly: z.boolean(),
  /** The target paths that use it. */
  holders: z.array(z.string()),
});

export type SharedDevice = z.infer<typeof sharedDeviceSchema>;
