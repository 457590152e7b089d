import { readFileSync } from 'node:fs';

/** Whether a process is alive; one that has ended but was not yet waited for by its parent is not. */
export function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
