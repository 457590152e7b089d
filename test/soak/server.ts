/** The flexcsi that is soaked: a process of its own, with its log in a file and V8's inspector on the loopback. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isRunning } from '../support/processes.ts';
import { MARK, NODE, type Places } from './places.ts';

const main = join(import.meta.dirname, '../../src/main.ts');
const START_MS = 120_000;
const END_MS = 60_000;

/** Short, so that hanging drivers come to their end within the run; long enough for those that only work. */
const DRIVER_TIMEOUT = '10s';

export class Server {
  readonly #child: ChildProcess;
  readonly #places: Places;

  constructor(places: Places) {
    this.#places = places;
    const log = openSync(places.log, 'a');
    const options = {
      driver: places.driver,
      endpoint: `unix://${places.socket}`,
      'node-id': NODE,
      'state-dir': places.state,
      'kubelet-dir': places.kubelet,
      'driver-timeout': DRIVER_TIMEOUT,
    };
    const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
    this.#child = spawn(process.execPath, ['--inspect=127.0.0.1:0', main, 'serve', ...args], {
      env: { ...process.env, [MARK]: places.root, SOAK_WORLD: places.world, TMPDIR: places.temporary },
      stdio: ['ignore', log, log],
      // A Ctrl-C is for the suite, which ends it.
      detached: true,
    });
    closeSync(log);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get isAlive(): boolean {
    return isRunning(this.pid);
  }

  /** The address of its inspector. @throws {Error} with its log when it does not tell one. */
  async inspector(): Promise<string> {
    for (const start = Date.now(); Date.now() - start < START_MS && this.isAlive; await sleep(50)) {
      const [url] = /ws:\/\/127\.0\.0\.1:\d+\/[-0-9a-f]+/.exec(readFileSync(this.#places.log, 'utf8')) ?? [];
      if (url !== undefined) return url;
    }
    throw new Error(`flexcsi did not start: ${readFileSync(this.#places.log, 'utf8').slice(-1000)}`);
  }

  /** SIGTERM, and waits. Answers what was wrong with its end. */
  async end(): Promise<string | undefined> {
    if (!this.isAlive) {
      return `it ended by itself: exit code ${this.#child.exitCode}, signal ${this.#child.signalCode}`;
    }
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGTERM');
    await Promise.race([gone, sleep(END_MS, undefined, { ref: false })]);
    if (this.#child.exitCode === 0) return undefined;
    this.#child.kill('SIGKILL');
    return `after SIGTERM: exit code ${this.#child.exitCode}, signal ${this.#child.signalCode}`;
  }
}
