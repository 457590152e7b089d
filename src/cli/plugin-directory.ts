/** The drivers of a plugin directory, each as a plugin of its own: they come, change, break and go, each for itself. */
import { errorMessage, Failure } from '../errors.ts';
import type { DriverSource } from '../flex/driver.ts';
import type { Registry } from '../flex/registry.ts';
import { removedFailure } from '../flex/slot.ts';
import type { Logger } from '../log.ts';
import type { Plugin } from './plugin.ts';
import type { DriverStatus, Serving } from './serving.ts';

export interface PluginDirectoryParts {
  /** An absolute path. */
  readonly directory: string;
  /** The CSI name. @throws {Failure} for one that CSI forbids. */
  readonly nameOf: (flexName: string) => string;
  readonly startPlugin: (flexName: string, file: string, driver: DriverSource) => Promise<Plugin>;
  readonly log: Logger;
  /** Milliseconds between two looks at the directory; 5 s when left out. */
  readonly lookEveryMs?: number;
  /** Milliseconds for which a driver that is gone is waited for: some installers remove before they copy; 60 s when left out. */
  readonly goneMs?: number;
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
  plugin?: Plugin;
  problem?: string;
  /** Failures in a row, and when it is tried again. */
  failures: number;
  dueAt: number;
  /** Since when its files are gone. */
  goneSince?: number;
  isTended: boolean;
}

export class PluginDirectory implements Serving {
  readonly #registry: Registry;
  readonly #parts: PluginDirectoryParts;
  readonly #tenants = new Map<string, Tenant>();
  readonly #tending = new Set<Promise<void>>();
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  private constructor(registry: Registry, parts: PluginDirectoryParts) {
    this.#registry = registry;
    this.#parts = parts;
  }

  /**
   * Serves the drivers that are there, and looks every few seconds for others. Does not wait for their `init`.
   *
   * @throws {Failure} when the directory cannot be read; one that does not exist yet is empty.
   */
  static async start(registry: Registry, parts: PluginDirectoryParts): Promise<PluginDirectory> {
    const all = new PluginDirectory(registry, parts);
    await registry.start();
    all.#tend();
    if (all.#tenants.size === 0) {
      parts.log.warn(
        { directory: parts.directory },
        'no driver in the plugin directory yet: expected <vendor>~<driver>/<driver> there (--plugin-dir)',
      );
    }
    all.#timer = setInterval(() => void all.#look(), parts.lookEveryMs ?? LOOK_EVERY_MS);
    return all;
  }

  drivers(): DriverStatus[] {
    const problems = this.#registry.problems();
    const known = new Set([...this.#tenants.keys(), ...problems.keys()]);
    return [...known].sort().map((driver) => {
      const { plugin, problem = problems.get(driver)?.message } = this.#tenants.get(driver) ?? {};
      return {
        driver,
        serving: plugin !== undefined,
        ...(problem === undefined ? {} : { problem }),
        ...plugin?.status(),
      };
    });
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

  #tend(): void {
    for (const flexName of this.#registry.names()) {
      if (this.#tenants.has(flexName)) continue;
      const source = this.#registry.source(flexName);
      this.#tenants.set(flexName, { flexName, source, failures: 0, dueAt: 0, isTended: false });
    }
    // Each for itself: an init that hangs keeps only its own driver waiting.
    for (const tenant of this.#tenants.values()) {
      if (tenant.isTended || Date.now() < tenant.dueAt) continue;
      tenant.isTended = true;
      const work = this.#tendOne(tenant).finally(() => {
        tenant.isTended = false;
        this.#tending.delete(work);
      });
      this.#tending.add(work);
    }
  }

  /** Never rejects. */
  async #tendOne(tenant: Tenant): Promise<void> {
    const { flexName } = tenant;
    try {
      // Looks at its files, and runs init where that is due.
      const driver = await tenant.source.current();
      if (!this.#registry.names().includes(flexName)) return await this.#letGo(tenant, driver.file);
      delete tenant.goneSince;
      if (tenant.plugin === undefined && !this.#isStopped) {
        this.#requireOwnName(flexName);
        tenant.plugin = await this.#parts.startPlugin(flexName, driver.file, tenant.source);
        if (this.#isStopped) await tenant.plugin.stop();
      }
      delete tenant.problem;
      tenant.failures = 0;
    } catch (error) {
      if (!this.#registry.names().includes(flexName) && tenant.plugin === undefined) {
        this.#tenants.delete(flexName);
        return;
      }
      const problem = errorMessage(error);
      if (problem !== tenant.problem)
        this.#parts.log.error({ driver: flexName, problem }, 'driver not served');
      tenant.problem = problem;
      tenant.failures += 1;
      tenant.dueAt = Date.now() + Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** tenant.failures);
    }
  }

  /** A driver whose files are gone is served for as long as volumes of it are in use. */
  async #letGo(tenant: Tenant, file: string): Promise<void> {
    const { flexName, plugin } = tenant;
    const { log, goneMs = GONE_MS } = this.#parts;
    if (tenant.goneSince === undefined) {
      tenant.goneSince = Date.now();
      tenant.problem = removedFailure(flexName, file).message;
    }
    if (Date.now() < tenant.goneSince + goneMs || (await plugin?.isInUse())) return;
    log.warn({ driver: flexName }, 'driver gone, and no volume of it in use: not served any more');
    await plugin?.stop();
    this.#tenants.delete(flexName);
  }

  /** @throws {Failure} when another driver has the same CSI name. */
  #requireOwnName(flexName: string): void {
    const name = this.#parts.nameOf(flexName);
    const other = [...this.#tenants.values()].find(({ plugin }) => plugin?.name === name);
    if (other === undefined) return;
    throw new Failure(
      'driver-unusable',
      `driver ${flexName}: its CSI name would be ${name}, which driver ${other.flexName} has: set another one in the file of --config (drivers: ${flexName}: name)`,
    );
  }
}
