/**
 * The wire format: `proto/csi.proto`, loaded at run time. Its services with their generated types, and its
 * secret fields, which are known by their mark alone.
 *
 * protobufjs reads the file because proto-loader drops the marks (`csi_secret`); the services are made from
 * what was read.
 */
import { join } from 'node:path';
import { loadPackageDefinition } from '@grpc/grpc-js';
import { fromJSON } from '@grpc/proto-loader';
import protobuf from 'protobufjs';
import { messageOptions } from '../grpc/messages.ts';
import type { ProtoGrpcType } from './generated/csi.ts';

// Two levels above this file in a checkout (src/csi) and in a build (dist/csi). The imports of google/protobuf
// are bundled with protobufjs, descriptor.proto once proto-loader is imported.
const file = join(import.meta.dirname, '..', '..', 'proto', 'csi.proto');
const root = new protobuf.Root().loadSync(file, { keepCase: messageOptions.keepCase });
const loaded = loadPackageDefinition(fromJSON(root.toJSON(), messageOptions));

/**
 * The services of csi.v1: `csi.Node.service` is what `Server.addService` takes, `new csi.Node(address,
 * credentials)` is a client.
 */
export const csi = (loaded as unknown as ProtoGrpcType).csi.v1;

/** What has to be kept out of logs and messages. */
export interface SecretFields {
  /**
   * A deep copy of a message for logs: the values in fields marked `csi_secret` and the mount flags are `***`,
   * the keys of secrets stay. `name` is the full name of the message's type (`csi.v1.NodeStageVolumeRequest`),
   * or the path of an RPC (`/csi.v1.Node/NodeStageVolume`) for its request. Throws for any other name.
   */
  stripSecrets(name: string, message: object): Record<string, unknown>;

  /**
   * The text values in fields marked `csi_secret`, and the mount flags that carry a value (`password=…`), whole
   * and the value alone. `name` is as for `stripSecrets`.
   */
  secretValues(name: string, message: object): string[];
}

const MASK = '***';

/** CSI leaves mount flags unmarked, though it says that they may be sensitive. */
const MOUNT_FLAGS = '.csi.v1.VolumeCapability.MountVolume.mount_flags';

/** The fields of one message type that have, or may have within them, something to hide. */
type Hiding = Map<string, HidingField>;

interface HidingField {
  readonly isMap: boolean;
  /** A message hides what its own type says. */
  readonly hides: 'secret' | 'sensitive' | Hiding;
}

/**
 * The secret fields of all messages of a loaded proto file, looked through here once. Throws where a type that
 * a field or an RPC names is not there.
 */
export function createSecretFields(protoRoot: protobuf.Root): SecretFields {
  const byType = new Map<protobuf.Type, Hiding>();
  const byName = new Map<string, Hiding>();

  function ofType(type: protobuf.Type): Hiding {
    const known = byType.get(type);
    if (known !== undefined) return known;
    const hiding: Hiding = new Map();
    // Before its fields: a type may contain itself.
    byType.set(type, hiding);
    for (const field of type.fieldsArray) {
      const { name, map: isMap, resolvedType } = field;
      if (field.options?.['(csi_secret)'] === true) hiding.set(name, { isMap, hides: 'secret' });
      else if (field.fullName === MOUNT_FLAGS) hiding.set(name, { isMap, hides: 'sensitive' });
      else if (resolvedType instanceof protobuf.Type)
        hiding.set(name, { isMap, hides: ofType(resolvedType) });
    }
    return hiding;
  }

  function addAll(objects: readonly protobuf.ReflectionObject[]): void {
    for (const object of objects) {
      const name = object.fullName.slice(1);
      if (object instanceof protobuf.Type) byName.set(name, ofType(object));
      if (object instanceof protobuf.Service) {
        for (const { name: method, resolvedRequestType: request } of object.methodsArray) {
          if (request !== null) byName.set(`/${name}/${method}`, ofType(request));
        }
      }
      if (object instanceof protobuf.Namespace) addAll(object.nestedArray);
    }
  }

  protoRoot.resolveAll();
  addAll(protoRoot.nestedArray);

  function ofName(name: string): Hiding {
    const hiding = byName.get(name);
    if (hiding === undefined) throw new Error(`no such message or RPC: ${JSON.stringify(name)}`);
    return hiding;
  }

  return {
    stripSecrets: (name, message) => copyMessage(message, ofName(name)),
    secretValues: (name, message) => {
      const values: string[] = [];
      collectSecrets(message, ofName(name), values);
      return values;
    },
  };
}

export const { stripSecrets, secretValues } = createSecretFields(root);

function copyMessage(message: object, hiding: Hiding): Record<string, unknown> {
  return mapValues(message, (value, name) => {
    const field = hiding.get(name);
    if (field === undefined) return copy(value);
    const { hides, isMap } = field;
    if (typeof hides === 'string') return mask(value);
    const copyOne = (one: unknown) => (isObject(one) ? copyMessage(one, hides) : one);
    if (Array.isArray(value)) return value.map(copyOne);
    return isMap && isObject(value) ? mapValues(value, copyOne) : copyOne(value);
  });
}

function collectSecrets(message: object, hiding: Hiding, into: string[]): void {
  for (const [name, { hides, isMap }] of hiding) {
    const value: unknown = (message as Record<string, unknown>)[name];
    if (hides === 'secret') collectTexts(value, into);
    if (hides === 'sensitive') collectFlags(value, into);
    if (typeof hides === 'string' || !isObject(value)) continue;
    for (const one of isMap || Array.isArray(value) ? Object.values(value) : [value]) {
      if (isObject(one)) collectSecrets(one, hides, into);
    }
  }
}

function collectTexts(value: unknown, into: string[]): void {
  if (typeof value === 'string') into.push(value);
  else if (isObject(value)) for (const one of Object.values(value)) collectTexts(one, into);
}

/** Below this length a value is a number or a version, not a secret. */
const SHORTEST_SECRET = 6;

function collectFlags(value: unknown, into: string[]): void {
  const flags: string[] = [];
  collectTexts(value, flags);
  for (const flag of flags.flatMap((text) => text.split(','))) {
    const at = flag.indexOf('=');
    if (at < 0) continue;
    into.push(flag);
    if (flag.length - at > SHORTEST_SECRET) into.push(flag.slice(at + 1));
  }
}

/** The same shape with every value masked, at any depth; absent stays absent. */
function mask(value: unknown): unknown {
  if (value === null || value === undefined) return value;
  return shaped(value, mask, MASK);
}

function copy(value: unknown): unknown {
  return shaped(value, copy, value);
}

function shaped(value: unknown, each: (one: unknown) => unknown, leaf: unknown): unknown {
  if (Array.isArray(value)) return value.map(each);
  return isObject(value) ? mapValues(value, each) : leaf;
}

function mapValues(object: object, each: (value: unknown, key: string) => unknown): Record<string, unknown> {
  // fromEntries and not assignment: a key from the wire may be `__proto__`.
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, each(value, key)]));
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !ArrayBuffer.isView(value);
}
