/** Faults of the world around flexcsi: mounts, disks, directories and paths that are not as they should be. */
import type { Fault } from './fault.ts';
import { faults as dead } from './world/dead.ts';
import { faults as devices } from './world/devices.ts';
import { faults as disk } from './world/disk.ts';
import { faults as hung } from './world/hung.ts';
import { faults as mounts } from './world/mounts.ts';
import { faults as names } from './world/names.ts';
import { faults as places } from './world/places.ts';
import { faults as state } from './world/state.ts';

export const faults: readonly Fault[] = [
  ...hung,
  ...dead,
  ...mounts,
  ...devices,
  ...disk,
  ...state,
  ...places,
  ...names,
];
