/** The drivers of a plugin directory, each as a plugin of its own: they come, change, break and go, each for itself. */
import { Failure } from '../errors.ts';
import { isQualifiedName } from '../flex/names.ts';
import { Registry, type RegistrySettings } from '../flex/registry.ts';
import { removedFailure } from '../flex/slot.ts';
import type { Logger } from '../log.ts';
import type { Plugin } from './plugin.ts';
import type { InUse, ServedBefore } from './plugin-records.ts';
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
  readonly inUse: readonly InUse[];
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
  /** CSI names and who has them: from before the first start of a plugin until it has stopped. */
  readonly #names = new Map<string, Tenant>();
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
    for (const { name, last } of parts.inUse) if (last !== undefined) all.#addInUse({ name, ...last });
    await all.#registry.start();
    for (const before of parts.inUse) all.#handOver(before);
    all.#tend();
    if (all.#tenants.size === 0 && parts.only === undefined) {
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
    const present = this.#registry.names();
    // Those that have left are of interest to nobody; those without a valid name are never present.
    const broken = [...this.#registry.problems().keys()].filter(
      (name) => present.includes(name) || !isQualifiedName(name),
    );
    const others = new Set([...broken, ...(this.#parts.only ?? [])]);
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
        if (hasLeft) this.#remove(key);
      });
    }
  }

  #add(key: string, flexName: string, wasInUse: boolean, leftover?: ServedBefore): Tenant {
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
        start: async (one) => {
          this.#takeName(one, leftover?.name ?? this.#parts.nameOf(flexName));
          return await this.#parts.startPlugin(one.settings, leftover);
        },
        whyLeaving: (one) => this.#whyLeaving(one),
        log,
        goneMs,
      },
    );
    this.#tenants.set(key, tenant);
    return tenant;
  }

  #remove(key: string): void {
    const tenant = this.#tenants.get(key);
    this.#tenants.delete(key);
    for (const [name, holder] of this.#names) if (holder === tenant) this.#names.delete(name);
  }

  /** Nobody else gets the name of one whose volumes are in use. */
  #addInUse(before: ServedBefore): void {
    const { flexName, name } = before;
    const tenant = this.#isAsBefore(flexName, name)
      ? this.#add(flexName, flexName, true)
      : this.#add(leftoverKey(flexName, name), flexName, true, before);
    this.#names.set(name, tenant);
  }

  /**
   * A driver that has the CSI name of one that is gone has its volumes, too: its directory was renamed, and --config
   * has kept the name. Likewise where it is not on record who had it.
   */
  #handOver({ name, last }: InUse): void {
    const before = last?.flexName;
    const present = this.#registry.names();
    if (before !== undefined && present.includes(before)) return;
    const heir = present.find((one) => this.#isAsBefore(one, name));
    if (heir !== undefined) {
      if (before !== undefined) {
        this.#remove(this.#isAsBefore(before, name) ? before : leftoverKey(before, name));
      }
      this.#names.set(name, this.#add(heir, heir, true));
    } else if (before === undefined) {
      const problem = `volumes of ${name} are on record as in use (--state-dir), and no driver here has that CSI name`;
      this.#parts.log.error({ plugin: name, problem }, 'volumes without a driver');
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
        `driver ${flexName} is not to be served as ${leftover.name} any more (--only or --config, the chart's drivers): it is, until its last volume on this node is gone`,
      );
    }
    return this.#registry.names().includes(flexName) ? undefined : removedFailure(flexName, file);
  }

  /** @throws {Failure} when another driver has the CSI name. */
  #takeName(tenant: Tenant, name: string): void {
    const { flexName } = tenant.settings;
    const holder = this.#names.get(name) ?? tenant;
    if (holder !== tenant) {
      const { flexName: other, wasInUse } = holder.settings;
      const why = wasInUse ? ', with volumes in use from before' : '';
      throw new Failure(
        'driver-unusable',
        `driver ${flexName}: its CSI name would be ${name}, which driver ${other} has${why}: set another one in the file of --config (drivers: ${flexName}: name)`,
      );
    }
    this.#names.set(name, tenant);
  }
}

function leftoverKey(flexName: string, name: string): string {
  return `${flexName} ${name}`;
}

function missingFailure(name: string, file: string): Failure {
  return new Failure(
    'driver-unusable',
    `driver ${name}: ${file} is not there: install it, or take it out of --only (the chart's drivers)`,
  );
}
