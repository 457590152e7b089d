/**
 * Ends this process when a case takes for ever. It is a thread of its own: code that never returns keeps every
 * timer of the main one from firing.
 */
import { Worker } from 'node:worker_threads';

/** Far more than any case needs on a busy machine. */
const LIMIT_MS = 180_000;

const program = `
const { workerData: { shared, limitMs }, parentPort } = require('node:worker_threads');
const { writeSync } = require('node:fs');
const beats = new Int32Array(shared);
let name = '', seen = -1, since = 0;
parentPort.on('message', (text) => { name = text; seen = -1; });
setInterval(() => {
  const now = Atomics.load(beats, 0);
  if (now !== seen || name === '') { seen = now; since = Date.now(); return; }
  if (Date.now() - since < limitMs) return;
  writeSync(2, 'fuzz: ' + name + ': a case does not end; to see it again: ' + name + ' --cases ' + now + '\\n');
  process.kill(process.pid, 'SIGKILL');
}, 1000);
`;

export interface Watchdog {
  /** From now on cases of this are tried: the words of the command line that tries them again. */
  watch(what: string): void;
  /** A case begins. */
  beat(): void;
  stop(): Promise<void>;
}

export function startWatchdog(limitMs: number = LIMIT_MS): Watchdog {
  const shared = new SharedArrayBuffer(4);
  const beats = new Int32Array(shared);
  const worker = new Worker(program, { eval: true, execArgv: [], workerData: { shared, limitMs } });
  worker.unref();
  return {
    watch: (what) => {
      Atomics.store(beats, 0, 0);
      worker.postMessage(what);
    },
    beat: () => void Atomics.add(beats, 0, 1),
    stop: async () => void (await worker.terminate()),
  };
}
