/** What a plugin must not leave behind, found without its help: in the kernel's own tables. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { isRunning } from '../support/processes.ts';

/** Mount points below a directory, the innermost first. */
export function mountsBelow(directory: string): string[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const points = lines.map((line) => line.split(' ')[4] ?? '');
  return points.filter((point) => point.startsWith(`${directory}/`)).reverse();
}

/** Loop devices of files below a directory, as `/dev/loop0 (file)`. */
export function loopDevicesBelow(directory: string): { readonly device: string; readonly file: string }[] {
  const names = readdirSync('/sys/block').filter((name) => name.startsWith('loop'));
  return names
    .map((name) => ({ device: `/dev/${name}`, file: read(`/sys/block/${name}/loop/backing_file`).trim() }))
    .filter(({ file }) => file.startsWith(`${directory}/`));
}

/** Processes that have this in their environment, as `NAME=value`. */
export function processesWith(variable: string): { readonly pid: number; readonly command: string }[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids
    .filter((pid) => read(`/proc/${pid}/environ`).split('\0').includes(variable) && isRunning(Number(pid)))
    .map((pid) => ({
      pid: Number(pid),
      command: read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim(),
    }));
}

/** Takes all of it away, so that the next run finds none of it. */
export function removeLeftovers(directory: string, variable: string): void {
  for (const { pid } of processesWith(variable)) process.kill(pid, 'SIGKILL');
  for (const point of mountsBelow(directory)) spawnSync('umount', ['--lazy', point]);
  for (const { device } of loopDevicesBelow(directory)) spawnSync('losetup', ['--detach', device]);
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // It has gone, or is none of ours.
    return '';
  }
}
