/** The place of one driver: which initialised driver stands for its files at present. */
import { errorMessage, Failure } from '../errors.ts';
import { Driver, type DriverSettings } from './driver.ts';
import { SharedRun } from './shared-run.ts';
import { type DriverFiles, Hold, look } from './watch.ts';

export interface SlotSettings extends DriverSettings {
  /** See `DriverFiles`. */
  readonly directory?: string | undefined;
}

/**
 * Keeps a driver as fresh as kubelet does (recordings `probe.*`):
 * - any change of its files means `init` at the next look, and again at every look until it succeeds; the
 *   old driver stays in use meanwhile;
 * - the driver is gone once its executable or directory was removed, not when one was renamed away;
 * - a driver whose `init` failed at the start waits for a change.
 */
export class Slot {
  readonly #settings: SlotSettings;
  readonly #files: DriverFiles;
  #driver: Driver | undefined;
  #failure: Failure | undefined;
  #isGone = false;
  /** A change, or the first look, that no successful `init` has followed. */
  #isPending = true;
  #fingerprint = '';
  #hold: Hold | undefined;
  #insists = false;
  /** Whether `init` was run. */
  readonly #looks = new SharedRun<boolean>((tried = false) => this.#look(tried));

  constructor(settings: SlotSettings) {
    this.#settings = settings;
    this.#files = { executable: settings.file, directory: settings.directory, files: settings.files };
  }

  get name(): string {
    return this.#settings.name;
  }

  /** The last driver whose `init` succeeded, also when its files are gone by now. */
  get driver(): Driver | undefined {
    return this.#driver;
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  /** Why the last `init` failed; `undefined` once one succeeded. */
  get failure(): Failure | undefined {
    return this.#failure;
  }

  /** The first look, when flexcsi starts: a driver that fails then is not tried again before it changes. */
  async start(): Promise<void> {
    await this.look();
    this.#isPending = false;
  }

  /**
   * Looks at the files and runs `init` where that is due; with `insist` also where no `init` has ever
   * succeeded. Who asks while `init` runs shares its outcome, unless the files have changed since it began.
   * Never rejects: see `driver` and `failure`.
   */
  async look(insist = false): Promise<void> {
    this.#insists ||= insist;
    await this.#looks.ask();
  }

  /** Lets go of the files. The slot is not used afterwards. */
  release(): void {
    this.#hold?.release();
    this.#hold = undefined;
  }

  async #look(justTried: boolean): Promise<boolean> {
    const insists = this.#insists;
    this.#insists = false;
    // Before `init`: what changes while that runs is a change for the next look.
    const { present, fingerprint } = await look(this.#files);
    if (!present && !this.#isGone && this.#hold?.isRemoved()) {
      this.#leave(fingerprint);
      return false;
    }
    const hasChanged = fingerprint !== this.#fingerprint;
    if (hasChanged) {
      this.#fingerprint = fingerprint;
      this.#isPending = true;
      await this.#holdOn();
    }
    const isDue = this.#isPending || (insists && this.#driver === undefined);
    if (!isDue || (justTried && !hasChanged)) return false;
    await this.#initialise();
    return true;
  }

  async #initialise(): Promise<void> {
    const { log, name } = this.#settings;
    try {
      this.#driver = await Driver.initialise(this.#settings);
      this.#isPending = false;
      this.#isGone = false;
      this.#failure = undefined;
      const { extensions, ...capabilities } = this.#driver.capabilities;
      const { problems, ...extended } = extensions;
      log.info({ driver: name, capabilities: { ...capabilities, ...extended } }, 'driver initialised');
      for (const problem of problems)
        log.warn({ driver: name, problem }, 'part of the answer to init ignored');
    } catch (error) {
      const failure =
        error instanceof Failure
          ? error
          : new Failure('driver-unusable', `driver ${name}: ${errorMessage(error)}`, { cause: error });
      const level = failure.message === this.#failure?.message ? 'debug' : 'warn';
      log[level](
        {
          driver: name,
          problem: failure.message,
          oldStaysInUse: this.#driver !== undefined && !this.#isGone,
        },
        'init failed',
      );
      this.#failure = failure;
    }
  }

  #leave(fingerprint: string): void {
    const { log, name, file } = this.#settings;
    this.#isGone = true;
    this.#isPending = false;
    this.#fingerprint = fingerprint;
    this.#failure = removedFailure(name, file);
    log.warn({ driver: name, file }, 'driver removed');
  }

  async #holdOn(): Promise<void> {
    let hold: Hold;
    try {
      hold = await Hold.on(this.#files);
    } catch {
      // Renamed away: what is held tells later whether that is all.
      return;
    }
    this.#hold?.release();
    this.#hold = hold;
  }
}

/** What is wrong with a driver whose executable or directory was removed. */
export function removedFailure(name: string, file: string): Failure {
  return new Failure('driver-unusable', `driver ${name}: ${file} was removed: install it there again`);
}
