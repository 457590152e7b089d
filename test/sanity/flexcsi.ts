/** flexcsi as its users run it: a process of its own, with its log in a file. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

const main = join(import.meta.dirname, '../../src/main.ts');

export interface Flexcsi {
  /** Tells it to end, and waits. Answers what was wrong: it had ended before, or did not end well. */
  end(): Promise<string | undefined>;
}

export interface FlexcsiOptions {
  /** Those of `serve`, without --endpoint and --log-level. */
  readonly options: readonly string[];
  readonly socket: string;
  readonly env: NodeJS.ProcessEnv;
  readonly log: string;
}

const START_MS = 30_000;
const END_MS = 30_000;

/**
 * Starts it, and waits for its socket.
 *
 * @throws {Error} with the end of its log, when there is none.
 */
export async function startFlexcsi({ options, socket, env, log }: FlexcsiOptions): Promise<Flexcsi> {
  const file = openSync(log, 'a');
  const args = ['serve', ...options, '--endpoint', `unix://${socket}`, '--log-level', 'debug'];
  // Detached: a Ctrl-C is for those who use it, and they end it.
  const child = spawn(process.execPath, [main, ...args], {
    env,
    stdio: ['ignore', file, file],
    detached: true,
  });
  closeSync(file);
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  for (const start = Date.now(); !existsSync(socket); await setTimeout(50)) {
    if (Date.now() - start > START_MS) child.kill('SIGKILL');
    if (hasEnded(child)) {
      throw new Error(`flexcsi ${ending(child)} without a socket: ${readFileSync(log, 'utf8').slice(-1000)}`);
    }
  }
  return {
    end: async () => {
      if (hasEnded(child)) return `flexcsi ${ending(child)} while it should serve`;
      child.kill('SIGTERM');
      const ended = await Promise.race([exited.then(() => true), setTimeout(END_MS, false, { ref: false })]);
      if (!ended) {
        child.kill('SIGKILL');
        return `flexcsi did not end within ${END_MS / 1000} s of SIGTERM`;
      }
      return child.exitCode === 0 ? undefined : `flexcsi ${ending(child)} after SIGTERM`;
    },
  };
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function ending(child: ChildProcess): string {
  return child.signalCode === null
    ? `ended with exit code ${child.exitCode}`
    : `was ended by ${child.signalCode}`;
}
