/** What a process holds, read from the kernel's tables. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { mountsBelow } from '../sanity/leftovers.ts';
import { filesBelow, volumeRecords } from '../support/files.ts';
import type { Places } from './places.ts';

export interface Sample {
  /** Resident memory, bytes. */
  readonly rss: number;
  /** Open descriptors, without the pipes, which are kept for drivers' output. */
  readonly descriptors: number;
  readonly pipes: number;
  readonly threads: number;
  /** Programs that it runs. */
  readonly children: number;
  /** Children that have ended and were not waited for. */
  readonly zombies: readonly number[];
  readonly mounts: number;
  /** Files in the state directory. */
  readonly records: number;
  readonly temporary: number;
}

export function takeSample(pid: number, places: Places): Sample {
  const status = read(`/proc/${pid}/status`);
  const opened = descriptorsOf(pid);
  const pipes = opened.filter(isPipe).length;
  const children = read(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean).map(Number);
  return {
    rss: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024,
    descriptors: opened.length - pipes,
    pipes,
    threads: Number(/^Threads:\s+(\d+)$/m.exec(status)?.[1]),
    children: children.length,
    zombies: children.filter((child) => /^\d+ \(.*\) Z/s.test(read(`/proc/${child}/stat`))),
    mounts: mountsBelow(places.root).length,
    records: volumeRecords(places.state).length,
    temporary: filesBelow(places.temporary).length,
  };
}

/** What the descriptors of a process lead to, as /proc shows it. */
export function descriptorsOf(pid: number): string[] {
  const directory = `/proc/${pid}/fd`;
  return readdirSync(directory).flatMap((descriptor) => {
    try {
      return [readlinkSync(join(directory, descriptor))];
    } catch {
      // Closed meanwhile.
      return [];
    }
  });
}

/** Of a pipe, by what /proc shows. */
export function isPipe(target: string): boolean {
  return target.startsWith('pipe:');
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // It has ended.
    return '';
  }
}
