/** Faults of clients: they repeat, contradict themselves, give up, vanish, talk nonsense, or say nothing. */
import { faults as connections } from './client/connections.ts';
import { faults as races } from './client/races.ts';
import { faults as retries } from './client/retries.ts';
import { faults as wire } from './client/wire.ts';
import type { Fault } from './fault.ts';

export const faults: readonly Fault[] = [...retries, ...races, ...wire, ...connections];
