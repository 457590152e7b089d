/** Which PersistentVolume has a handle: from a list of all of them, for the few that are not named by their handle. */
import type { PersistentVolume } from './objects.ts';
import { pageSchema } from './objects.ts';
import type { Questions } from './questions.ts';

const PAGE_SIZE = 500;

type Entry = Pick<PersistentVolume, 'name' | 'isBound'>;
type Entries = ReadonlyMap<string, readonly Entry[]>;

export class VolumeIndex {
  readonly #questions: Questions;
  readonly #drivers: ReadonlySet<string>;
  readonly #lifeMs: number;
  #listed: { readonly entries: Promise<Entries>; until: number } | undefined;

  /**
   * @param drivers the CSI names whose volumes are looked for; may grow.
   * @param lifeMs for how long a list is good for, milliseconds.
   */
  constructor(questions: Questions, drivers: ReadonlySet<string>, lifeMs: number) {
    this.#questions = questions;
    this.#drivers = drivers;
    this.#lifeMs = lifeMs;
  }

  /**
   * The name of the PersistentVolume, as of a few seconds ago at the earliest. Several of one handle are one volume;
   * which of them tells the truth shows the bound one. Undefined where that cannot be told, or there is none.
   *
   * @throws {ApiError}
   */
  async nameOf(driver: string, handle: string): Promise<string | undefined> {
    const found = (await this.#entries()).get(volumeKey(driver, handle)) ?? [];
    if (found.length < 2) return found[0]?.name;
    const bound = found.filter(({ isBound }) => isBound);
    if (bound.length === 1) return bound[0]?.name;
    const volumes = found.map(({ name }) => name).sort();
    this.#questions.warnOnce(
      volumeKey(driver, handle),
      volumes.join(),
      { driver, handle, volumes },
      'several PersistentVolumes have this handle, and not exactly one of them is bound: none is looked at',
    );
    return undefined;
  }

  /** @throws {ApiError} */
  #entries(): Promise<Entries> {
    if (this.#listed !== undefined && Date.now() < this.#listed.until) return this.#listed.entries;
    const listed = { entries: this.#list(), until: Number.POSITIVE_INFINITY };
    this.#listed = listed;
    listed.entries.then(
      () => {
        listed.until = Date.now() + this.#lifeMs;
      },
      () => {
        listed.until = 0;
      },
    );
    return listed.entries;
  }

  /** @throws {ApiError} */
  async #list(): Promise<Entries> {
    const entries = new Map<string, Entry[]>();
    let next = '';
    do {
      const query = new URLSearchParams({
        limit: String(PAGE_SIZE),
        ...(next === '' ? {} : { continue: next }),
      });
      const path = `/api/v1/persistentvolumes?${query}`;
      const page = await this.#questions.ask('list persistentvolumes', path, pageSchema);
      for (const { name, isBound, csi } of page?.volumes ?? []) {
        // Of thousands, the others are not worth the memory.
        if (csi === undefined || !this.#drivers.has(csi.driver)) continue;
        const key = volumeKey(csi.driver, csi.handle);
        entries.set(key, [...(entries.get(key) ?? []), { name, isBound }]);
      }
      next = page?.next ?? '';
    } while (next !== '');
    return entries;
  }
}

/** One text for a driver's CSI name and a volume handle. */
export function volumeKey(driver: string, handle: string): string {
  return `${driver}\0${handle}`;
}
