/** What misdeeds leave behind that flexcsi must not, or cannot, take away; and how somebody else does. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Station } from './stations.ts';
import type { World } from './world.ts';

/** What a misdeed leaves behind that flexcsi must not, or cannot, take away. */
export interface Aftermath {
  /** The error of the undoing call as long as it is there; left out: it is none of flexcsi's business. */
  readonly refusal?: RegExp;
  /** The error of the repeated call as long as it is there; left out: the repetition succeeds. */
  readonly blocks?: RegExp;
  /** For the table. */
  readonly text: string;
  /** Whether it is still there, as it was. */
  readonly isThere: (world: World, directory: string) => boolean;
  /** It is the volume itself, mounted, which must then not be detached. */
  readonly keepsDevice?: (station: Station) => boolean;
  /** Takes it away, as the administrator or the owner would. */
  readonly clear: (world: World, directory: string) => void;
}

export const files: Aftermath = {
  refusal: /directory not empty/,
  text: 'undone when the file is moved away',
  isThere: (_world, directory) =>
    existsSync(join(directory, 'file')) && readFileSync(join(directory, 'file'), 'utf8') === 'precious\n',
  clear: (_world, directory) => unlinkSync(join(directory, 'file')),
};

export const below: Aftermath = {
  refusal: /not empty|busy/,
  text: 'undone when that is unmounted',
  isThere: (world, directory) => world.mounts('victim').includes(join(directory, 'below')),
  clear: (world, directory) => {
    const path = join(directory, 'below');
    while (world.mounts('victim').includes(path)) execFileSync('umount', [path]);
    rmdirSync(path);
  },
};

/** What flexcsi has unmounted itself leaves the directory that the driver made. */
export const emptyBelow: Aftermath = {
  refusal: /directory not empty/,
  text: "undone when the driver's directory is removed",
  isThere: (_world, directory) => existsSync(join(directory, 'below')),
  clear: (_world, directory) => rmdirSync(join(directory, 'below')),
};

export const elsewhere: Aftermath = {
  text: 'left alone',
  // Elsewhere the device of an attached volume is known by its name only, and this one has none.
  keepsDevice: ({ call }) => call === 'mount, in-line',
  isThere: (world) => existsSync(world.driver.path('elsewhere/canary')),
  clear: (world) => {
    const path = world.driver.path('elsewhere');
    while (existsSync(join(path, 'canary'))) execFileSync('umount', [path]);
  },
};

export const holder: Aftermath = {
  refusal: /cannot unmount/,
  text: 'undone when the daemon has ended',
  isThere: (world) => existsSync(world.driver.path('left-running')),
  clear: (world) => world.endLeftRunning(),
};

/** What a failed call could not take back is no success for its repetition. */
export const leftover: Aftermath = {
  ...holder,
  blocks: /an earlier call failed, and what it had mounted still cannot be unmounted: .*held by sleep/,
};

export const secondMount: Aftermath = {
  refusal: /is still mounted|busy/,
  text: 'undone by two calls',
  isThere: () => true,
  clear: () => {},
};
