/** The drivers of a plugin directory, each as a plugin of its own: they come, change, break and go, each for itself. */
import { Failure } from '../errors.ts';
import { Registry, type RegistrySettings } from '../flex/registry.ts';
import { removedFailure } from '../flex/slot.ts';
import type { Logger } from '../log.ts';
import type { Plugin } from './plugin.ts';
import type { ServedBefore } from './plugin-records.ts';
import type { DriverStatus, Serving } from './serving.ts';
import { type FoundDriver, Tenant } from './tenant.ts';

export interface PluginDirectoryParts {
  /** The CSI name. @throws {Failure} for one that CSI forbids. */
  readonly nameOf: (flexName: string) => string;
  /** Starts a driver, `as` it was served before or as it is configured now. */
  readonly startPlugin: (driver: FoundDriver, as?: ServedBefore) => Promise<Plugin>;
  /** FlexVolume names: no other drivers are served; all when left out. */
  readonly only?: readonly string[] | undefined;
  /** Plugins with volumes in use from before flexcsi was started: served until these are gone, whatever became of the drivers. */
  readonly inUse: readonly ServedBefore[];
  readonly log: Logger;
  /** Milliseconds between two looks at the directory; 5 s when left out. */
  readonly lookEveryMs?: number;
  /** Milliseconds for which a driver that is gone is waited for: some installers remove before they copy; 60 s when left out. */
  readonly goneMs?: number;
}

const LOOK_EVERY_MS = 5_000;
const GONE_MS = 60_000;

