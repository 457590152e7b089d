/** Process groups: all that a program has started and that has not left it (`setsid`). */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode } from './errors.ts';

/** Between SIGTERM and SIGKILL. Kubelet's own figure for a driver past its time limit. */
export const KILL_AFTER_MS = 10_000;
/** After SIGKILL: a process that is still there then sleeps in the kernel and is left to itself. */
export const ABANDON_AFTER_MS = 5_000;
/** Between two looks at a group that is to end: each takes a look at every process there is. */
const FIRST_WAIT_MS = 10;
const LONGEST_WAIT_MS = 1_000;

/** Sends a signal to all of a group; there may be nobody left. */
export function signalGroup(group: number | undefined, signal: NodeJS.Signals): void {
  if (group === undefined) return;
  try {
    process.kill(-group, signal);
  } catch {
    // ESRCH: all of it has ended.
  }
}

/** Ends what is left of a group, with SIGKILL in the end. Answers whether all of it has ended. */
export async function endGroup(group: number | undefined, first: NodeJS.Signals): Promise<boolean> {
  signalGroup(group, first);
  if (first !== 'SIGKILL' && !(await groupEnds(group, KILL_AFTER_MS))) signalGroup(group, 'SIGKILL');
  return await groupEnds(group, ABANDON_AFTER_MS);
}

/** Waits until the last of a group has ended, for so many milliseconds, for ever when left out. Answers whether it has. */
export async function groupEnds(
  group: number | undefined,
  limitMs = Number.POSITIVE_INFINITY,
): Promise<boolean> {
  const deadline = performance.now() + limitMs;
  for (let wait = FIRST_WAIT_MS; isAlive(group); wait = Math.min(wait * 1.5, LONGEST_WAIT_MS)) {
    if (performance.now() >= deadline) return false;
    await sleep(Math.min(wait, Math.max(deadline - performance.now(), 1)), undefined, { ref: false });
  }
  return true;
}

/** Whether a process of the group still runs. One that has ended counts no more, whether or not somebody reaps it. */
function isAlive(group: number | undefined): boolean {
  if (group === undefined) return false;
  try {
    process.kill(-group, 0);
  } catch (error) {
    return errorCode(error) === 'EPERM';
  }
  return readdirSync('/proc').some((name) => /^\d+$/.test(name) && isRunningIn(group, name));
}

function isRunningIn(group: number, pid: string): boolean {
  try {
    // `pid (name) state parent group …`; the name may hold anything.
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state, , pgrp] = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return Number(pgrp) === group && state !== 'Z' && state !== 'X';
  } catch {
    // Gone meanwhile.
    return false;
  }
}
