/**
 * Finds PersistentVolumes by driver and handle. Sizes and options are never remembered: an expansion needs the size as
 * it is now, and a PersistentVolume can be made anew under its name. What is remembered is where a volume was found.
 */
import type { Logger } from '../log.ts';
import { ApiError, ApiServer } from './api-server.ts';
import { claimSchema, type PersistentVolume, volumeSchema } from './objects.ts';
import type { ClusterPlace } from './place.ts';
import { Questions } from './questions.ts';
import { VolumeIndex, volumeKey } from './volume-index.ts';

/** Times, in milliseconds, where they are not the usual ones. */
export interface Limits {
  /** How long one request may take. */
  readonly timeoutMs?: number;
  /** For how long a list of all volumes tells that a volume is not there. */
  readonly listedMs?: number;
  /** For how long an API server that did not answer is left alone. */
  readonly pauseMs?: number;
}

export interface PersistentVolumesSettings extends Limits {
  readonly place: ClusterPlace;
  /** The CSI names whose volumes are looked up; may grow. */
  readonly drivers: ReadonlySet<string>;
  readonly log: Logger;
}

/** A volume as the cluster has it. */
export interface FoundVolume {
  readonly attributes: Readonly<Record<string, string>>;
  readonly fsType: string;
  readonly capacityBytes?: bigint;
  readonly claimedBytes?: bigint;
}

const TIMEOUT_MS = 5_000;
const LISTED_MS = 10_000;
const PAUSE_MS = 5_000;
/** A DNS subdomain. A handle that is none is no name, and as a part of a path it could be something else. */
const OBJECT_NAME = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

export class PersistentVolumes {
  readonly #questions: Questions;
  readonly #index: VolumeIndex;
  readonly #running = new Map<string, Promise<FoundVolume | undefined>>();
  /** The names of volumes that are not named by their handle. */
  readonly #names = new Map<string, string>();

  constructor(settings: PersistentVolumesSettings) {
    const {
      place,
      drivers,
      log,
      timeoutMs = TIMEOUT_MS,
      listedMs = LISTED_MS,
      pauseMs = PAUSE_MS,
    } = settings;
    this.#questions = new Questions(new ApiServer(place, timeoutMs), pauseMs, log);
    this.#index = new VolumeIndex(this.#questions, drivers, listedMs);
  }

  /**
   * The volume, as it is now. Undefined when there is none, or when the API server does not say; why is in the log.
   * Finds of one volume at the same time share the requests.
   */
  async find(driver: string, handle: string): Promise<FoundVolume | undefined> {
    const key = volumeKey(driver, handle);
    let running = this.#running.get(key);
    if (running === undefined) {
      running = this.#find(driver, handle).finally(() => this.#running.delete(key));
      this.#running.set(key, running);
    }
    return await running;
  }

  async #find(driver: string, handle: string): Promise<FoundVolume | undefined> {
    if (this.#questions.isPaused) return undefined;
    const volume = await this.#volume(driver, handle).catch(undefinedForApiError);
    if (volume?.csi === undefined) return undefined;
    const { csi, capacityBytes, claim } = volume;
    const claimedBytes = await this.#claimedBytes(claim).catch(undefinedForApiError);
    return {
      attributes: csi.attributes,
      fsType: csi.fsType,
      ...(capacityBytes === undefined ? {} : { capacityBytes }),
      ...(claimedBytes === undefined ? {} : { claimedBytes }),
    };
  }

  /** @throws {ApiError} */
  async #volume(driver: string, handle: string): Promise<PersistentVolume | undefined> {
    const key = volumeKey(driver, handle);
    const get = async (name: string): Promise<PersistentVolume | undefined> => {
      const path = `/api/v1/persistentvolumes/${encodeURIComponent(name)}`;
      const volume = await this.#questions.ask('get persistentvolumes', path, volumeSchema);
      return volume?.csi?.driver === driver && volume.csi.handle === handle ? volume : undefined;
    };
    // What is migrated or provisioned usually has its handle for a name.
    const likely = this.#names.get(key) ?? (OBJECT_NAME.test(handle) ? handle : undefined);
    const first = likely === undefined ? undefined : await get(likely);
    if (first !== undefined) return first;
    this.#names.delete(key);
    const name = await this.#index.nameOf(driver, handle);
    const found = name === undefined ? undefined : await get(name);
    if (found !== undefined) this.#names.set(key, found.name);
    return found;
  }

  /** @throws {ApiError} */
  async #claimedBytes(claim: PersistentVolume['claim']): Promise<bigint | undefined> {
    if (claim === undefined) return undefined;
    const namespace = encodeURIComponent(claim.namespace);
    const path = `/api/v1/namespaces/${namespace}/persistentvolumeclaims/${encodeURIComponent(claim.name)}`;
    const found = await this.#questions.ask('get persistentvolumeclaims', path, claimSchema);
    // With another uid it is another claim of the same name.
    return found?.uid === claim.uid ? found.bytes : undefined;
  }
}

function undefinedForApiError(error: unknown): undefined {
  if (!(error instanceof ApiError)) throw error;
  return undefined;
}
