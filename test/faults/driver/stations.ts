/** Where a fault can strike: each verb, in the RPC that calls it. */
import {
  attached,
  created,
  expandFileSystem,
  expandVolume,
  getCapacity,
  getVolume,
  inLine,
  listSnapshots,
  listVolumes,
  modifyVolume,
  probe,
  published,
  type Rpc,
  type Step,
  snapshotted,
  staged,
} from './steps.ts';
import type { World } from './world.ts';

export interface Station {
  /** A column of the table. */
  readonly call: string;
  readonly verb: string;
  readonly attachOn: 'controller' | 'node';
  /** What comes before, and is undone at the end. */
  readonly before: readonly Step[];
  /** The RPC that meets the fault. */
  readonly rpc: Rpc;
  /** What undoes the RPC, where it made something. */
  readonly undo?: Rpc;
  /** The RPC undoes the last step before it. */
  readonly isDown?: true;
  /** The directory on which the verb mounts or unmounts. */
  readonly directory?: (world: World) => string;
  /** Verbs of the driver that the RPC calls afterwards. */
  readonly next?: readonly string[];
  /** The RPC takes no lock: its repetition does not join it. */
  readonly reads?: true;
  /** The codes of this RPC: when all is well (OK), after a final error (INTERNAL), past the driver's time (DEADLINE_EXCEEDED). */
  readonly codes?: { readonly well?: string; readonly final?: string; readonly pending?: string };
  /** The fault is there before flexcsi starts. */
  readonly atStart?: true;
}

const stagingOf = (world: World): string => world.staging('victim');
const targetOf = (world: World): string => world.target('victim');
const onController = { attachOn: 'controller' } as const;
const onNode = { attachOn: 'node' } as const;
/** Up to the mounted volume of a pod. */
const life = [attached, staged, published];

export const stations: readonly Station[] = [
  // A driver whose init fails stays what it was.
  {
    call: 'init',
    verb: 'init',
    ...onController,
    before: [attached, staged],
    rpc: published.up,
    undo: published.down,
    next: ['mount'],
    codes: { final: 'OK', pending: 'OK' },
  },
  // One that has never succeeded is not there.
  {
    call: 'init, the first',
    verb: 'init',
    ...onController,
    before: [],
    rpc: probe,
    codes: { final: 'FAILED_PRECONDITION', pending: 'FAILED_PRECONDITION' },
    atStart: true,
  },
  { call: 'attach', verb: 'attach', ...onController, before: [], rpc: attached.up, undo: attached.down },
  {
    call: 'attach, on the node',
    verb: 'attach',
    ...onNode,
    before: [],
    rpc: staged.up,
    undo: staged.down,
    next: ['waitforattach', 'mountdevice'],
  },
  // Asked before a volume is deleted: one that is attached never is.
  {
    call: 'isattached',
    verb: 'isattached',
    ...onController,
    before: [attached],
    rpc: created.down,
    codes: { well: 'FAILED_PRECONDITION' },
  },
  {
    call: 'waitforattach',
    verb: 'waitforattach',
    ...onNode,
    before: [],
    rpc: staged.up,
    undo: staged.down,
    next: ['mountdevice'],
  },
  {
    call: 'mountdevice',
    verb: 'mountdevice',
    ...onNode,
    before: [],
    rpc: staged.up,
    undo: staged.down,
    directory: stagingOf,
  },
  {
    call: 'mount',
    verb: 'mount',
    ...onController,
    before: [attached, staged],
    rpc: published.up,
    undo: published.down,
    directory: targetOf,
  },
  {
    call: 'mount, in-line',
    verb: 'mount',
    ...onController,
    before: [],
    rpc: inLine.up,
    undo: inLine.down,
    directory: targetOf,
  },
  {
    call: 'unmount',
    verb: 'unmount',
    ...onController,
    before: life,
    rpc: published.down,
    isDown: true,
    directory: targetOf,
  },
  {
    call: 'unmount, in-line',
    verb: 'unmount',
    ...onController,
    before: [inLine],
    rpc: inLine.down,
    isDown: true,
    directory: targetOf,
    next: ['unmountdevice', 'detach'],
  },
  {
    call: 'unmountdevice',
    verb: 'unmountdevice',
    ...onNode,
    before: [staged],
    rpc: staged.down,
    isDown: true,
    directory: stagingOf,
    next: ['detach'],
  },
  { call: 'detach', verb: 'detach', ...onController, before: [attached], rpc: attached.down, isDown: true },
  {
    call: 'detach, on the node',
    verb: 'detach',
    ...onNode,
    before: [staged],
    rpc: staged.down,
    isDown: true,
  },
  { call: 'expandvolume', verb: 'expandvolume', ...onController, before: [], rpc: expandVolume },
  { call: 'expandfs', verb: 'expandfs', ...onController, before: life, rpc: expandFileSystem },
  { call: 'provision', verb: 'provision', ...onController, before: [], rpc: created.up, undo: created.down },
  { call: 'delete', verb: 'delete', ...onController, before: [created], rpc: created.down, isDown: true },
  { call: 'getvolume', verb: 'getvolume', ...onController, before: [], rpc: getVolume, reads: true },
  { call: 'listvolumes', verb: 'listvolumes', ...onController, before: [], rpc: listVolumes, reads: true },
  { call: 'getcapacity', verb: 'getcapacity', ...onController, before: [], rpc: getCapacity, reads: true },
  { call: 'modifyvolume', verb: 'modifyvolume', ...onController, before: [], rpc: modifyVolume, next: [] },
  {
    call: 'snapshot',
    verb: 'snapshot',
    ...onController,
    before: [],
    rpc: snapshotted.up,
    undo: snapshotted.down,
  },
  {
    call: 'deletesnapshot',
    verb: 'deletesnapshot',
    ...onController,
    before: [snapshotted],
    rpc: snapshotted.down,
    isDown: true,
  },
  {
    call: 'listsnapshots',
    verb: 'listsnapshots',
    ...onController,
    before: [],
    rpc: listSnapshots,
    reads: true,
  },
];