export class PluginDirectory implements Serving {
  readonly #registry: Registry;
  readonly #parts: PluginDirectoryParts;
  /** By FlexVolume name; those that are left over, by that and their CSI name. */
  readonly #tenants = new Map<string, Tenant>();
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  private constructor(settings: RegistrySettings, parts: PluginDirectoryParts) {
    this.#parts = parts;
    const isLeftover = (name: string): boolean =>
      this.#all().some(({ settings: { flexName, leftover } }) => leftover && flexName === name);
    this.#registry = new Registry({
      ...settings,
      isWanted: (name) => this.#isListed(name) || isLeftover(name),
    });
  }

  /**
   * Serves the drivers that are there, and looks every few seconds for others. Does not wait for their `init`.
   *
   * @throws {Failure} when the directory cannot be read; one that does not exist yet is empty.
   */
  static async start(settings: RegistrySettings, parts: PluginDirectoryParts): Promise<PluginDirectory> {
    const all = new PluginDirectory(settings, parts);
    for (const before of parts.inUse) all.#addInUse(before);
    await all.#registry.start();
    all.#handOver();
    all.#tend();
    if (all.#tenants.size === 0) {
      parts.log.warn(
        { directory: settings.directory },
        'no driver in the plugin directory yet: expected <vendor>~<driver>/<driver> there (--plugin-dir)',
      );
    }
    for (const { driver, serving, problem } of all.drivers()) {
      if (!serving && problem !== undefined) parts.log.warn({ driver, problem }, 'driver not served yet');
    }
    all.#timer = setInterval(() => void all.#look(), parts.lookEveryMs ?? LOOK_EVERY_MS);
    return all;
  }

  drivers(): DriverStatus[] {
    const known = this.#all().map((tenant) => tenant.status(this.#problemOf(tenant.settings.flexName)));
    const others = new Set([...this.#registry.problems().keys(), ...(this.#parts.only ?? [])]);
    for (const { driver } of known) others.delete(driver);
    const missing = Array.from(others, (driver) => {
      const problem =
        this.#problemOf(driver) ?? missingFailure(driver, this.#registry.fileOf(driver)).message;
      return { driver, serving: false, problem };
    });
    return [...known, ...missing].sort((a, b) => (a.driver < b.driver ? -1 : 1));
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    clearInterval(this.#timer);
    await Promise.all(this.#all().map((tenant) => tenant.stop()));
    this.#registry.release();
  }

  #all(): Tenant[] {
    return [...this.#tenants.values()];
  }

  async #look(): Promise<void> {
    await this.#registry.list();
    if (!this.#isStopped) this.#tend();
  }

  /** Each for itself: an init that hangs keeps only its own driver waiting. */
  #tend(): void {
    for (const flexName of this.#registry.names()) {
      if (this.#isListed(flexName) && !this.#tenants.has(flexName)) this.#add(flexName, flexName, false);
    }
    for (const [key, tenant] of this.#tenants) {
      void tenant.tend().then((hasLeft) => {
        if (hasLeft) this.#tenants.delete(key);
      });
    }
  }

  #add(key: string, flexName: string, wasInUse: boolean, leftover?: ServedBefore): void {
    const { log, goneMs = GONE_MS } = this.#parts;
    const tenant = new Tenant(
      {
        flexName,
        file: this.#registry.fileOf(flexName),
        source: this.#registry.source(flexName),
        wasInUse,
        ...(leftover && { leftover }),
      },
      {
        start: async (driver, as) => {
          this.#requireOwnName(driver.flexName, as?.name ?? this.#parts.nameOf(driver.flexName));
          return await this.#parts.startPlugin(driver, as);
        },
        whyLeaving: (one) => this.#whyLeaving(one),
        log,
        goneMs,
      },
    );
    this.#tenants.set(key, tenant);
  }

  #addInUse(before: ServedBefore): void {
    const { flexName, name } = before;
    if (this.#isAsBefore(flexName, name)) this.#add(flexName, flexName, true);
    else this.#add(leftoverKey(flexName, name), flexName, true, before);
  }

  /** A driver that has another's CSI name now, by --config after its directory was renamed, has its volumes, too. */
  #handOver(): void {
    for (const { flexName: before, name } of this.#parts.inUse) {
      const heir = this.#registry.names().find((one) => this.#isAsBefore(one, name));
      if (heir === undefined || heir === before) continue;
      this.#tenants.delete(this.#isAsBefore(before, name) ? before : leftoverKey(before, name));
      this.#add(heir, heir, true);
    }
  }

  #isAsBefore(flexName: string, name: string): boolean {
    return this.#isListed(flexName) && this.#nameNow(flexName) === name;
  }

  #isListed(flexName: string): boolean {
    return this.#parts.only?.includes(flexName) ?? true;
  }

  /** Undefined for one that cannot be used. */
  #nameNow(flexName: string): string | undefined {
    try {
      return this.#parts.nameOf(flexName);
    } catch {
      return undefined;
    }
  }

  #problemOf(flexName: string): string | undefined {
    return this.#registry.problems().get(flexName)?.message;
  }

  #whyLeaving({ settings: { flexName, file, leftover } }: Tenant): Failure | undefined {
    if (leftover !== undefined) {
      return new Failure(
        'driver-unusable',
        `driver ${flexName} is not to be served as ${leftover.name} any more (--only, --config): it is, until its last volume on this node is gone`,
      );
    }
    return this.#registry.names().includes(flexName) ? undefined : removedFailure(flexName, file);
  }

  /** @throws {Failure} when another driver has the same CSI name. */
  #requireOwnName(flexName: string, name: string): void {
    const other = this.#all().find(({ plugin }) => plugin?.name === name);
    if (other === undefined) return;
    throw new Failure(
      'driver-unusable',
      `driver ${flexName}: its CSI name would be ${name}, which driver ${other.settings.flexName} has: set another one in the file of --config (drivers: ${flexName}: name)`,
    );
  }
}

function leftoverKey(flexName: string, name: string): string {
  return `${flexName} ${name}`;
}

function missingFailure(name: string, file: string): Failure {
  return new Failure(
    'driver-unusable',
    `driver ${name}: ${file} is not there: install it, or take it out of --only`,
  );
}
