/**
 * Places: where a node is, where a volume is usable. A place is named by segments such as
 * `{"example.com/zone": "a", "example.com/rack": "7"}`, of which all hold. The rules are those of CSI's `Topology`
 * message. Pure.
 */
import { Failure, type FailureKind } from '../errors.ts';
import type { Fields } from './fields.ts';
import { type Json, JsonObject, kindOf } from './json.ts';
import { isQualifiedName } from './names.ts';
import { oneLine } from './text.ts';

export type Segments = Readonly<Record<string, string>>;

/**
 * Reads `key=value,key=value`.
 *
 * @throws {Failure} `invalid-request` for anything else, and for segments that CSI does not allow.
 */
export function parseSegments(text: string): Segments {
  const segments = new Map<string, string>();
  for (const pair of text.split(',')) {
    const [key = '', value, ...more] = pair.split('=');
    if (value === undefined || more.length > 0) {
      throw new Failure('invalid-request', `expected key=value,key=value, not ${quoted(text)}`);
    }
    if (segments.has(key)) throw new Failure('invalid-request', `the key ${quoted(key)} is given twice`);
    segments.set(key, value);
  }
  const parsed = Object.fromEntries(segments);
  const fault = faultOf(parsed);
  if (fault !== undefined) throw new Failure('invalid-request', fault);
  return parsed;
}

/** @throws {Failure} of that kind, `<where>: <what is wrong>`, for segments that CSI does not allow. */
export function checkSegments(segments: Segments, where: string, kind: FailureKind = 'driver-failed'): void {
  const fault = faultOf(segments);
  if (fault !== undefined) throw new Failure(kind, `${where}: ${fault}`);
}

function faultOf(segments: Segments): string | undefined {
  const [first, ...others] = Object.keys(segments);
  const keys = new Map<string, string>();
  for (const [key, value] of Object.entries(segments)) {
    // Kubernetes' qualified names, but for the length of the prefix.
    if (!isQualifiedName(key) || prefixOf(key).length > 63) {
      return `${quoted(key)} is no topology key: expected name or prefix/name, each of at most 63 characters; the name of letters, digits, -, _ and ., the first and the last a letter or digit; the prefix a domain in lower case`;
    }
    // No empty ones either: CSI demands a first and a last character.
    if (value.length > 63 || !/^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/.test(value)) {
      return `${quoted(value)} cannot be the value of the topology key "${key}": expected 1 to 63 letters, digits, -, _ and ., the first and the last a letter or digit`;
    }
    const twin = keys.get(key.toLowerCase());
    if (twin !== undefined) return `the topology keys "${twin}" and "${key}" differ only in case`;
    keys.set(key.toLowerCase(), key);
  }
  const stranger = others.find((key) => prefixOf(key) !== prefixOf(first ?? ''));
  if (stranger === undefined) return undefined;
  return `the topology keys "${first}" and "${stranger}" must have the same prefix, or none`;
}

/** What is shown may be anything, of any length: it is the fault. */
function quoted(text: string): string {
  return oneLine(JSON.stringify(text), 80);
}

function prefixOf(key: string): string {
  return key.slice(0, Math.max(key.indexOf('/'), 0));
}

/**
 * `rack=1,zone=a;rack=2,zone=b`: the keys of each place sorted, the places in their order. Only for segments that
 * have been checked: in others, these separators could be part of a value.
 */
export function formatTopologies(list: readonly Segments[]): string {
  return list
    .map((segments) =>
      Object.keys(segments)
        .sort()
        .map((key) => `${key}=${segments[key]}`)
        .join(','),
    )
    .join(';');
}

/**
 * Reads a field that is an object of strings, or a list of such objects. Left out or `null`: undefined. An empty
 * list, like one that holds an empty object (a place that everything is in), is everywhere: an empty list. Of
 * equal fields the last counts. The segments are not checked.
 *
 * @throws {Failure} `driver-failed`, naming the field, for a value of another type.
 */
export function readTopologies(fields: Fields, name: string): Segments[] | undefined {
  const lists = fields
    .values(name)
    .filter((value) => value !== null)
    .map((value) => (Array.isArray(value) ? value : [value]).map((one) => readSegments(one, fields, name)));
  const places = lists.at(-1);
  return places?.some((segments) => Object.keys(segments).length === 0) ? [] : places;
}

/** Not by `Fields`, which forgets the case of names: keys of segments are shown to Kubernetes as they are. */
function readSegments(value: Json, fields: Fields, name: string): Segments {
  const fail = (found: string): never => {
    throw new Failure(
      'driver-failed',
      `the answer's "${fields.path}${name}" must be an object of strings or a list of such objects, but ${found}`,
    );
  };
  if (!(value instanceof JsonObject)) return fail(`has a JSON ${kindOf(value)} in that place`);
  return Object.fromEntries(
    value.members.map(([key, text]) =>
      typeof text === 'string' ? [key, text] : fail(`its ${quoted(key)} is a JSON ${kindOf(text)}`),
    ),
  );
}

/**
 * Whether a volume that is usable from each of the places in `volume` meets the requirement to be usable from one
 * of those in `requisite`. An empty list is everywhere.
 *
 * Two places meet unless they have different values for the same key. A key that only one of them has decides
 * nothing: a volume of a whole zone is usable in a rack of it, and one of a single rack satisfies whoever asked for
 * the zone, as a StorageClass with `allowedTopologies` does. Where keys do not say enough the driver is believed,
 * who was told the requirement: refusing a volume that it has made would only leave it behind. Keys are compared
 * without regard to case, as CSI has them, values with it.
 */
export function isWithin(volume: readonly Segments[], requisite: readonly Segments[]): boolean {
  if (volume.length === 0 || requisite.length === 0) return true;
  return volume.some((place) => requisite.some((wanted) => meet(place, wanted)));
}

function meet(a: Segments, b: Segments): boolean {
  const values = new Map(Object.entries(b).map(([key, value]) => [key.toLowerCase(), value]));
  return Object.entries(a).every(([key, value]) => (values.get(key.toLowerCase()) ?? value) === value);
}
