/** The faults of drivers: every misdeed, in every verb in which it can happen. */
import { misdeeds } from './driver/misdeeds.ts';
import { stations } from './driver/stations.ts';
import { tryMisdeed } from './driver/trial.ts';
import type { Fault } from './fault.ts';

export const faults: readonly Fault[] = misdeeds.map((misdeed) => ({
  group: 'driver',
  name: misdeed.name,
  cells: stations
    .filter((station) => misdeed.at?.(station) ?? true)
    .map((station) => ({ call: station.call, run: () => tryMisdeed(misdeed, station) })),
}));
