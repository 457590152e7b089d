/** What is read of the objects of the Kubernetes API. Pure. */
import { z } from 'zod';
import { quantityBytes } from './quantity.ts';

/** A PersistentVolume; `csi` is undefined for volumes of other kinds. */
export interface PersistentVolume {
  readonly name: string;
  readonly isBound: boolean;
  readonly csi?: {
    readonly driver: string;
    readonly handle: string;
    /** Empty: not said. */
    readonly fsType: string;
    readonly attributes: Readonly<Record<string, string>>;
  };
  /** Undefined where it says none that could be a size. */
  readonly capacityBytes?: bigint;
  /** The claim to which it is bound. */
  readonly claim?: { readonly namespace: string; readonly name: string; readonly uid: string };
}

const capacity = z
  .object({ storage: z.string().optional() })
  .nullish()
  .transform((given) => (given?.storage === undefined ? undefined : quantityBytes(given.storage)));

/** Not `z.record`: that loses a key `__proto__`. */
const attributes = z.custom<Readonly<Record<string, string>>>(
  (given) =>
    typeof given === 'object' &&
    given !== null &&
    Object.values(given).every((value) => typeof value === 'string'),
);

/** A PersistentVolume of `v1`. */
export const volumeSchema = z
  .object({
    metadata: z.object({ name: z.string() }),
    spec: z.object({
      capacity,
      csi: z
        .object({
          driver: z.string(),
          volumeHandle: z.string(),
          fsType: z.string().nullish(),
          volumeAttributes: attributes.nullish(),
        })
        .nullish(),
      claimRef: z
        .object({ namespace: z.string().nullish(), name: z.string().nullish(), uid: z.string().nullish() })
        .nullish(),
    }),
    status: z.object({ phase: z.string().nullish() }).nullish(),
  })
  .transform(({ metadata, spec, status }): PersistentVolume => {
    const { csi, claimRef } = spec;
    const { namespace, name, uid } = claimRef ?? {};
    return {
      name: metadata.name,
      isBound: status?.phase === 'Bound',
      ...(csi && {
        csi: {
          driver: csi.driver,
          handle: csi.volumeHandle,
          fsType: csi.fsType ?? '',
          attributes: csi.volumeAttributes ?? {},
        },
      }),
      ...(spec.capacity === undefined ? {} : { capacityBytes: spec.capacity }),
      // Without a uid an administrator has reserved it, and nothing is bound yet.
      ...(namespace && name && uid ? { claim: { namespace, name, uid } } : {}),
    };
  });

/** A page of a list of PersistentVolumes. `next` is the token of the one after it, empty on the last. */
export const pageSchema = z
  .object({
    metadata: z.object({ continue: z.string().nullish() }).nullish(),
    items: z.array(volumeSchema).nullish(),
  })
  .transform(({ metadata, items }) => ({ volumes: items ?? [], next: metadata?.continue ?? '' }));

/** A PersistentVolumeClaim of `v1`: whose it is, and what of it can be used so far. */
export const claimSchema = z
  .object({ metadata: z.object({ uid: z.string() }), status: z.object({ capacity }).nullish() })
  .transform(({ metadata, status }) => ({ uid: metadata.uid, bytes: status?.capacity }));
