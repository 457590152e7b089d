/**
 * Where requests with any paths and devices do no harm: one directory can be written, nothing else, and there are no
 * disks. To be entered in a private mount namespace: it changes the mounts of this process, for good.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type MountEntry, MountTable, parseMountInfo } from '../../../src/mount/mount-table.ts';

/** What programs need. No disk, no loop device. */
const devices = ['null', 'zero', 'full', 'random', 'urandom', 'tty'];

/**
 * Answers the directory, a tmpfs without devices, in which `TMPDIR` lies from now on. The directory below it has to be
 * removed by whoever made the namespace.
 *
 * @throws {Error} when something could still be written elsewhere.
 */
export function enterCell(directory: string): string {
  mount('-t', 'tmpfs', '-o', 'mode=0700,size=1g,nodev', 'cell', directory);
  putDevices(join(directory, 'dev'));
  for (const { mountPoint, options } of mounts()) {
    if (mountPoint === directory) continue;
    // A mount of a user namespace must keep what it has.
    const kept = options.filter((option) => /^(no(suid|dev|exec|atime|diratime)|relatime)$/.test(option));
    mount('-o', ['remount', 'bind', 'ro', ...kept].join(','), mountPoint);
  }
  const temporary = join(directory, 'tmp');
  mkdirSync(temporary);
  process.env.TMPDIR = temporary;
  process.chdir(directory);
  const open = mounts().filter(({ mountPoint, options }) => mountPoint !== directory && options[0] !== 'ro');
  if (open.length > 0)
    throw new Error(`${open.map(({ mountPoint }) => mountPoint).join(', ')} can still be written`);
  return directory;
}

/** A directory for a cell. */
export function makeCellDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'flexcsi-fuzz-cell-'));
}

function putDevices(at: string): void {
  mkdirSync(at);
  mount('-t', 'tmpfs', '-o', 'mode=0755', 'cell', at);
  for (const name of devices) {
    if (!existsSync(`/dev/${name}`)) continue;
    writeFileSync(join(at, name), '');
    mount('--bind', `/dev/${name}`, join(at, name));
  }
  for (const [name, to] of [
    ['fd', ''],
    ['stdin', '/0'],
    ['stdout', '/1'],
    ['stderr', '/2'],
  ] as const) {
    symlinkSync(`/proc/self/fd${to}`, join(at, name));
  }
  mkdirSync(join(at, 'shm'));
  mount('-t', 'tmpfs', '-o', 'mode=1777,nodev', 'cell', join(at, 'shm'));
  mount('--move', at, '/dev');
}

/** Those that can be reached: not below the old `/dev`, which is hidden, nor the new devices, where nothing can be. */
function mounts(): MountEntry[] {
  const table = new MountTable(parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8')));
  return table.entries.filter((entry) => {
    return table.at(entry.mountPoint) === entry && !entry.mountPoint.startsWith('/dev/');
  });
}

function mount(...args: readonly string[]): void {
  execFileSync('mount', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
