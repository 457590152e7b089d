/** How a path was before a step, where the record does not say it: read from what the step did and left. */
import { mountsOn } from './actions.ts';
import type { GoldenRecord, PathState } from './records.ts';

const mounted: PathState = { exists: true, mode: '0755', mounted: 'tmpfs (rw)' };

/** @param path as the record has it. */
export function stateBefore(record: GoldenRecord, path: string): PathState {
  const { given, step } = record;
  if (given.before !== undefined) return given.before;
  const after = record.after[path] ?? {};
  const calls = record.calls.filter(({ argv }) => argv[0] !== 'getvolumename');
  const does = calls.flatMap((call) => call.driver_answer.driver_does ?? []);
  if (step === 'SetUp' || step === 'MountDevice') {
    // Done without a call: it was a mount point before, alive or dead.
    if (calls.length === 0 && record.outcome.ok)
      return after.error || after.mounted ? after : { exists: false };
    // A directory that kubelet makes has mode 0750, and is gone after a failure.
    const isPlain = after.exists === true && after.mounted === false && given.fsGroup === undefined;
    const wasThere = isPlain && after.mode !== '0750' && !mountsOn(does, 1);
    return wasThere
      ? { exists: true, ...(after.mode === undefined ? {} : { mode: after.mode }) }
      : { exists: false };
  }
  // TearDown, UnmountDevice, and steps that only look.
  if (after.error || after.exists) return after;
  if (does.some((text) => text.startsWith('unmounts')) || record.host_commands.length > 0) return mounted;
  return calls.length > 0 ? { exists: true, mode: '0755', mounted: false } : { exists: false };
}
