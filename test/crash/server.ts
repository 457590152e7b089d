/** flexcsi as a process that gets killed and started again. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isRunning } from '../support/processes.ts';
import { NODE, placesOf, type Setting } from './setting.ts';
import { Violation } from './violation.ts';

const root = join(import.meta.dirname, '../..');
export const driverFile = join(root, 'drivers/flexcsi~loop/loop');

/** In the environment of every process of a batch, with its directory. */
export const MARK = 'FLEXCSI_CRASH';

const START_MS = 120_000;
const END_MS = 60_000;

export class Server {
  readonly #setting: Setting;
  #child: ChildProcess | undefined;
  #isKilled = false;

  constructor(setting: Setting) {
    this.#setting = setting;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  start(): void {
    const { directory, attachOn } = this.#setting;
    const places = placesOf(directory);
    const log = openSync(places.log, 'a');
    const args = ['serve', '--driver', driverFile, '--endpoint', `unix://${places.socket}`];
    args.push('--node-id', NODE, '--attach-on', attachOn, '--state-dir', places.state);
    args.push('--kubelet-dir', places.kubelet, '--driver-timeout', '3m', '--log-level', 'debug');
    this.#child = spawn(process.execPath, [join(root, 'src/main.ts'), ...args], {
      env: {
        ...process.env,
        [MARK]: directory,
        FLEXCSI_LOOP_DIR: places.images,
        NODE_NAME: NODE,
        TMPDIR: places.temporary,
      },
      stdio: ['ignore', log, log],
      // A Ctrl-C is for the suite, which ends it.
      detached: true,
    });
    closeSync(log);
    this.#isKilled = false;
  }

  /**
   * Resolves when it serves.
   *
   * @throws {Violation} when it does not, though nobody killed it.
   */
  async untilReady(): Promise<void> {
    const { client } = this.#setting;
    for (const start = Date.now(); ; await sleep(20)) {
      this.requireAlive();
      const answer = await client.identity('Probe', {}, { deadlineMs: 10_000 }).catch(() => undefined);
      if (answer?.ready?.value) return;
      if (Date.now() - start > START_MS) throw new Violation('flexcsi serves after its start', []);
    }
  }

  /** @throws {Violation} when it has ended by itself. */
  requireAlive(): void {
    if (this.#isKilled || isRunning(this.pid)) return;
    const { exitCode, signalCode } = this.#child ?? {};
    throw new Violation('flexcsi does not end by itself', [`exit code ${exitCode}, signal ${signalCode}`]);
  }

  /** SIGKILL; resolves when it is gone. */
  async kill(): Promise<void> {
    this.#isKilled = true;
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }

  /** SIGTERM. @throws {Violation} when it does not end well. */
  async end(): Promise<void> {
    this.requireAlive();
    const child = this.#child;
    if (child === undefined) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    await Promise.race([gone, sleep(END_MS, undefined, { ref: false })]);
    if (child.exitCode === 0) return;
    const how = `exit code ${child.exitCode}, signal ${child.signalCode}`;
    throw new Violation('flexcsi ends with 0 on SIGTERM', [how]);
  }

  /** The programs that it runs at the moment, as their command lines. */
  children(): Child[] {
    // Programs are started by the main thread.
    const pids = read(`/proc/${this.pid}/task/${this.pid}/children`).split(' ').filter(Boolean).map(Number);
    return pids.map((pid) => ({ pid, args: read(`/proc/${pid}/cmdline`).split('\0') }));
  }
}

export interface Child {
  readonly pid: number;
  readonly args: readonly string[];
}

/** The verb, if that is a run of the driver; else the name of the program. */
export function verbOf({ args }: Child): { readonly driver: boolean; readonly verb: string } {
  const at = args.indexOf(driverFile);
  // Behind it is the shell; what has flexcsi's own arguments is about to become another program.
  if (at >= 0 && at <= 2) return { driver: true, verb: args[at + 1] ?? '' };
  return { driver: false, verb: (args[0] ?? '').split('/').at(-1) ?? '' };
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // It has ended.
    return '';
  }
}
