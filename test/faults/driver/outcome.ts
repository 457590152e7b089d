/** How calls end, and how long is waited for what must happen. */
import { setTimeout as sleep } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';

/** How a call ended: gRPC's name of the code, `OK` too, and the message. */
export interface Outcome {
  readonly code: string;
  readonly details: string;
}

/** What became of a call. */
export async function outcomeOf(call: Promise<unknown>): Promise<Outcome> {
  try {
    await call;
    return { code: 'OK', details: '' };
  } catch (error) {
    const { code, details } = error as { code?: status; details?: string };
    if (code === undefined) throw error;
    return { code: status[code] ?? String(code), details: details ?? '' };
  }
}

/** A generous bound: only what never happens is missed. */
const UNTIL_MS = 30_000;

/** Resolves when `check` holds. Throws when it does not within a time in which it must. */
export async function until(what: string, check: () => boolean): Promise<void> {
  const start = Date.now();
  while (!check()) {
    if (Date.now() - start > UNTIL_MS) throw new Error(`${what}: not within ${UNTIL_MS / 1000} s`);
    await sleep(50);
  }
}
