/** Which drivers there are: those of a plugin directory, or a single one. */
import type { BigIntStats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errorCode, errorMessage, Failure } from '../errors.ts';
import { type Files, ownFiles } from '../files.ts';
import type { FailureRule } from './codes.ts';
import { Driver, type DriverSettings, type DriverSource, orForCleanUp } from './driver.ts';
import { entryOfFlexName, executableOf, flexNameOfEntry, isDriverFile, isQualifiedName } from './names.ts';
import { SharedRun } from './shared-run.ts';
import { Slot, type SlotSettings } from './slot.ts';

export interface RegistrySettings extends Omit<DriverSettings, 'file' | 'name' | 'failureRules'> {
  /** The plugin directory, an absolute path. */
  readonly directory: string;
  /** See `DriverSettings`; by FlexVolume name. */
  readonly failureRules?: (name: string) => readonly FailureRule[];
  /** Which drivers are looked at, by FlexVolume name; all when left out. Of the others not even `init` is run. */
  readonly isWanted?: (name: string) => boolean;
}

/**
 * The drivers of a plugin directory, found as kubelet finds them (recordings `probe.*`): at every look-up of
 * any driver, those that are new or have changed are initialised. A driver that hangs in `init` delays only
 * look-ups of its own name.
 */
export class Registry {
  readonly #settings: RegistrySettings;
  readonly #files: Files;
  /** By the name of the driver's directory, `vendor~driver`. */
  readonly #slots = new Map<string, Slot>();
  #entries: ReadonlySet<string> = new Set();
  /** Symbolic links that were there at the start, with what tells them from later ones of the same name. */
  readonly #passedOver = new Map<string, string>();
  readonly #lists = new SharedRun<void>(() => this.#list());
  #listProblem: string | undefined;

  constructor(settings: RegistrySettings) {
    this.#settings = settings;
    this.#files = settings.files ?? ownFiles;
  }

