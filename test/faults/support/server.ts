/** flexcsi as a process of its own: what it holds, what it started, and how it ends. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

const main = join(import.meta.dirname, '../../../src/main.ts');
/** It starts in half a second; on a machine that does other things at the same time it takes what it takes. */
const START_MS = 120_000;
/** It gives running calls 25 s. */
const END_MS = 120_000;

export interface ServerOptions {
  /** Of `serve`, with their values. */
  readonly args: readonly string[];
  readonly socket: string;
  readonly env: NodeJS.ProcessEnv;
  readonly log: string;
}

export class Server {
  readonly #child: ChildProcess;
  readonly #log: string;

  private constructor(child: ChildProcess, log: string) {
    this.#child = child;
    this.#log = log;
  }

  /**
   * Starts it and waits for its socket.
   *
   * @throws {Error} with the end of its log when it ends instead.
   */
  static async start({ args, socket, env, log }: ServerOptions): Promise<Server> {
    const file = openSync(log, 'a');
    const child = spawn(process.execPath, [main, 'serve', ...args, '--endpoint', `unix://${socket}`], {
      env,
      stdio: ['ignore', file, file],
      detached: true,
    });
    closeSync(file);
    const server = new Server(child, log);
    for (const start = Date.now(); !existsSync(socket); await setTimeout(20)) {
      if (Date.now() - start > START_MS) child.kill('SIGKILL');
      const ended = server.ending();
      if (ended !== undefined) throw new Error(`flexcsi ${ended} without a socket: ${server.logTail()}`);
    }
    return server;
  }

  /** How it ended; undefined while it runs. */
  ending(): string | undefined {
    const { exitCode, signalCode } = this.#child;
    if (signalCode !== null) return `was ended by ${signalCode}`;
    return exitCode === null ? undefined : `ended with exit code ${exitCode}`;
  }

  /** How many processes it has started that have not ended, or for which it has not waited. */
  children(): number {
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    return pids.filter((pid) => parentOf(pid) === this.#child.pid).length;
  }

  /** Long enough for what was sent before to be taken in; nothing depends on it but how much a check can see. */
  async settle(): Promise<void> {
    await setTimeout(300);
  }

  /** How many file descriptors it has open. */
  descriptors(): number {
    return readdirSync(`/proc/${this.#child.pid}/fd`).length;
  }

  /** The last things in its log that went wrong. */
  logTail(): string {
    const lines = readFileSync(this.#log, 'utf8').trim().split('\n');
    return lines.flatMap(problemIn).slice(-4).join('\n');
  }

  /** Tells it to end. @throws {Error} when it had ended before, does not end, or not with exit code 0. */
  async end(): Promise<void> {
    const early = this.ending();
    if (early !== undefined) throw new Error(`flexcsi ${early} while it should serve: ${this.logTail()}`);
    const exited = once(this.#child, 'exit').then(() => true);
    this.#child.kill('SIGTERM');
    const hasEnded = await Promise.race([exited, setTimeout(END_MS, false, { ref: false })]);
    if (!hasEnded) throw new Error(`flexcsi did not end within ${END_MS / 1000} s of SIGTERM`);
    if (this.#child.exitCode !== 0) throw new Error(`flexcsi ${this.ending()} after SIGTERM`);
  }

  /** Ends it at once, as a crash does. */
  async kill(): Promise<void> {
    if (this.ending() !== undefined) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }
}

function parentOf(pid: string): number | undefined {
  try {
    const [, parent] = /^\d+ \(.*\) \S (\d+)/s.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? [];
    return Number(parent);
  } catch {
    // Gone meanwhile.
    return undefined;
  }
}

/** What a line of the log complains about; nothing when all went well. */
function problemIn(line: string): string[] {
  try {
    const { level, rpc, code, problem, msg } = JSON.parse(line) as Record<string, unknown>;
    if (level !== 'warn' && level !== 'error') return [];
    return [
      [rpc, code, msg, problem]
        .filter((word) => typeof word === 'string')
        .join(' ')
        .slice(0, 500),
    ];
  } catch {
    return line === '' ? [] : [line.slice(0, 500)];
  }
}
