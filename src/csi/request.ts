/** Reads requests: what is required, what a field may hold, what of it reaches the driver. Pure. */
import { Failure } from '../errors.ts';
import { mountFlagsKey } from '../flex/options.ts';
import type { VolumeUse } from '../volume/parts.ts';
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
  const path = value.replace(/\/+/g, '/').replace(/(.)\/$/, '$1');
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
  /** The pod's group, decimal. */
  readonly group?: string;
}

const accessModes: Readonly<Record<string, Pick<Wish, 'readOnly' | 'exclusive'>>> = {
  SINGLE_NODE_WRITER: { readOnly: false, exclusive: false },
  SINGLE_NODE_READER_ONLY: { readOnly: true, exclusive: false },
  MULTI_NODE_READER_ONLY: { readOnly: true, exclusive: false },
  MULTI_NODE_SINGLE_WRITER: { readOnly: false, exclusive: false },
  MULTI_NODE_MULTI_WRITER: { readOnly: false, exclusive: false },
  SINGLE_NODE_SINGLE_WRITER: { readOnly: false, exclusive: true },
  SINGLE_NODE_MULTI_WRITER: { readOnly: false, exclusive: false },
};

/**
 * Reads a required VolumeCapability.
 *
 * @throws {Failure} `invalid-request` naming the field.
 */
export function requireCapability(field: string, capability: VolumeCapability__Output | null): Wish {
  if (capability === null) throw new Failure('invalid-request', `${field} is required`);
  const mode = capability.access_mode?.mode;
  if (mode === undefined) throw new Failure('invalid-request', `${field}.access_mode is required`);
  const access = accessModes[mode];
  if (access === undefined) {
    throw new Failure(
      'invalid-request',
      `${field}.access_mode.mode ${mode} is not one of ${Object.keys(accessModes).join(', ')}`,
    );
  }
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
  const options: [string, string][] = [];
  for (const [key, value] of Object.entries(context)) {
    if (KUBERNETES_KEYS.test(key)) continue;
    const namespace = key.includes('/') ? key.slice(0, key.indexOf('/')) : key;
    if (/\.(kubernetes|k8s)\.io$/.test(`.${namespace.toLowerCase()}`)) {
      throw new Failure(
        'invalid-request',
        `volume_context key ${JSON.stringify(key.slice(0, 200))} is reserved for Kubernetes; use a key without kubernetes.io or k8s.io before the slash`,
      );
    }
    if (key === mountFlagsKey) {
      throw new Failure(
        'invalid-request',
        `volume_context key ${key} is flexcsi's own: it carries the mount flags`,
      );
    }
    options.push([key, value]);
  }
  // Not by assignment: a key __proto__ would be lost.
  return Object.fromEntries(options);
}
