/** What a driver says in `init` beyond kubelet's capabilities: the verbs and facts that make it a CSI driver. */
import { Failure } from '../errors.ts';
import { type Fields, foldName } from './fields.ts';
import { JsonNumber } from './json.ts';
import { checkSegments, readTopologies, type Segments } from './topology.ts';

export interface Extensions {
  /** `provision` and `delete`. */
  readonly provision: boolean;
  /** `provision` from another volume. */
  readonly clone: boolean;
  /** `snapshot`, `deletesnapshot`, and `provision` from a snapshot. */
  readonly snapshot: boolean;
  readonly getVolume: boolean;
  readonly listVolumes: boolean;
  /** Volumes are described with the nodes that they are attached to. */
  readonly publishedNodes: boolean;
  readonly listSnapshots: boolean;
  readonly getCapacity: boolean;
  /** The keys that `modifyvolume` can change; `any`: the driver checks them itself. */
  readonly modifyVolume: 'none' | 'any' | readonly string[];
  /** Where the node is. */
  readonly topology?: Segments;
  readonly maxVolumesPerNode?: number;
  /** The JSON of the options goes to standard input instead of the command line. */
  readonly secretsOnStdin: boolean;
  /** What was said and cannot be used, in plain words. */
  readonly problems: readonly string[];
}

const known: ReadonlySet<string> = new Set(
  [
    ...['attach', 'selinuxRelabel', 'fsGroup', 'requiresFSResize', 'supportsMetrics'],
    ...['provision', 'clone', 'snapshot', 'getvolume', 'listvolumes', 'publishednodes', 'listsnapshots'],
    ...['getcapacity', 'modifyvolume', 'topology', 'maxVolumesPerNode', 'secrets'],
  ].map(foldName),
);

/** Of a driver that knows nothing of all this. */
export const noExtensions: Extensions = {
  provision: false,
  clone: false,
  snapshot: false,
  getVolume: false,
  listVolumes: false,
  publishedNodes: false,
  listSnapshots: false,
  getCapacity: false,
  modifyVolume: 'none',
  secretsOnStdin: false,
  problems: [],
};

/**
 * Reads them from the `capabilities` object. Never throws: kubelet ignores all of this, whatever it is, and the
 * same driver must go on running under both. What cannot be used is left out and told in `problems`.
 */
export function readExtensions(fields: Fields): Extensions {
  const problems = [...fields.names()]
    .filter((name) => !known.has(name))
    .slice(0, 5)
    .map((name) => `capability ${JSON.stringify(name.slice(0, 60))} is not known: a spelling mistake?`);
  const flag = (name: string): boolean => {
    const value = lastOf(fields, name);
    if (value === undefined || typeof value === 'boolean') return value ?? false;
    problems.push(`capability ${name} must be true or false`);
    return false;
  };
  const needs = (name: string, has: boolean, condition: boolean, needed: string): boolean => {
    if (has && !condition) problems.push(`capability ${name} is of no use without ${needed}`);
    return has && condition;
  };
  const provision = flag('provision');
  const listVolumes = flag('listvolumes');
  return {
    provision,
    clone: needs('clone', flag('clone'), provision, 'provision'),
    snapshot: needs('snapshot', flag('snapshot'), provision, 'provision'),
    getVolume: flag('getvolume'),
    listVolumes,
    publishedNodes: needs('publishednodes', flag('publishednodes'), listVolumes, 'listvolumes'),
    listSnapshots: flag('listsnapshots'),
    getCapacity: flag('getcapacity'),
    modifyVolume: readModify(fields, problems),
    ...readTopology(fields, problems),
    ...readLimit(fields, problems),
    secretsOnStdin: readSecrets(fields, problems),
    problems,
  };
}

/** The last value wins, and `null` is none, as for kubelet's own fields. */
function lastOf(fields: Fields, name: string) {
  return fields.values(name).findLast((value) => value !== null) ?? undefined;
}

function readModify(fields: Fields, problems: string[]): Extensions['modifyVolume'] {
  const value = lastOf(fields, 'modifyvolume');
  if (value === undefined || value === false) return 'none';
  if (value === true) return 'any';
  const keys = typeof value === 'string' ? value.split(',').map((key) => key.trim()) : [];
  if (keys.length > 0 && !keys.includes('')) return keys;
  problems.push('capability modifyvolume must be true, false, or the keys joined by commas');
  return 'none';
}

function readTopology(fields: Fields, problems: string[]): { topology?: Segments } {
  try {
    const [topology, ...more] = readTopologies(fields, 'topology') ?? [];
    if (topology === undefined) return {};
    if (more.length > 0) throw new Failure('driver-failed', 'a node is at one place');
    checkSegments(topology, 'capability topology');
    return { topology };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    problems.push(`capability topology cannot be used: ${error.message}`);
    return {};
  }
}

/** A 32-bit number, as Kubernetes reads it. */
const MOST_VOLUMES = 2 ** 31 - 1;

function readLimit(fields: Fields, problems: string[]): { maxVolumesPerNode?: number } {
  const value = lastOf(fields, 'maxVolumesPerNode');
  if (value === undefined) return {};
  const number = value instanceof JsonNumber && /^\d{1,10}$/.test(value.text) ? Number(value.text) : -1;
  if (number >= 0 && number <= MOST_VOLUMES) return { maxVolumesPerNode: number };
  problems.push(`capability maxVolumesPerNode must be an integer from 0 to ${MOST_VOLUMES}`);
  return {};
}

function readSecrets(fields: Fields, problems: string[]): boolean {
  const value = lastOf(fields, 'secrets');
  if (value !== undefined && value !== 'stdin') problems.push('capability secrets must be "stdin"');
  return value === 'stdin';
}
