/**
 * What a driver can do wrong. The scripts run in the driver (`flexdriver`) instead of its work, for the victim only:
 * `work` does what a correct driver does, `say` prints the answer, `fail` makes it a failure, `$first` is the first
 * argument. A script that ends without `exit` is followed by work and answer.
 */

import { chmodSync, unlinkSync } from 'node:fs';
import {
  type Aftermath,
  below,
  elsewhere,
  emptyBelow,
  files,
  holder,
  leftover,
  secondMount,
} from './aftermath.ts';
import type { Station } from './stations.ts';
import type { World } from './world.ts';

export interface Misdeed {
  /** A row of the table. */
  readonly name: string;
  readonly script: string;
  /** What the call makes of it: it succeeds, it fails for good, or it may still be running. */
  readonly ends: 'well' | 'final' | 'pending';
  /** Where this misdeed is possible; everywhere when left out. */
  readonly at?: (station: Station) => boolean;
  /** The code where `ends` does not tell. */
  readonly code?: (station: Station) => string | undefined;
  /** What the message of the error has to say beside the driver's name. */
  readonly says?: RegExp;
  /** The driver waits: the client gives up on its call and repeats it, and only then the driver goes on. */
  readonly outlastsClient?: true;
  /** What happens to the driver's file while the driver waits in the middle of the call. */
  readonly toFile?: (world: World) => void;
  /** Then calls of the driver fail until it is installed again. */
  readonly isGone?: true;
  /** Milliseconds; generous when left out. */
  readonly driverTimeout?: number;
  readonly aftermath?: Aftermath;
}

/** For drivers that have to be ended: long enough for a correct one on a slow machine. */
const SHORT_MS = 5_000;

const mounts = ({ directory, isDown }: Station): boolean => directory !== undefined && !isDown;
const unmounts = ({ directory, isDown }: Station): boolean => directory !== undefined && isDown === true;
const WAIT = 'until [ -e "$world/go" ]; do sleep 0.1; done';
const LEFT_RUNNING = 'echo $! >> "$world/left-running"';

const BELOW = 'mkdir -p "$first/below"; mount --bind "$world/disks/$victim/data" "$first/below"';
const HOLDER = `rm -f "$world/holding"
(cd "$first" && : > "$world/holding" && exec setsid sleep 600 < /dev/null > /dev/null 2>&1) &
${LEFT_RUNNING}
until [ -e "$world/holding" ]; do sleep 0.1; done`;
const FAIL = "fail 'went wrong'; say; exit 1";