  /**
   * Lists the plugin directory and starts the `init` of every driver there; does not wait for them. Throws a
   * `Failure` (`driver-unusable`) when the directory cannot be read; one that does not exist yet is empty.
   */
  async start(): Promise<void> {
    const { directory } = this.#settings;
    try {
      for (const { name, isLink, identity } of await this.#read()) {
        if (!isLink) {
          void this.#addSlot(name).start();
          continue;
        }
        this.#passedOver.set(name, identity);
        this.#settings.log.warn(
          { directory, name },
          'a symbolic link in the plugin directory is passed over, as by kubelet when it starts: put the directory itself there',
        );
      }
    } catch (error) {
      throw new Failure('driver-unusable', `plugin directory ${directory}: ${errorMessage(error)}`, {
        cause: error,
      });
    }
    this.#entries = new Set(this.#slots.keys());
  }

  /** Looks at the directory and at all drivers, and resolves when all due `init`s have ended. */
  async look(): Promise<void> {
    await this.#lists.ask();
    await Promise.all(Array.from(this.#slots, ([entry, slot]) => this.#lookAt(entry, slot)));
  }

  /** Looks a driver up by its FlexVolume name. `undefined`: there is none, or its `init` has never succeeded. */
  async find(name: string): Promise<Driver | undefined> {
    const slot = await this.#slotFor(name);
    return slot?.isGone === false ? slot.driver : undefined;
  }

  /**
   * One driver as a source for volumes. Unlike `find` it looks at this driver alone, tries the `init` of one that
   * has never had a successful one each time it is asked (it came too early), and keeps one that was removed:
   * what it has mounted has to be unmounted all the same.
   */
  source(name: string): DriverSource {
    let last: Driver | undefined;
    const current = async (): Promise<Driver> => {
      await this.#lists.ask();
      const slot = this.#slots.get(entryOfFlexName(name));
      await slot?.look(true);
      last = slot?.driver ?? last;
      if (last !== undefined) return last;
      throw slot?.failure ?? this.#missing(name);
    };
    const forCleanUp = (): Promise<Driver> =>
      orForCleanUp(
        current(),
        () =>
          this.#slots.get(entryOfFlexName(name))?.driver ??
          last ??
          Driver.uninitialised(this.#driverSettings(entryOfFlexName(name))),
      );
    return { current, forCleanUp };
  }

  /** Where the driver's executable is, or would be. */
  fileOf(name: string): string {
    return this.#driverSettings(entryOfFlexName(name)).file;
  }

  /** Lists the directory: new drivers get a name, those that were removed lose it. Does not look at the others. */
  async list(): Promise<void> {
    await this.#lists.ask();
    for (const [entry, slot] of this.#slots) this.#forgetIfGone(entry, slot);
  }

  /** The FlexVolume names of the drivers that are there, broken ones too; not of those that have no valid name. */
  names(): string[] {
    return Array.from(this.#slots)
      .filter(([entry, slot]) => this.#entries.has(entry) && !slot.isGone && isQualifiedName(slot.name))
      .map(([, slot]) => slot.name)
      .filter((name) => this.#isWanted(name))
      .sort();
  }

  /** The drivers that can be called, as of the last look. */
  drivers(): Driver[] {
    const found = this.names().map((name) => this.#slots.get(entryOfFlexName(name))?.driver);
    return found.filter((driver) => driver !== undefined);
  }

  /** What is wrong with which driver: its last `init` failed (an older driver may be in use), or its name is no valid one. */
  problems(): Map<string, Failure> {
    const problems = new Map<string, Failure>();
    for (const { name, failure } of this.#slots.values()) {
      if (!this.#isWanted(name)) continue;
      const problem = isQualifiedName(name) ? failure : nameFailure(name);
      if (problem !== undefined) problems.set(name, problem);
    }
    return problems;
  }

  /** Lets go of all files. The registry is not used afterwards. */
  release(): void {
    for (const slot of this.#slots.values()) slot.release();
    this.#slots.clear();
  }

  async #slotFor(name: string): Promise<Slot | undefined> {
    await this.#lists.ask();
    const wanted = isQualifiedName(name) ? entryOfFlexName(name) : undefined;
    // Look-ups of one driver are the occasion for all others, but do not wait for them.
    for (const [entry, slot] of this.#slots) if (entry !== wanted) void this.#lookAt(entry, slot);
    const slot = wanted === undefined ? undefined : this.#slots.get(wanted);
    if (wanted !== undefined && slot !== undefined) await this.#lookAt(wanted, slot);
    return slot;
  }

  async #lookAt(entry: string, slot: Slot): Promise<void> {
    await slot.look();
    this.#forgetIfGone(entry, slot);
  }

  #forgetIfGone(entry: string, slot: Slot): void {
    const isForgotten = slot.isGone || slot.driver === undefined;
    if (isForgotten && !this.#entries.has(entry) && this.#slots.get(entry) === slot) {
      this.#slots.delete(entry);
      slot.release();
    }
  }

  /** Adds slots for new directories. Never rejects. */
  async #list(): Promise<void> {
    const { directory, log } = this.#settings;
    try {
      const entries = await this.#read();
      for (const { name, identity } of entries) {
        if (this.#passedOver.get(name) === identity) continue;
        this.#passedOver.delete(name);
        if (!this.#slots.has(name)) this.#addSlot(name);
      }
      this.#entries = new Set(entries.map(({ name }) => name));
      this.#listProblem = undefined;
    } catch (error) {
      // What is known stays known: a directory that cannot be read is not an empty one.
      const problem = errorMessage(error);
      log[problem === this.#listProblem ? 'debug' : 'error'](
        { directory, problem },
        'the plugin directory cannot be read',
      );
      this.#listProblem = problem;
    }
  }

  /** The entries that may be drivers' directories: no plain files, no names that start with a dot. */
  async #read(): Promise<{ name: string; isLink: boolean; identity: string }[]> {
    const directory = await this.#files.follow(this.#settings.directory);
    const found = [];
    for (const entry of await readExisting(directory)) {
      const isLink = entry.isSymbolicLink();
      if (entry.name.startsWith('.') || !(isLink || entry.isDirectory())) continue;
      if (!this.#isWanted(flexNameOfEntry(entry.name))) continue;
      const identity = isLink ? await identityOf(join(directory, entry.name)) : '';
      found.push({ name: entry.name, isLink, identity });
    }
    return found;
  }

  #addSlot(entry: string): Slot {
    const slot = new Slot(this.#driverSettings(entry));
    this.#slots.set(entry, slot);
    return slot;
  }

  #driverSettings(entry: string): SlotSettings {
    const directory = join(this.#settings.directory, entry);
    const name = flexNameOfEntry(entry);
    const failureRules = this.#settings.failureRules?.(name);
    return { ...this.#settings, directory, file: join(directory, executableOf(entry)), name, failureRules };
  }

  #isWanted(name: string): boolean {
    return this.#settings.isWanted?.(name) ?? true;
  }

  #missing(name: string): Failure {
    const { directory } = this.#settings;
    return new Failure('driver-unusable', `driver ${name}: not in ${directory}: install it there`);
  }
}

async function readExisting(directory: string) {
  try {
    return await readdir(directory, { withFileTypes: true });
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

async function identityOf(link: string): Promise<string> {
  const stats: BigIntStats | undefined = await lstat(link, { bigint: true }).catch(() => undefined);
  return `${stats?.ino} ${stats?.ctimeNs}`;
}

function nameFailure(name: string): Failure {
  return new Failure(
    'driver-unusable',
    `driver ${name}: no valid FlexVolume name: rename its directory to <vendor>~<driver>, the vendor a lower-case DNS name`,
  );
}

/**
 * The driver of one executable. Its `init` runs at the first call, after every change, and, as long as none has
 * ever succeeded, at every call. Once it has succeeded the driver stays, also when the file is gone.
 */
export class SingleDriver implements DriverSource {
  readonly #slot: Slot;
  readonly #settings: DriverSettings;

  constructor(settings: DriverSettings) {
    this.#settings = settings;
    // Whatever else lies beside a file like /usr/local/bin/driver, or below the directory, is none of its own.
    const directory = isDriverFile(settings.file) ? dirname(settings.file) : undefined;
    this.#slot = new Slot({ ...settings, directory });
  }

  /** The driver, looked at now. Throws the `Failure` of its `init` when that has never succeeded. */
  async current(): Promise<Driver> {
    await this.#slot.look(true);
    const { driver, failure } = this.#slot;
    if (driver !== undefined) return driver;
    throw failure ?? new Failure('driver-unusable', `driver ${this.#slot.name}: not initialised`);
  }

  forCleanUp(): Promise<Driver> {
    return orForCleanUp(this.current(), () => this.#slot.driver ?? Driver.uninitialised(this.#settings));
  }

  /** Why the last `init` failed, if it did. */
  problem(): { readonly problem?: string } {
    const { failure } = this.#slot;
    return failure === undefined ? {} : { problem: failure.message };
  }

  /** Lets go of the file. The source is not used afterwards. */
  release(): void {
    this.#slot.release();
  }
}
