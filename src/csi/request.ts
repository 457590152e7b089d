/** Reads requests: what is required, what a field may hold, what of it reaches the driver. Pure. */
import { Failure } from '../errors.ts';
import type { Secrets } from '../flex/extended-options.ts';
import { isKubernetes, mountFlagsKey, ownKeyPrefix } from '../flex/options.ts';
import { checkSegments, type Segments } from '../flex/topology.ts';
import type { VolumeUse } from '../volume/parts.ts';
import type { Topology__Output } from './generated/csi/v1/Topology.ts';
import type { VolumeCapability__Output } from './generated/csi/v1/VolumeCapability.ts';

/** What Linux carries in one argument of a program; kubelet's limit for what a driver could be told. */
const ARGUMENT_BYTES = 131_071;
const PATH_BYTES = 4095;
/** Linux; the number above it means "no group" to chown. */
const MAX_GROUP = 2 ** 32 - 2;

/**
 * A required text.
 *
 * @throws {Failure} `invalid-request` naming the field when it is empty, too long, or holds what no argument
 * of a program can (a NUL; U+FFFD, which stands for bytes that were not UTF-8).
 */
export function requireText(field: string, value: string): string {
  if (value === '') throw new Failure('invalid-request', `${field} is required`);
  return checkText(field, value, ARGUMENT_BYTES);
}

/**
 * A required path: absolute, without `.` and `..`, at most 4095 bytes.
 *
 * @throws {Failure} `invalid-request` naming the field.
 */
export function requirePath(field: string, value: string): string {
  requireText(field, value);
  checkText(field, value, PATH_BYTES);
  if (!value.startsWith('/')) {
    throw new Failure('invalid-request', `${field} must be an absolute path, not ${JSON.stringify(value)}`);
  }
  if (value.split('/').some((part) => part === '.' || part === '..')) {
    throw new Failure(
      'invalid-request',
      `${field} must not contain . or .. as a part: ${JSON.stringify(value)}`,
    );
  }
  const path = value.replace(/\/+/g, '/').replace(/(.)\/$/s, '$1');
  if (path === '/') throw new Failure('invalid-request', `${field} must not be the root directory`);
  return path;
}

function checkText(field: string, value: string, limit: number): string {
  if (value.includes('\0')) throw new Failure('invalid-request', `${field} holds a NUL character`);
  if (value.includes('\ufffd')) throw new Failure('invalid-request', `${field} is not valid UTF-8`);
  const bytes = Buffer.byteLength(value);
  if (bytes > limit)
    throw new Failure('invalid-request', `${field} has ${bytes} bytes; at most ${limit} can be passed on`);
  return value;
}

/** What a VolumeCapability asks for. */
export interface Wish extends Pick<VolumeUse, 'access' | 'fsType' | 'mountFlags'> {
  /** From the access mode: nobody writes. */
  readonly readOnly: boolean;
  /** SINGLE_NODE_SINGLE_WRITER: no second target on the node. */
  readonly exclusive: boolean;
  /** On one node at a time. */
  readonly singleNode: boolean;
  /** CSI's name of the access mode. */
  readonly mode: string;
  /** The pod's group, decimal. */
  readonly group?: string;
}

const accessModes: readonly string[] = [
  'SINGLE_NODE_WRITER',
  'SINGLE_NODE_READER_ONLY',
  'MULTI_NODE_READER_ONLY',
  'MULTI_NODE_SINGLE_WRITER',
  'MULTI_NODE_MULTI_WRITER',
  'SINGLE_NODE_SINGLE_WRITER',
  'SINGLE_NODE_MULTI_WRITER',
];

/**
 * Reads a required VolumeCapability.
 *
 * @throws {Failure} `invalid-request` naming the field.
 */
export function requireCapability(field: string, capability: VolumeCapability__Output | null): Wish {
  if (capability === null) throw new Failure('invalid-request', `${field} is required`);
  const mode = capability.access_mode?.mode;
  if (mode === undefined) throw new Failure('invalid-request', `${field}.access_mode is required`);
  if (!accessModes.includes(mode)) {
    throw new Failure(
      'invalid-request',
      `${field}.access_mode.mode ${mode} is not one of ${accessModes.join(', ')}`,
    );
  }
  const access = {
    mode,
    readOnly: mode.endsWith('_READER_ONLY'),
    exclusive: mode === 'SINGLE_NODE_SINGLE_WRITER',
    singleNode: mode.startsWith('SINGLE_NODE_'),
  };
  if (capability.block) return { ...access, access: 'block', fsType: '', mountFlags: [] };
  if (!capability.mount) throw new Failure('invalid-request', `${field}: one of mount and block is required`);
  const { fs_type, mount_flags, volume_mount_group } = capability.mount;
  checkText(`${field}.mount.fs_type`, fs_type, ARGUMENT_BYTES);
  for (const flag of mount_flags) checkText(`${field}.mount.mount_flags`, flag, ARGUMENT_BYTES);
  if (!/^\d*$/.test(volume_mount_group) || Number(volume_mount_group) > MAX_GROUP) {
    throw new Failure(
      'invalid-request',
      `${field}.mount.volume_mount_group must be a decimal group id, not ${JSON.stringify(volume_mount_group)}`,
    );
  }
  return {
    ...access,
    access: 'mount',
    fsType: fs_type,
    mountFlags: mount_flags,
    ...(volume_mount_group === '' ? {} : { group: volume_mount_group }),
  };
}

