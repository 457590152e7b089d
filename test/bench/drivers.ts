/**
 * `npm run bench`: what many drivers in one process cost, beside one: time until all are registered, memory, and what
 * the process does when nobody asks anything. Figures are for comparison within one run; machines differ.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { PluginWatcher } from '../support/plugin-watcher.ts';
import { attachFalse } from '../support/scenario.ts';
import { ScriptedDriver } from '../support/scripted-driver.ts';

const main = join(import.meta.dirname, '../../src/main.ts');
const QUIET_MS = 20_000;
const TICKS_PER_S = 100;

interface Figures {
  readonly drivers: number;
  readonly startS: number;
  readonly memoryMiB: number;
  readonly descriptors: number;
  /** Of one processor, while nobody asks. */
  readonly idlePercent: number;
}

const all: Figures[] = [];
for (const drivers of [1, 10, 50]) all.push(await measure(drivers));
const [one] = all;
console.log('drivers   start s   memory MiB   descriptors   idle %');
for (const { drivers, startS, memoryMiB, descriptors, idlePercent } of all) {
  const times = (value: number, base: number | undefined) => `(${(value / (base ?? value)).toFixed(1)}x)`;
  console.log(
    [
      String(drivers).padEnd(9),
      `${startS.toFixed(2)} ${times(startS, one?.startS)}`,
      `${memoryMiB.toFixed(0)} ${times(memoryMiB, one?.memoryMiB)}`,
      String(descriptors),
      idlePercent.toFixed(1),
    ].join('   '),
  );
}

async function measure(drivers: number): Promise<Figures> {
  const directory = mkdtempSync(join(tmpdir(), 'flexcsi-bench-'));
  const kubelet = join(directory, 'kubelet');
  for (const name of ['plugins', 'plugins_registry']) mkdirSync(join(kubelet, name), { recursive: true });
  for (let number = 1; number <= drivers; number++) {
    ScriptedDriver.install(join(directory, 'drivers'), `example.com/driver-${number}`).script(
      'init',
      attachFalse,
    );
  }
  const watcher = new PluginWatcher(join(kubelet, 'plugins_registry'));
  const started = performance.now();
  const args = [
    'serve',
    '--plugin-dir',
    join(directory, 'drivers'),
    '--node-id',
    'n',
    '--log-level',
    'silent',
  ];
  const server = spawn(
    process.execPath,
    [main, ...args, '--state-dir', join(directory, 'state'), '--kubelet-dir', kubelet],
    { stdio: 'inherit' },
  );
  while (watcher.registered.size < drivers) await setTimeout(20);
  const startS = (performance.now() - started) / 1000;
  await setTimeout(2_000);
  const before = ticksOf(server.pid);
  await setTimeout(QUIET_MS);
  const idlePercent = ((ticksOf(server.pid) - before) / TICKS_PER_S / (QUIET_MS / 1000)) * 100;
  const figures = {
    drivers,
    startS,
    memoryMiB: memoryOf(server.pid),
    descriptors: descriptorsOf(server.pid),
    idlePercent,
  };
  const exited = new Promise((resolve) => server.on('exit', resolve));
  server.kill('SIGTERM');
  await exited;
  await watcher.close();
  rmSync(directory, { recursive: true });
  return figures;
}

function memoryOf(pid: number | undefined): number {
  const [, kib] = /^VmRSS:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) / 1024;
}

function descriptorsOf(pid: number | undefined): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

function ticksOf(pid: number | undefined): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}
