/** The drivers of a plugin directory, each as a plugin of its own: they come, change, break and go, each for itself. */
import { errorMessage, Failure } from '../errors.ts';
import type { DriverSource } from '../flex/driver.ts';
import { Registry, type RegistrySettings } from '../flex/registry.ts';
import { removedFailure } from '../flex/slot.ts';
import type { Logger } from '../log.ts';
import type { Plugin } from './plugin.ts';
import type { ServedBefore } from './plugin-records.ts';
import type { DriverStatus, Serving } from './serving.ts';

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

export interface FoundDriver {
  readonly flexName: string;
  /** Where its executable is, or was. */
  readonly file: string;
  readonly source: DriverSource;
}

const LOOK_EVERY_MS = 5_000;
/** How long a driver that cannot be served waits: from twice the first to the longest. */
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 60_000;
const GONE_MS = 60_000;

/** One driver of the directory. */
interface Tenant {
  readonly flexName: string;
  readonly source: DriverSource;
  /** Had volumes in use when flexcsi was started. */
  readonly wasInUse: boolean;
  /** It is to be served so no more, but has volumes in use. */
  readonly leftover?: ServedBefore;
  plugin?: Plugin;
  problem?: string;
  /** Failures in a row, and when it is tried again. */
  failures: number;
  dueAt: number;
  /** Since when it is not to be served any more. */
  leavingSince?: number;
  isTended: boolean;
}

export class PluginDirectory implements Serving {
  readonly #registry: Registry;
  readonly #parts: PluginDirectoryParts;
  /** By FlexVolume name; those that are left over, by that and their CSI name. */
  readonly #tenants = new Map<string, Tenant>();
  readonly #tending = new Set<Promise<void>>();
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  private constructor(settings: RegistrySettings, parts: PluginDirectoryParts) {
    this.#parts = parts;
    const isLeftover = (name: string): boolean =>
      [...this.#tenants.values()].some(({ flexName, leftover }) => leftover && flexName === name);
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
    const tenants = [...this.#tenants.values()];
    const served = tenants.map(({ flexName: driver, plugin, problem = this.#problemOf(driver) }) => ({
      driver,
      serving: plugin !== undefined,
      ...(problem === undefined ? {} : { problem }),
      ...plugin?.status(),
    }));
    const others = new Set([...this.#registry.problems().keys(), ...(this.#parts.only ?? [])]);
    for (const { flexName } of tenants) others.delete(flexName);
    const missing = Array.from(others, (driver) => {
      const problem =
        this.#problemOf(driver) ?? missingFailure(driver, this.#registry.fileOf(driver)).message;
      return { driver, serving: false, problem };
    });
    return [...served, ...missing].sort((a, b) => (a.driver < b.driver ? -1 : 1));
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    clearInterval(this.#timer);
    await Promise.all([...this.#tenants.values()].map(({ plugin }) => plugin?.stop()));
    this.#registry.release();
  }

  async #look(): Promise<void> {
    await this.#registry.list();
    if (!this.#isStopped) this.#tend();
  }

  #isListed(flexName: string): boolean {
    return this.#parts.only?.includes(flexName) ?? true;
  }

  #problemOf(flexName: string): string | undefined {
    return this.#registry.problems().get(flexName)?.message;
  }

  #addInUse(before: ServedBefore): void {
    const { flexName, name } = before;
    const isAsBefore = this.#isAsBefore(flexName, name);
    const key = isAsBefore ? flexName : leftoverKey(flexName, name);
    this.#addTenant(key, { flexName, wasInUse: true, ...(isAsBefore ? {} : { leftover: before }) });
  }

  #isAsBefore(flexName: string, name: string): boolean {
    return this.#isListed(flexName) && this.#nameNow(flexName) === name;
  }

  /** A driver that has another's CSI name now, by --config after its directory was renamed, has its volumes, too. */
  #handOver(): void {
    for (const { flexName: before, name } of this.#parts.inUse) {
      const heir = this.#registry.names().find((one) => this.#isListed(one) && this.#nameNow(one) === name);
      if (heir === undefined || heir === before) continue;
      this.#tenants.delete(this.#isAsBefore(before, name) ? before : leftoverKey(before, name));
      this.#addTenant(heir, { flexName: heir, wasInUse: true });
    }
  }

  /** Undefined for one that cannot be used. */
  #nameNow(flexName: string): string | undefined {
    try {
      return this.#parts.nameOf(flexName);
    } catch {
      return undefined;
    }
  }

  #addTenant(key: string, tenant: Pick<Tenant, 'flexName' | 'wasInUse' | 'leftover'>): void {
    const source = this.#registry.source(tenant.flexName);
    this.#tenants.set(key, { ...tenant, source, failures: 0, dueAt: 0, isTended: false });
  }

