/** One driver of a plugin directory: served as soon as it can be, told of when it cannot, let go when it is gone. */
import { errorMessage, Failure } from '../errors.ts';
import type { DriverSource } from '../flex/driver.ts';
import type { Logger } from '../log.ts';
import type { Plugin } from './plugin.ts';
import type { ServedBefore } from './plugin-records.ts';
import type { DriverStatus } from './serving.ts';

export interface FoundDriver {
  readonly flexName: string;
  /** Where its executable is, or was. */
  readonly file: string;
  readonly source: DriverSource;
}

export interface TenantSettings extends FoundDriver {
  /** Had volumes in use when flexcsi was started: it is served also when its `init` fails. */
  readonly wasInUse: boolean;
  /** It is to be served so no more, but has volumes in use. */
  readonly leftover?: ServedBefore;
}

export interface TenantParts {
  readonly start: (tenant: Tenant) => Promise<Plugin>;
  /** Why the driver is not to be served any more; undefined while it is. */
  readonly whyLeaving: (tenant: Tenant) => Failure | undefined;
  readonly log: Logger;
  /** Milliseconds for which a driver that is to leave is waited for. */
  readonly goneMs: number;
}

/** How long a driver that cannot be served waits: from twice the first to the longest. */
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 20_000;
/** From when on it is told that an init has not ended. */
const SLOW_MS = 10_000;

export class Tenant {
  readonly settings: TenantSettings;
  readonly #parts: TenantParts;
  #plugin: Plugin | undefined;
  #problem: string | undefined;
  /** Failures in a row, and when it is tried again. */
  #failures = 0;
  #dueAt = 0;
  #leavingSince: number | undefined;
  #tendedSince: number | undefined;
  #starting: Promise<Plugin> | undefined;
  #isStopped = false;

  constructor(settings: TenantSettings, parts: TenantParts) {
    this.settings = settings;
    this.#parts = parts;
  }

  get plugin(): Plugin | undefined {
    return this.#plugin;
  }

  /** @param problem of the driver's files, where the tenant itself has none. */
  status(problem: string | undefined): DriverStatus {
    const { flexName } = this.settings;
    const told = this.#slowness() ?? this.#problem ?? problem;
    return {
      driver: flexName,
      serving: this.#plugin !== undefined,
      ...(told === undefined ? {} : { problem: told }),
      ...this.#plugin?.status(),
    };
  }

  /** Does what is due. Answers whether the tenant has left. Never rejects; at once while it is at work already. */
  async tend(): Promise<boolean> {
    if (this.#tendedSince !== undefined || performance.now() < this.#dueAt) return false;
    this.#tendedSince = performance.now();
    try {
      return await this.#tend();
    } catch (error) {
      this.#tell(errorMessage(error));
      this.#failures += 1;
      this.#dueAt = performance.now() + Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#failures);
      return false;
    } finally {
      this.#tendedSince = undefined;
    }
  }

  /** Serves it no more, also when it is just about to begin. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    const plugin = this.#plugin ?? (await this.#starting?.catch(() => undefined));
    await plugin?.stop();
  }

  async #tend(): Promise<boolean> {
    const { source, wasInUse, leftover } = this.settings;
    // What it has mounted before flexcsi was started is taken away also where its init fails now, or hangs.
    if (wasInUse) await this.#serve();
    // Looks at its files, and runs init where that is due.
    const broken = await failureOf(source.current());
    const leaving = this.#parts.whyLeaving(this);
    if (leaving === undefined) this.#leavingSince = undefined;
    else if (await this.#hasLeft()) return true;
    if (broken === undefined) await this.#serve();
    if (leaving === undefined && broken !== undefined) throw broken;
    const also = leftover === undefined || broken === undefined ? '' : `; ${broken.message}`;
    if (leaving === undefined) this.#problem = undefined;
    else this.#tell(`${leaving.message}${also}`);
    this.#failures = 0;
    return false;
  }

  async #serve(): Promise<void> {
    if (this.#plugin !== undefined || this.#isStopped) return;
    this.#starting = this.#parts.start(this);
    this.#plugin = await this.#starting;
  }

  /** A driver that is to leave is served for as long as volumes of it are in use. */
  async #hasLeft(): Promise<boolean> {
    const { flexName, wasInUse, leftover } = this.settings;
    const { log, goneMs } = this.#parts;
    if (this.#plugin === undefined && !wasInUse) return true;
    this.#leavingSince ??= performance.now();
    // Of one that is not to be served any more nothing is waited for.
    const graceMs = leftover === undefined ? goneMs : 0;
    if (performance.now() < this.#leavingSince + graceMs) return false;
    if (!(await this.#plugin?.stopIfUnused())) return false;
    log.warn({ driver: flexName }, 'no volume of the driver is in use any more: not served any more');
    return true;
  }

  /** An init that takes long, for people who wonder. */
  #slowness(): string | undefined {
    const seconds = Math.round((performance.now() - (this.#tendedSince ?? performance.now())) / 1000);
    if (seconds * 1000 < SLOW_MS) return undefined;
    return `driver ${this.settings.flexName}: its init has not ended for ${seconds} s`;
  }

  #tell(problem: string): void {
    if (problem !== this.#problem) {
      const what = this.#plugin === undefined ? 'driver not served' : 'driver served, with a problem';
      this.#parts.log.error({ driver: this.settings.flexName, problem }, what);
    }
    this.#problem = problem;
  }
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
