/**
 * What Kubernetes knows of a volume and a CSI request leaves out: its options and its old size, from the
 * PersistentVolume and its claim. Nothing of what asks for them is loaded before somebody does, and nothing at all
 * where there is no cluster.
 */
import type { Logger } from '../log.ts';
import type { Limits, PersistentVolumes } from './persistent-volumes.ts';
import { findCluster, SERVICE_ACCOUNT } from './place.ts';

/** A volume as its PersistentVolume and its claim have it. */
export interface LookedUp {
  readonly options: Readonly<Record<string, string>>;
  /** Empty: not said. */
  readonly fsType: string;
  /** The PersistentVolume's capacity. */
  readonly capacityBytes?: bigint;
  /** The claim's `status.capacity`, if it is bound. */
  readonly claimedBytes?: bigint;
}

/** The volumes of one CSI driver. */
export interface Lookup {
  /** Undefined when there is no such volume, no cluster, or the cluster cannot be asked. Never rejects for those. */
  find(volumeId: string): Promise<LookedUp | undefined>;
}

export interface LookupSettings {
  /** The volume's own options out of a PersistentVolume's `volumeAttributes`. */
  readonly optionsOf: (attributes: Readonly<Record<string, string>>) => Readonly<Record<string, string>>;
  readonly log: Logger;
  /** The environment that says whether there is a cluster; the process's own when left out. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** The directory of the pod's service account, where it is not the usual one. */
  readonly serviceAccount?: string;
  readonly limits?: Limits;
}

/** The look-ups of all drivers of this process: they share what is asked of the API server. */
export class ClusterLookup {
  readonly #settings: LookupSettings;
  readonly #drivers = new Set<string>();
  #volumes: Promise<PersistentVolumes | undefined> | undefined;

  constructor(settings: LookupSettings) {
    this.#settings = settings;
  }

  /** For the volumes of the driver of this CSI name. */
  of(csiName: string): Lookup {
    this.#drivers.add(csiName);
    return { find: (volumeId) => this.#find(csiName, volumeId) };
  }

  async #find(driver: string, handle: string): Promise<LookedUp | undefined> {
    this.#volumes ??= this.#load();
    const found = await (await this.#volumes)?.find(driver, handle);
    if (found === undefined) return undefined;
    const { attributes, ...rest } = found;
    return { ...rest, options: this.#settings.optionsOf(attributes) };
  }

  async #load(): Promise<PersistentVolumes | undefined> {
    const { environment = process.env, serviceAccount = SERVICE_ACCOUNT, limits, log } = this.#settings;
    const place = await findCluster(environment, serviceAccount);
    log.debug({ place }, place === undefined ? 'no Kubernetes cluster here' : 'the Kubernetes API server');
    if (place === undefined) return undefined;
    const { PersistentVolumes } = await import('./persistent-volumes.ts');
    return new PersistentVolumes({ place, drivers: this.#drivers, log, ...limits });
  }
}
