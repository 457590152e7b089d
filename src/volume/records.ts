/** The shape of what flexcsi remembers on this node. No field ever holds a secret. */
import { z } from 'zod';

/**
 * A map with any keys is stored as a list of pairs: `JSON.parse` of Node 26 (V8 14.6) takes a key that ends in
 * an escape for a similar one that it has seen at that place before, `"a\""` for `"a\\"`.
 */
function mapOf<Value extends z.ZodType>(value: Value) {
  return z.codec(z.array(z.tuple([z.string(), value])), z.record(z.string(), value), {
    decode: (pairs) => Object.fromEntries(pairs),
    encode: (map) => Object.entries(map) as [string, z.output<Value>][],
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
  targets: mapOf(z.object({ readOnly: z.boolean(), mountPoint: z.string() })),
});

export type VolumeRecord = z.infer<typeof volumeRecordSchema>;

/** The device of an ephemeral volume of an attaching driver, by the volume's name in its pods. */
export const sharedDeviceSchema = useSchema.extend({
  readOnly: z.boolean(),
  /** The target paths that use it. */
  holders: z.array(z.string()),
});

export type SharedDevice = z.infer<typeof sharedDeviceSchema>;