  #tend(): void {
    for (const flexName of this.#registry.names()) {
      if (this.#tenants.has(flexName) || !this.#isListed(flexName)) continue;
      this.#addTenant(flexName, { flexName, wasInUse: false });
    }
    // Each for itself: an init that hangs keeps only its own driver waiting.
    for (const [key, tenant] of this.#tenants) {
      if (tenant.isTended || Date.now() < tenant.dueAt) continue;
      tenant.isTended = true;
      const work = this.#tendOne(key, tenant).finally(() => {
        tenant.isTended = false;
        this.#tending.delete(work);
      });
      this.#tending.add(work);
    }
  }

  /** Never rejects. */
  async #tendOne(key: string, tenant: Tenant): Promise<void> {
    try {
      // Looks at its files, and runs init where that is due.
      const broken = await failureOf(tenant.source.current());
      const leaving = this.#whyLeaving(tenant);
      if (leaving === undefined) delete tenant.leavingSince;
      else if (await this.#hasLeft(key, tenant)) return;
      // What it has mounted before flexcsi was started is taken away also by one whose init fails now.
      if (broken === undefined || tenant.wasInUse) await this.#serve(tenant);
      const problem = leaving?.message ?? broken?.message;
      if (leaving === undefined && broken !== undefined) throw broken;
      if (problem === undefined) delete tenant.problem;
      else this.#tell(tenant, problem);
      tenant.failures = 0;
    } catch (error) {
      this.#tell(tenant, errorMessage(error));
      tenant.failures += 1;
      tenant.dueAt = Date.now() + Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** tenant.failures);
    }
  }

  #tell(tenant: Tenant, problem: string): void {
    const { flexName, plugin } = tenant;
    if (problem !== tenant.problem) {
      const what = plugin === undefined ? 'driver not served' : 'driver served, with a problem';
      this.#parts.log.error({ driver: flexName, problem }, what);
    }
    tenant.problem = problem;
  }

  async #serve(tenant: Tenant): Promise<void> {
    if (tenant.plugin !== undefined || this.#isStopped) return;
    const { flexName, source, leftover } = tenant;
    this.#requireOwnName(flexName, leftover?.name ?? this.#parts.nameOf(flexName));
    const file = this.#registry.fileOf(flexName);
    tenant.plugin = await this.#parts.startPlugin({ flexName, file, source }, leftover);
    if (this.#isStopped) await tenant.plugin.stop();
  }

  #whyLeaving({ flexName, leftover }: Tenant): Failure | undefined {
    if (leftover !== undefined) {
      return new Failure(
        'driver-unusable',
        `driver ${flexName} is not to be served as ${leftover.name} any more (--only, --config): it is, until its last volume on this node is gone`,
      );
    }
    return this.#registry.names().includes(flexName)
      ? undefined
      : removedFailure(flexName, this.#registry.fileOf(flexName));
  }

  /** A driver that is to leave is served for as long as volumes of it are in use. */
  async #hasLeft(key: string, tenant: Tenant): Promise<boolean> {
    const { flexName, plugin } = tenant;
    const { log, goneMs = GONE_MS } = this.#parts;
    if (plugin === undefined && !tenant.wasInUse) {
      this.#tenants.delete(key);
      return true;
    }
    tenant.leavingSince ??= Date.now();
    if (Date.now() < tenant.leavingSince + goneMs || ((await plugin?.isInUse()) ?? true)) return false;
    log.warn({ driver: flexName }, 'no volume of the driver is in use any more: not served any more');
    await plugin?.stop();
    this.#tenants.delete(key);
    return true;
  }

  /** @throws {Failure} when another driver has the same CSI name. */
  #requireOwnName(flexName: string, name: string): void {
    const other = [...this.#tenants.values()].find(({ plugin }) => plugin?.name === name);
    if (other === undefined) return;
    throw new Failure(
      'driver-unusable',
      `driver ${flexName}: its CSI name would be ${name}, which driver ${other.flexName} has: set another one in the file of --config (drivers: ${flexName}: name)`,
    );
  }
}

function leftoverKey(flexName: string, name: string): string {
  return `${flexName} ${name}`;
}

async function failureOf(work: Promise<unknown>): Promise<Failure | undefined> {
  try {
    await work;
    return undefined;
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
}

function missingFailure(name: string, file: string): Failure {
  return new Failure(
    'driver-unusable',
    `driver ${name}: ${file} is not there: install it, or take it out of --only`,
  );
}
