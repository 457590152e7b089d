/** What calls answer, and the demands on it. */
import { status } from '@grpc/grpc-js';

export interface Answer {
  /** gRPC's name of the code: `OK`, `INTERNAL`, … */
  readonly code: string;
  /** The message of a failure. */
  readonly details: string;
}

/** How a call ends. @throws what is no gRPC failure: a fault of the test. */
export async function answerOf(call: Promise<unknown>): Promise<Answer> {
  try {
    await call;
    return { code: 'OK', details: '' };
  } catch (error) {
    const { code, details } = error as { code?: unknown; details?: unknown };
    if (typeof code !== 'number' || typeof details !== 'string') throw error;
    return { code: status[code] ?? String(code), details };
  }
}

/** @throws {Error} when it does not hold. */
export function demand(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(what);
}

/**
 * Waits for a call to end with one of these codes (`OK|ABORTED`), and answers which.
 *
 * @throws {Error} when it ends otherwise, or `says` does not match its message.
 */
export async function expectCode(call: Promise<unknown>, codes: string, says?: RegExp): Promise<string> {
  const { code, details } = await answerOf(call);
  demand(codes.split('|').includes(code), `answered ${code} (${details}), not ${codes}`);
  demand(says === undefined || code === 'OK' || says.test(details), `${code} says "${details}", not ${says}`);
  return code;
}