/** The access type of an optional VolumeCapability, where it says one. */
export function accessOf(capability: VolumeCapability__Output | null): { access?: 'mount' | 'block' } {
  if (capability?.block) return { access: 'block' };
  return capability?.mount ? { access: 'mount' } : {};
}

/** Keys that Kubernetes adds to a volume's context; they are not the volume's options. */
const KUBERNETES_KEYS = /^csi\.storage\.k8s\.io\/|^storage\.kubernetes\.io\/csiProvisionerIdentity$/;

/**
 * The volume's own options: its context without what Kubernetes adds.
 *
 * @throws {Failure} `invalid-request` for a key in a namespace of Kubernetes. The API server refuses such keys
 * in FlexVolume options, but not in CSI attributes, which anyone who may create a pod can write: they would
 * pass for secrets and for another pod's identity.
 */
export function volumeOptions(context: Readonly<Record<string, string>>): Record<string, string> {
  const options = Object.entries(context).filter(([key]) => !KUBERNETES_KEYS.test(key));
  for (const [key] of options) {
    refuseReserved('volume_context', key);
    if (key === mountFlagsKey) {
      throw new Failure(
        'invalid-request',
        `volume_context key ${key} is flexcsi's own: it carries the mount flags`,
      );
    }
  }
  // Not by assignment: a key __proto__ would be lost.
  return Object.fromEntries(options);
}

/** How the driver is told the size. */
const SIZE_KEYS = /^request(Bytes|MiB|GiB)$/;

/** Parameters that a sidecar adds, such as `csi.storage.k8s.io/pvc/name`. */
const SIDECAR_KEYS = /^csi\.storage\.k8s\.io\//;

/**
 * Parameters as the driver gets them, those included that the sidecars add.
 *
 * @throws {Failure} `invalid-request` for a key that is reserved, for Kubernetes as in `volumeOptions` (the
 * parameters become options), or for flexcsi.
 */
export function requireParameters(
  field: string,
  parameters: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  for (const [key, value] of Object.entries(parameters)) {
    if (!SIDECAR_KEYS.test(key)) refuseReserved(field, key);
    if (key.startsWith(ownKeyPrefix) || SIZE_KEYS.test(key)) {
      throw new Failure(
        'invalid-request',
        `${field} key ${JSON.stringify(key.slice(0, 200))}: this key, and those that begin with ${ownKeyPrefix}, are flexcsi's own`,
      );
    }
    checkText(`${field} key ${JSON.stringify(key.slice(0, 200))}`, value, ARGUMENT_BYTES);
  }
  return parameters;
}

/** The parameters without what the sidecars add: the volume's own options, unless the driver names others. */
export function ownParameters(parameters: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(parameters).filter(([key]) => !SIDECAR_KEYS.test(key)));
}

function refuseReserved(field: string, key: string): void {
  if (!isKubernetes(key)) return;
  throw new Failure(
    'invalid-request',
    `${field} key ${JSON.stringify(key.slice(0, 200))} is reserved for Kubernetes; use a key without kubernetes.io or k8s.io before the slash`,
  );
}

/** CSI, "Size limits". A name becomes the id, and is returned. */
const NAME_BYTES = 128;

/**
 * A required name of a volume or snapshot.
 *
 * @throws {Failure} `invalid-request` naming the field.
 */
export function requireName(field: string, name: string): string {
  requireText(field, name);
  checkText(field, name, NAME_BYTES);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: CSI lists them
  if (/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/.test(name)) {
    throw new Failure('invalid-request', `${field} holds a control character: ${JSON.stringify(name)}`);
  }
  return name;
}

/**
 * Secrets as they came.
 *
 * @throws {Failure} `invalid-request` for a value that was not UTF-8.
 */
export function checkSecrets(secrets: Secrets): Secrets {
  for (const [key, value] of Object.entries(secrets)) {
    if (!value.includes('\ufffd')) continue;
    throw new Failure(
      'invalid-request',
      `secrets: the value of ${JSON.stringify(key)} is not valid UTF-8; encode binary secrets, in base64 for example`,
    );
  }
  return secrets;
}

/** A TopologyRequirement, or as much of one. */
interface Places {
  readonly requisite: readonly Topology__Output[];
  readonly preferred: readonly Topology__Output[];
}

/**
 * The places that a request names, best first: the preferred ones, then the others. Empty: anywhere.
 *
 * @throws {Failure} `invalid-request` for a topology that CSI does not allow.
 */
export function placesOf(requirement: Places | null): Segments[] {
  if (requirement === null) return [];
  // Everything is in a place without segments.
  if (requirement.requisite.some(({ segments }) => Object.keys(segments).length === 0)) return [];
  const places = new Map<string, Segments>();
  for (const { segments } of [...requirement.preferred, ...requirement.requisite]) {
    const sorted = Object.entries(segments).sort(([a], [b]) => (a < b ? -1 : 1));
    if (sorted.length === 0) continue;
    checkSegments(segments, 'accessibility requirement', 'invalid-request');
    places.set(JSON.stringify(sorted), segments);
  }
  return [...places.values()];
}
