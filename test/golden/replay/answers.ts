/** What a recorded driver answered, as the scripted driver does it. */
import type { Answer, Print } from '../../support/scripted-driver.ts';
import { shellFor } from './actions.ts';
import type { DriverAnswer } from './records.ts';

/** The answer for the scripted driver. `scale` shortens its times. */
export function scripted(recorded: DriverAnswer, scale: (seconds: number) => number): Answer {
  const times = {
    sleepMs: recorded.runs_seconds,
    daemonMs: recorded.leaves_background_child_with_stdout_open_seconds,
    childMs: recorded.waits_for_child_with_stdout_open_seconds,
  };
  return {
    prints: printsOf(recorded),
    ...(recorded.driver_does === undefined ? {} : { shell: shellFor(recorded.driver_does) }),
    ...(recorded.ignores_sigterm ? { ignoreSigterm: true } : {}),
    ...Object.fromEntries(
      Object.entries(times)
        .filter(([, seconds]) => seconds !== undefined)
        .map(([name, seconds]) => [name, scale(seconds as number) * 1000]),
    ),
    ...(recorded.killed_by_signal === undefined
      ? { exit: recorded.exit ?? 0 }
      : { signal: recorded.killed_by_signal }),
  };
}

/** What it printed, in the order in which a pipe for both streams carries it. */
export function printsOf(recorded: DriverAnswer): Print[] {
  const parts = recorded.writes ?? [{ ...recorded }];
  return parts.flatMap((part) =>
    (['stdout', 'stderr'] as const).flatMap((to) => {
      const base64 = part[`${to}_base64`];
      const bytes = base64 === undefined ? Buffer.from(part[to] ?? '') : Buffer.from(base64, 'base64');
      return bytes.length === 0 ? [] : [{ to, bytes }];
    }),
  );
}

/** All that it printed, as kubelet reads it. */
export function outputOf(recorded: DriverAnswer): Buffer {
  return Buffer.concat(printsOf(recorded).map(({ bytes }) => Buffer.from(bytes)));
}

/** The status in the answer, by JavaScript's own reader; undefined when it is not a plain object. */
export function statusOf(recorded: DriverAnswer): string | undefined {
  try {
    const object = JSON.parse(outputOf(recorded).toString()) as { status?: unknown } | null;
    return typeof object?.status === 'string' ? object.status : undefined;
  } catch {
    return undefined;
  }
}
