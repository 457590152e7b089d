/** The ways in which flexcsi is put before csi-sanity. */

import { dirDriver, loopDriver } from './expected.ts';
import type { Expectation } from './report.ts';

export interface Mode {
  readonly name: string;
  /** The driver's file, below `drivers/`. */
  readonly driver: string;
  readonly access: 'mount' | 'block';
  readonly attachOn: 'controller' | 'node';
  /** Controller and node as two processes with sockets and records of their own, as in a cluster. */
  readonly split: boolean;
  readonly expected: Expectation;
}

export const modes: readonly Mode[] = [
  loop('mount', 'mount', 'controller', 'together'),
  loop('block', 'block', 'controller', 'together'),
  loop('mount-on-node', 'mount', 'node', 'together'),
  loop('block-on-node', 'block', 'node', 'together'),
  loop('mount-split', 'mount', 'controller', 'split'),
  loop('block-split', 'block', 'controller', 'split'),
  loop('mount-on-node-split', 'mount', 'node', 'split'),
  {
    name: 'dir',
    driver: 'flexcsi~dir/dir',
    access: 'mount',
    attachOn: 'controller',
    split: false,
    expected: dirDriver,
  },
];

function loop(
  name: string,
  access: Mode['access'],
  attachOn: Mode['attachOn'],
  processes: 'together' | 'split',
): Mode {
  const driver = 'flexcsi~loop/loop';
  return { name, driver, access, attachOn, split: processes === 'split', expected: loopDriver(attachOn) };
}
