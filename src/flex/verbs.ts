/** The calls of FlexVolume: each verb and the order of its arguments. Sizes are bytes. */
import { encodeOptions, type Options } from './options.ts';

/** Kubelet's verbs, then those that a driver may have beyond them (see `extensions.ts`). */
export const verbNames = [
  'init',
  'attach',
  'isattached',
  'waitforattach',
  'mountdevice',
  'mount',
  'unmount',
  'unmountdevice',
  'detach',
  'expandvolume',
  'expandfs',
  'provision',
  'delete',
  'getvolume',
  'listvolumes',
  'getcapacity',
  'modifyvolume',
  'snapshot',
  'deletesnapshot',
  'listsnapshots',
] as const;

export type Verb = (typeof verbNames)[number];

/** The verbs with the JSON as their only argument. */
export type ExtensionVerb =
  | 'provision'
  | 'delete'
  | 'getvolume'
  | 'listvolumes'
  | 'getcapacity'
  | 'modifyvolume'
  | 'snapshot'
  | 'deletesnapshot'
  | 'listsnapshots';

/** One execution of a driver: its arguments are the verb and `args`. */
export interface Call {
  readonly verb: Verb;
  readonly args: readonly string[];
  /** Which of `args` is the JSON of the options, where there is one. */
  readonly optionsAt?: number;
}

export function init(): Call {
  return { verb: 'init', args: [] };
}

export function attach(options: Options, node: string): Call {
  return { verb: 'attach', args: [encodeOptions(options), node], optionsAt: 0 };
}

export function isAttached(options: Options, node: string): Call {
  return { verb: 'isattached', args: [encodeOptions(options), node], optionsAt: 0 };
}

export function waitForAttach(device: string, options: Options): Call {
  return { verb: 'waitforattach', args: [device, encodeOptions(options)], optionsAt: 1 };
}

/** `directory` is where the device is to be mounted once for all pods of the node. */
export function mountDevice(directory: string, device: string, options: Options): Call {
  return { verb: 'mountdevice', args: [directory, device, encodeOptions(options)], optionsAt: 2 };
}

/** `directory` is the pod's. */
export function mount(directory: string, options: Options): Call {
  return { verb: 'mount', args: [directory, encodeOptions(options)], optionsAt: 1 };
}

export function unmount(directory: string): Call {
  return { verb: 'unmount', args: [directory] };
}

export function unmountDevice(directory: string): Call {
  return { verb: 'unmountdevice', args: [directory] };
}

export function detach(volumeName: string, node: string): Call {
  return { verb: 'detach', args: [volumeName, node] };
}

/** `directory` is the one that `mountdevice` gets, whether or not anything is mounted there. */
export function expandVolume(options: Options, directory: string, newBytes: bigint, oldBytes: bigint): Call {
  return {
    verb: 'expandvolume',
    args: [encodeOptions(options), directory, String(newBytes), String(oldBytes)],
    optionsAt: 0,
  };
}

/** `directory` is where the file system is mounted for a pod. */
export function expandFs(
  options: Options,
  device: string,
  directory: string,
  newBytes: bigint,
  oldBytes: bigint,
): Call {
  return {
    verb: 'expandfs',
    args: [encodeOptions(options), device, directory, String(newBytes), String(oldBytes)],
    optionsAt: 0,
  };
}

/** A verb beyond kubelet's; docs/driver-contract.md says which keys each of them gets. */
export function extended(verb: ExtensionVerb, options: Options): Call {
  return { verb, args: [encodeOptions(options)], optionsAt: 0 };
}