export const misdeeds: readonly Misdeed[] = [
  // Time
  { name: 'hangs for ever', script: 'sleep 600', ends: 'pending', driverTimeout: SHORT_MS },
  { name: 'works, then hangs', script: 'work; sleep 600', ends: 'pending', driverTimeout: SHORT_MS },
  {
    name: 'ignores SIGTERM',
    script: "trap '' TERM; work; while :; do sleep 1; done",
    ends: 'pending',
    driverTimeout: SHORT_MS,
  },
  { name: "sleeps past the client's deadline, succeeds", script: WAIT, ends: 'well', outlastsClient: true },
  {
    name: 'succeeds, a child keeps stdout open',
    script: `work; sleep 600 & ${LEFT_RUNNING}; say; exit 0`,
    ends: 'well',
  },
  {
    name: 'fails, a child keeps stdout open',
    script: `fail 'went wrong'; sleep 600 & ${LEFT_RUNNING}; say; exit 1`,
    ends: 'final',
  },
  { name: 'answers through a child after its end', script: 'work; (sleep 1; say) & exit 0', ends: 'well' },
  // Ends
  {
    name: 'works, then crashes (SIGSEGV)',
    script: 'work; ulimit -c 0; kill -SEGV $$; sleep 600',
    ends: 'final',
  },
  { name: 'crashes at once (SIGKILL)', script: 'kill -KILL $$; sleep 600', ends: 'final' },
  {
    name: 'crashes, its tool goes on and works',
    script: `(trap '' TERM; sleep 1; work) & kill -KILL $$; sleep 600`,
    ends: 'final',
  },
  { name: 'works, exits 0 with nothing', script: 'work; exit 0', ends: 'final' },
  { name: 'works, exits 0 with text', script: 'work; echo done; exit 0', ends: 'final' },
  {
    name: 'works, exits 0 with half a JSON',
    script: `work; printf '{"status":"Succ'; exit 0`,
    ends: 'final',
  },
  {
    name: 'works, prints 100 MB',
    script: "work; head -c 100000000 /dev/zero | tr '\\0' 'x'; say; exit 0",
    ends: 'final',
  },
  { name: 'works, prints Success, exits 1', script: 'work; say; exit 1', ends: 'final' },
  {
    // An attach that says that it failed is believed.
    name: 'works, prints Failure, exits 0',
    script: `[ "$verb" = attach ] || work; fail 'went wrong'; say; exit 0`,
    ends: 'final',
  },
  { name: 'prints two answers', script: 'work; say; say; exit 0', ends: 'final' },
  // Noise
  {
    name: 'noise before',
    script: `echo '+ cmd $x { y }' >&2; echo 'warning: [x]'; work; say; exit 0`,
    ends: 'well',
  },
  { name: 'noise after', script: `work; say; echo 'done.'; echo '} bye' >&2; exit 0`, ends: 'well' },
  { name: 'noise around', script: `echo begin; work; say; echo 'end' >&2; exit 0`, ends: 'well' },
  // Lies
  { name: 'prints Success, did not mount', script: 'say; exit 0', ends: 'well', at: mounts },
  {
    name: 'prints Success, the mount stays',
    script: 'say; exit 0',
    ends: 'final',
    at: unmounts,
    says: /says Success to unmount(device)?, but .* is still mounted/,
  },
  // Places
  {
    name: 'mounts twice',
    script: 'work; mount --bind "$world/disks/$victim/data" "$first"; say; exit 0',
    ends: 'well',
    at: mounts,
    aftermath: secondMount,
  },
  {
    name: 'mounts twice, fails',
    script: `work; mount --bind "$world/disks/$victim/data" "$first"; ${FAIL}`,
    ends: 'final',
    at: mounts,
  },
  {
    name: 'mounts elsewhere',
    script:
      'mkdir -p "$world/elsewhere"; mount --bind "$world/disks/$victim/data" "$world/elsewhere"; say; exit 0',
    ends: 'well',
    at: mounts,
    aftermath: elsewhere,
  },
  {
    name: 'mounts elsewhere, fails',
    script: `mkdir -p "$world/elsewhere"; mount --bind "$world/disks/$victim/data" "$world/elsewhere"; ${FAIL}`,
    ends: 'final',
    at: mounts,
    aftermath: elsewhere,
  },
  {
    name: 'mounts below the directory',
    script: `${BELOW}; say; exit 0`,
    ends: 'well',
    at: mounts,
    aftermath: below,
  },
  {
    name: 'mounts below the directory, fails',
    script: `${BELOW}; ${FAIL}`,
    ends: 'final',
    at: mounts,
    aftermath: emptyBelow,
  },
  {
    name: 'a daemon holds the mount',
    script: `work; ${HOLDER}; say; exit 0`,
    ends: 'well',
    at: mounts,
    aftermath: holder,
  },
  {
    name: 'a daemon holds the mount, fails',
    script: `work; ${HOLDER}; ${FAIL}`,
    ends: 'pending',
    at: mounts,
    code: () => 'UNAVAILABLE',
    aftermath: leftover,
  },
  { name: 'deletes the directory', script: 'rmdir "$first"; say; exit 0', ends: 'well', at: mounts },
  { name: 'deletes the directory, fails', script: `rmdir "$first"; ${FAIL}`, ends: 'final', at: mounts },
  {
    name: 'unmounts, deletes the directory',
    script: 'work; rmdir "$first"; say; exit 0',
    ends: 'well',
    at: unmounts,
  },
  {
    name: 'writes a file instead of mounting',
    script: 'echo precious > "$first/file"; say; exit 0',
    ends: 'well',
    at: mounts,
    aftermath: files,
  },
  {
    name: 'writes a file instead of mounting, fails',
    script: `echo precious > "$first/file"; ${FAIL}`,
    ends: 'final',
    at: mounts,
    aftermath: files,
  },
  // The file, in the middle of a call
  { name: 'is replaced meanwhile', script: WAIT, ends: 'well', toFile: (world) => world.driver.install() },
  {
    name: 'answers another init meanwhile',
    script: WAIT,
    ends: 'well',
    toFile: (world) => world.driver.install((text) => text.replace('"attach":true', '"attach":false')),
  },
  {
    name: 'is removed meanwhile',
    script: WAIT,
    ends: 'well',
    code: whereItIsNeededAgain,
    toFile: (world) => unlinkSync(world.driver.file),
    isGone: true,
  },
  {
    name: 'is made non-executable meanwhile',
    script: WAIT,
    ends: 'well',
    code: whereItIsNeededAgain,
    toFile: (world) => chmodSync(world.driver.file, 0o644),
    isGone: true,
  },
  // Resources
  {
    name: 'eats 300 MB of memory',
    script: 'head -c 300000000 /dev/zero | tail -n 1 > /dev/null',
    ends: 'well',
  },
  {
    name: 'starts 200 processes',
    script: 'i=0; while [ $i -lt 200 ]; do sleep 1 & i=$((i + 1)); done; wait',
    ends: 'well',
  },
];

/** A driver that cannot be started a second time. Where it cannot even detach, the client has to come again. */
function whereItIsNeededAgain({ next = [], rpc, undo, verb }: Station): string | undefined {
  if (next.length === 0) return undefined;
  const attaches = verb === 'attach' || verb === 'waitforattach';
  return rpc !== undefined && undo !== undefined && attaches ? 'UNAVAILABLE' : 'INTERNAL';
}
