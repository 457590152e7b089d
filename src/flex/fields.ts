/** The fields of a JSON object by the rules of Go's `encoding/json` for structs. */
import { Failure } from '../errors.ts';
import { type Json, JsonNumber, JsonObject, kindOf } from './json.ts';

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

/**
 * A field's name without regard to case, as Go compares ASCII names: besides A to Z, `ſ` equals s and the
 * Kelvin sign equals k.
 */
export function foldName(name: string): string {
  return name.replace(/[A-Z\u017f\u212a]/g, (letter) => (letter === '\u017f' ? 's' : letter.toLowerCase()));
}

/**
 * The fields of one object (or of several, read one after the other into the same place). Names match without
 * regard to case, the last of equal fields wins, `null` leaves a field as it was, and a field of the wrong
 * type is an error even when a later one is right: then a method throws a `Failure` (`driver-failed`)
 * that names the field.
 */
export class Fields {
  readonly #values = new Map<string, Json[]>();
  /** Goes before the names in messages, `capabilities.` for instance. */
  readonly path: string;

  constructor(objects: readonly JsonObject[], path = '') {
    this.path = path;
    for (const [key, value] of objects.flatMap((object) => object.members)) {
      const name = foldName(key);
      const values = this.#values.get(name);
      if (values === undefined) this.#values.set(name, [value]);
      else values.push(value);
    }
  }

  /** The names there are, folded, in the order of their first appearance. */
  names(): Iterable<string> {
    return this.#values.keys();
  }

  /** All values of a field, in order, whatever their types. */
  values(name: string): readonly Json[] {
    return this.#values.get(foldName(name)) ?? [];
  }

  string(name: string): string | undefined {
    return this.#last(name, 'a string', (value) => (typeof value === 'string' ? value : undefined));
  }

  boolean(name: string): boolean | undefined {
    return this.#last(name, 'true or false', (value) => (typeof value === 'boolean' ? value : undefined));
  }

  /** A 64-bit integer. `1024.0` and `1e3` are none: Go refuses them. */
  integer(name: string): bigint | undefined {
    return this.#last(name, 'an integer of 64 bits', (value) => {
      if (!(value instanceof JsonNumber) || !/^-?\d{1,19}$/.test(value.text)) return undefined;
      const integer = BigInt(value.text);
      return integer >= INT64_MIN && integer <= INT64_MAX ? integer : undefined;
    });
  }

  array(name: string): readonly Json[] | undefined {
    return this.#last(name, 'a list', (value) => (Array.isArray(value) ? value : undefined));
  }

  /** A list of objects. */
  objects(name: string): readonly Fields[] | undefined {
    return this.#last(name, 'a list of objects', (value) => {
      if (!Array.isArray(value)) return undefined;
      const objects = value.filter((one) => one instanceof JsonObject);
      if (objects.length < value.length) return undefined;
      return objects.map((one, index) => new Fields([one], `${this.path}${name}[${index}].`));
    });
  }

  /** A list of strings. */
  texts(name: string): readonly string[] | undefined {
    return this.#last(name, 'a list of strings', (value) =>
      Array.isArray(value) && value.every((one) => typeof one === 'string') ? value : undefined,
    );
  }

  /** An object of strings, its keys as they are: options, for instance. Of equal keys the last wins. */
  map(name: string): Readonly<Record<string, string>> | undefined {
    return this.#last(name, 'an object of strings', (value) => {
      if (!(value instanceof JsonObject)) return undefined;
      const members = value.members.filter(
        (member): member is [string, string] => typeof member[1] === 'string',
      );
      return members.length < value.members.length ? undefined : Object.fromEntries(members);
    });
  }

  /** A second object is merged into the first. */
  object(name: string): Fields | undefined {
    const objects = this.#all(name, 'an object', (value) =>
      value instanceof JsonObject ? value : undefined,
    );
    return objects.length === 0 ? undefined : new Fields(objects, `${this.path}${name}.`);
  }

  #last<T>(name: string, expected: string, read: (value: Json) => T | undefined): T | undefined {
    return this.#all(name, expected, read).at(-1);
  }

  #all<T>(name: string, expected: string, read: (value: Json) => T | undefined): T[] {
    return this.values(name)
      .filter((value) => value !== null)
      .map((value) => this.#require(name, expected, value, read));
  }

  #require<T>(name: string, expected: string, value: Json, read: (value: Json) => T | undefined): T {
    const typed = read(value);
    if (typed !== undefined) return typed;
    const found = value instanceof JsonNumber ? `the number ${value.text}` : describe(value);
    throw new Failure(
      'driver-failed',
      `the answer's "${this.path}${name}" must be ${expected}, but is ${found}`,
    );
  }
}

function describe(value: Json): string {
  const kind = kindOf(value);
  return kind === 'array' || kind === 'object' ? `an ${kind}` : `a ${kind}`;
}
