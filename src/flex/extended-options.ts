/** The JSON of the verbs beyond kubelet's: which keys each of them gets. Pure. */
import { mountFlagsKey, type Options, secretKeyPrefix } from './options.ts';
import { formatTopologies, type Segments } from './topology.ts';

export type Secrets = Readonly<Record<string, string>>;

/** A volume as a request wants it, or as room is asked for. */
export interface WantedVolume {
  /** Mutable ones included; they win. */
  readonly parameters: Options;
  /** Empty: not said. */
  readonly fsType: string;
  /** Undefined: not said. */
  readonly access?: 'mount' | 'block';
  /** CSI's names; empty: not said. */
  readonly accessModes: readonly string[];
  readonly mountFlags: readonly string[];
  /** Usable from any of these, best first; empty: anything will do. */
  readonly topology: readonly Segments[];
}

export interface Provision extends WantedVolume {
  readonly name: string;
  readonly requestBytes?: bigint;
  readonly limitBytes?: bigint;
  readonly sourceVolume?: string;
  readonly sourceSnapshot?: string;
  readonly secrets: Secrets;
}

/**
 * The options of `provision`: the argument names of the external FlexVolume provisioner, and beside them what CSI
 * adds.
 */
export function provisionOptions(wanted: Provision): Options {
  const { name, requestBytes, limitBytes, sourceVolume, sourceSnapshot, mountFlags, secrets } = wanted;
  return {
    ...roomOptions(wanted),
    'kubernetes.io/pvOrVolumeName': name,
    ...(requestBytes === undefined ? {} : sizes(requestBytes)),
    ...(limitBytes === undefined ? {} : { 'csi/limitBytes': String(limitBytes) }),
    ...(mountFlags.length === 0 ? {} : { [mountFlagsKey]: mountFlags.join(',') }),
    ...(sourceVolume === undefined ? {} : { 'csi/sourceVolume': sourceVolume }),
    ...(sourceSnapshot === undefined ? {} : { 'csi/sourceSnapshot': sourceSnapshot }),
    ...secretOptions(secrets),
  };
}

/** The options of `getcapacity`. */
export function roomOptions({ parameters, fsType, access, accessModes, topology }: WantedVolume): Options {
  return {
    ...parameters,
    'kubernetes.io/fsType': fsType,
    ...(access === undefined ? {} : { 'csi/accessType': access }),
    ...(accessModes.length === 0 ? {} : { 'csi/accessModes': accessModes.join(',') }),
    ...topologyOptions(topology),
  };
}

/** An existing volume, with its own options as far as they are known. */
export interface NamedVolume {
  readonly name: string;
  readonly options: Options;
}

/** The options of `getvolume`; with secrets those of `delete`. */
export function namedOptions({ name, options }: NamedVolume, secrets: Secrets = {}): Options {
  return { ...options, 'kubernetes.io/pvOrVolumeName': name, ...secretOptions(secrets) };
}

/** The options of `modifyvolume`: the values to change, and no others. */
export function modifyOptions(volume: NamedVolume, changes: Options, secrets: Secrets): Options {
  return { ...namedOptions(volume, secrets), ...parameterOptions(changes) };
}

export interface WantedSnapshot {
  readonly name: string;
  readonly parameters: Options;
  readonly topology: readonly Segments[];
  readonly secrets: Secrets;
}

/** The options of `snapshot`. */
export function snapshotOptions(volume: NamedVolume, wanted: WantedSnapshot): Options {
  return {
    ...namedOptions(volume, wanted.secrets),
    'csi/snapshotName': wanted.name,
    ...parameterOptions(wanted.parameters),
    ...topologyOptions(wanted.topology),
  };
}

/** The options of `deletesnapshot`. */
export function deleteSnapshotOptions(snapshotId: string, secrets: Secrets): Options {
  return { 'csi/snapshot': snapshotId, ...secretOptions(secrets) };
}

/** The secrets as `mount` gets them, too: base64 of each value. */
export function secretOptions(secrets: Secrets): Options {
  return Object.fromEntries(
    Object.entries(secrets).map(([key, value]) => [
      secretKeyPrefix + key,
      Buffer.from(value).toString('base64'),
    ]),
  );
}

/** Apart from the volume's own options, which may have keys of the same names. */
function parameterOptions(parameters: Options): Options {
  return Object.fromEntries(
    Object.entries(parameters).map(([key, value]) => [`csi/parameter/${key}`, value]),
  );
}

function topologyOptions(topology: readonly Segments[]): Options {
  return topology.length === 0 ? {} : { 'csi/topology': formatTopologies(topology) };
}

function sizes(bytes: bigint): Options {
  const roundedUp = (unit: bigint): string => String((bytes + unit - 1n) / unit);
  return {
    requestBytes: String(bytes),
    requestMiB: roundedUp(1024n ** 2n),
    requestGiB: roundedUp(1024n ** 3n),
  };
}
