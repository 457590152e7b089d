/** When and what is killed. */
import { setTimeout as sleep } from 'node:timers/promises';
import { processesWith } from '../sanity/leftovers.ts';
import { isRunning } from '../support/processes.ts';
import type { History } from './history.ts';
import type { Mode } from './modes.ts';
import type { Random } from './random.ts';
import { type Child, type Server, verbOf } from './server.ts';

/** Verbs of the driver, and programs that flexcsi itself runs, that are worth to be hit. */
const PREY = [
  'provision',
  'delete',
  'attach',
  'detach',
  'waitforattach',
  'mountdevice',
  'unmountdevice',
  'snapshot',
  'deletesnapshot',
  'expandvolume',
  'expandfs',
  'mount',
  'umount',
  'mkdir',
  'rmdir',
] as const;

/** How long a certain program is waited for. Then any moment is as good. */
const AIM_MS = 1_500;
const LOOK_MS = 2;
/** How long a driver that can be killed is looked for. */
const HUNT_MS = 60_000;

export class Killer {
  readonly #mode: Mode;
  readonly #server: Server;
  readonly #random: Random;
  readonly #history: History;
  /** In the environment of all that may be killed. */
  readonly #mark: string;

  constructor(mode: Mode, server: Server, random: Random, history: History, mark: string) {
    this.#mode = mode;
    this.#server = server;
    this.#random = random;
    this.#history = history;
    this.#mark = mark;
  }

  /** Waits for a moment to kill: any one; when a program has just been started; when a call was just answered. */
  async wait(): Promise<void> {
    const random = this.#random;
    const how = random.next();
    await sleep(random.whole(0, 700));
    if (how < 0.3) {
      await sleep(random.whole(0, 700));
    } else if (how < 0.85) {
      const prey = random.pick(PREY);
      const delay = random.chance(0.5) ? random.whole(0, 15) : random.whole(0, 150);
      await this.#started(({ verb }) => verb === prey, AIM_MS);
      await sleep(delay);
    } else {
      await Promise.race([this.#history.nextAnswer(), sleep(AIM_MS, undefined, { ref: false })]);
      await sleep(random.whole(0, 4));
    }
  }

  /** Kills; resolves when what was to be killed is gone. Answers whether flexcsi was. */
  async strike(): Promise<boolean> {
    if (this.#mode.kills === 'driver') {
      await this.#strikeDriver();
      return false;
    }
    const takesAll = this.#mode.kills === 'all' || (this.#mode.losesState && this.#random.chance(0.5));
    const running = this.#server.children().map((child) => child.args.join(' ').slice(0, 300));
    this.#note(
      `flexcsi${takesAll ? ' and all that it runs' : ''}; it runs ${running.join(' | ') || 'nothing'}`,
    );
    await this.#server.kill();
    if (takesAll) await this.#killAll();
    return true;
  }

  /** One after the other, until none is left: those that are left could start others meanwhile. */
  async #killAll(): Promise<void> {
    for (let left = processesWith(this.#mark); left.length > 0; left = processesWith(this.#mark)) {
      for (const { pid } of left) kill(pid);
      await sleep(1);
    }
  }

  /** Not over before one was hit. */
  async #strikeDriver(): Promise<void> {
    for (const start = Date.now(); Date.now() - start < HUNT_MS; ) {
      const found =
        (await this.#started(({ driver }) => driver, AIM_MS)) ??
        this.#server.children().find((child) => verbOf(child).driver);
      if (found === undefined) continue;
      await sleep(this.#random.chance(0.5) ? this.#random.whole(0, 10) : this.#random.whole(0, 80));
      const withTools = this.#random.chance(0.5);
      if (!isRunning(found.pid)) continue;
      // flexcsi starts every driver in a process group of its own.
      kill(withTools ? -found.pid : found.pid);
      const what = found.args.join(' ').slice(0, 300);
      this.#note(`driver ${found.pid}${withTools ? ' with its tools' : ''}: ${what}`);
      return;
    }
    this.#note('no driver: none has run');
  }

  /** The next program that flexcsi starts and that is wanted; undefined when there is none in time. */
  async #started(
    isWanted: (verb: ReturnType<typeof verbOf>) => boolean,
    limitMs: number,
  ): Promise<Child | undefined> {
    const before = new Set(this.#server.children().map(({ pid }) => pid));
    for (const start = Date.now(); Date.now() - start < limitMs; await sleep(LOOK_MS)) {
      const child = this.#server.children().find((one) => !before.has(one.pid) && isWanted(verbOf(one)));
      if (child !== undefined) return child;
    }
    return undefined;
  }

  #note(text: string): void {
    this.#history.note('kill', text);
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}
