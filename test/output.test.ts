import { spawnSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { OutputCollector, type Pipe } from '../src/output.ts';

test('output that is there in time counts, however late this process gets to read it', async () => {
  const { fifo, path } = makeFifo();
  const collector = new OutputCollector(fifo, 1024);
  const writer = openSync(path, constants.O_RDWR);
  // From here on the next thing that the event loop does is to look at its timers.
  await setImmediate();
  writeSync(writer, 'an answer');
  const ended = collector.untilEnd(1);
  block(50);
  await ended;
  expect(collector.output().toString()).toBe('an answer');
  closeSync(writer);
});

/** Keeps the event loop from all else, as a busy machine does. */
function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

function makeFifo(): { readonly fifo: Pipe; readonly path: string } {
  const directory = mkdtempSync(join(tmpdir(), 'flexcsi-output-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'fifo');
  spawnSync('mkfifo', [path]);
  return { fifo: { open: (flags) => openSync(path, flags), close: () => {} }, path };
}
