/** What drivers answer of volumes, snapshots and room: the fields of the extension verbs' answers. */
import { Failure } from '../errors.ts';
import type { Fields } from './fields.ts';
import { isReserved, type Options } from './options.ts';
import { checkSegments, readTopologies, type Segments } from './topology.ts';

export interface DescribedVolume {
  /** Undefined: not known. */
  readonly capacityBytes?: bigint;
  /** Undefined: the driver does not say. */
  readonly options?: Options;
  /** Usable from any of these; empty: from everywhere. */
  readonly topology: readonly Segments[];
  /** What it was made from. */
  readonly sourceVolume?: string;
  readonly sourceSnapshot?: string;
  /** The nodes that it is attached to, as far as the driver says. */
  readonly nodes: readonly string[];
}

export interface DescribedSnapshot {
  readonly snapshotId: string;
  readonly sourceVolume: string;
  /** The least size of a volume made from it; undefined: not known. */
  readonly sizeBytes?: bigint;
  /** Seconds since 1970. */
  readonly creationTime: bigint;
  readonly ready: boolean;
  readonly topology: readonly Segments[];
}

export interface Room {
  readonly availableBytes: bigint;
  readonly maxVolumeBytes?: bigint;
  readonly minVolumeBytes?: bigint;
}

/** The readers throw a `Failure` (`driver-failed`) that names the field which cannot be used. */
export function readVolume(fields: Fields): DescribedVolume {
  const capacityBytes = sizeOf(fields, 'capacityBytes');
  const options = fields.map('options');
  for (const key of Object.keys(options ?? {})) {
    // They would come back as options of the volume, and pass for secrets and for another pod's identity.
    if (isReserved(key)) {
      const name = `${fields.path}options`;
      throw new Failure(
        'driver-failed',
        `the answer's "${name}" must not have the key ${JSON.stringify(key)}, which is reserved`,
      );
    }
  }
  const sourceVolume = fields.string('sourceVolume');
  const sourceSnapshot = fields.string('sourceSnapshot');
  return {
    ...(capacityBytes === undefined || capacityBytes === 0n ? {} : { capacityBytes }),
    ...(options === undefined ? {} : { options }),
    topology: topologyOf(fields),
    ...(sourceVolume ? { sourceVolume } : {}),
    ...(sourceSnapshot ? { sourceSnapshot } : {}),
    nodes: fields.texts('nodes') ?? [],
  };
}

/** `implied` stands for what the answer of `snapshot` may leave out. */
export function readSnapshot(
  fields: Fields,
  implied: { readonly snapshotId?: string; readonly sourceVolume?: string } = {},
): DescribedSnapshot {
  const sizeBytes = sizeOf(fields, 'sizeBytes');
  return {
    snapshotId: requireText(fields, 'snapshot', implied.snapshotId),
    sourceVolume: requireText(fields, 'sourceVolume', implied.sourceVolume),
    ...(sizeBytes === undefined || sizeBytes === 0n ? {} : { sizeBytes }),
    creationTime: required(
      fields,
      'creationTime',
      'an integer, seconds since 1970',
      sizeOf(fields, 'creationTime'),
    ),
    ready: fields.boolean('ready') ?? true,
    topology: topologyOf(fields),
  };
}

export function readRoom(fields: Fields): Room {
  const maxVolumeBytes = sizeOf(fields, 'maxVolumeBytes');
  const minVolumeBytes = sizeOf(fields, 'minVolumeBytes');
  return {
    availableBytes: required(
      fields,
      'availableBytes',
      'an integer, in bytes',
      sizeOf(fields, 'availableBytes'),
    ),
    ...(maxVolumeBytes === undefined ? {} : { maxVolumeBytes }),
    ...(minVolumeBytes === undefined ? {} : { minVolumeBytes }),
  };
}

/** An entry of a list. One that cannot be used must not spoil the others: its `read` throws. */
export interface Listed<Described> {
  readonly id: string;
  read(): Described;
}

/** The volumes of `listvolumes`. */
export function readVolumes(fields: Fields): Listed<DescribedVolume>[] {
  const entries = required(fields, 'volumes', 'a list of objects', fields.objects('volumes'));
  return entries.map((entry) => ({ id: requireText(entry, 'volume'), read: () => readVolume(entry) }));
}

/** The snapshots of `listsnapshots`. */
export function readSnapshots(fields: Fields): Listed<DescribedSnapshot>[] {
  const entries = required(fields, 'snapshots', 'a list of objects', fields.objects('snapshots'));
  return entries.map((entry) => ({ id: requireText(entry, 'snapshot'), read: () => readSnapshot(entry) }));
}

function requireText(fields: Fields, name: string, implied?: string): string {
  return required(fields, name, 'a string that is not empty', fields.string(name) || implied);
}

function required<T>(fields: Fields, name: string, expected: string, value: T | undefined): T {
  if (value !== undefined) return value;
  throw new Failure('driver-failed', `the answer has no "${fields.path}${name}", which must be ${expected}`);
}

function sizeOf(fields: Fields, name: string): bigint | undefined {
  const size = fields.integer(name);
  if (size === undefined || size >= 0n) return size;
  throw new Failure(
    'driver-failed',
    `the answer's "${fields.path}${name}" must not be negative, but is ${size}`,
  );
}

function topologyOf(fields: Fields): readonly Segments[] {
  const topology = readTopologies(fields, 'topology') ?? [];
  for (const segments of topology) checkSegments(segments, `the answer's "${fields.path}topology"`);
  return topology;
}
