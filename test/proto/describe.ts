/** Proto files and descriptors (the wire format as data, from the APIs' own definitions) in the same terms. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
// It brings protobuf's own descriptor.proto, which csi.proto imports.
import '@grpc/proto-loader';
import protobuf from 'protobufjs';

export interface DescriptorField {
  readonly name: string;
  readonly number: number;
  readonly label: 'optional' | 'repeated' | 'map';
  readonly type: string;
  readonly type_name?: string;
  readonly oneof?: string;
  readonly secret?: true;
}

/** An API as data; its lists are of objects with a `name`. */
export interface Descriptor {
  readonly package: string;
  readonly syntax: string;
  readonly imports: readonly string[];
  readonly services: readonly {
    readonly name: string;
    readonly methods: readonly {
      readonly name: string;
      readonly path: string;
      readonly input: string;
      readonly client_streaming: boolean;
      readonly server_streaming: boolean;
    }[];
  }[];
  readonly messages: readonly { readonly name: string; readonly fields: readonly DescriptorField[] }[];
  readonly enums: readonly { readonly name: string; readonly values: readonly { readonly name: string }[] }[];
  readonly extensions?: readonly { readonly name: string }[];
}

/** The descriptor of an API, by the name of its proto file. */
export function readDescriptor(name: string): Descriptor {
  return JSON.parse(readFileSync(join(import.meta.dirname, '../data', `${name}-descriptor.json`), 'utf8'));
}

/** A proto file in the descriptor's terms. What the descriptor has no word for (other options) shows as well. */
export function describeProto(path: string) {
  const source = readFileSync(path, 'utf8');
  const parsed = protobuf.parse(source, { keepCase: true });
  const root = new protobuf.Root().loadSync(path, { keepCase: true });
  const messages: Named[] = [];
  const enums: Named[] = [];
  const services: Named[] = [];
  const extensions: Named[] = [];
  const walk = (object: protobuf.ReflectionObject): void => {
    if (object instanceof protobuf.Type) messages.push(describeMessage(object));
    else if (object instanceof protobuf.Enum) enums.push(describeEnum(object));
    else if (object instanceof protobuf.Service) services.push(describeService(object));
    else if (object instanceof protobuf.Field) extensions.push(describeExtension(object));
    if (object instanceof protobuf.Namespace) for (const nested of object.nestedArray) walk(nested);
  };
  for (const object of root.nestedArray) if (object.name !== 'google') walk(object);
  return {
    head: {
      package: parsed.package,
      syntax: /^syntax = "(.*)";$/m.exec(source)?.[1],
      imports: [...(parsed.imports ?? []), ...(parsed.weakImports ?? [])],
      // Options of the file are kept where the parser stands when it meets them: before or after `package`.
      ...describeOptions({ ...root.options, ...root.lookup(parsed.package ?? '')?.options }, 'none'),
    },
    messages,
    enums,
    services,
    extensions,
  };
}

interface Named {
  readonly name: string;
}

function describeMessage(type: protobuf.Type) {
  const oneofs = type.oneofsArray.map((oneof) => ({
    name: oneof.name,
    fields: oneof.fieldsArray.map((field) => field.name),
    ...describeOptions(oneof.options, 'none'),
  }));
  return {
    name: fullName(type),
    fields: byName(type.fieldsArray.map(describeField)),
    ...(oneofs.length === 0 ? {} : { oneofs }),
    ...(type.extensions === undefined ? {} : { extensions: type.extensions }),
    ...describeReserved(type.reserved),
    ...describeOptions(type.options, 'alpha_message'),
  };
}

function describeField(field: protobuf.Field) {
  field.resolve();
  const { resolvedType } = field;
  const kind = resolvedType instanceof protobuf.Enum ? 'enum' : 'message';
  const single =
    resolvedType === null ? { type: field.type } : { type: kind, type_name: fullName(resolvedType) };
  return {
    name: field.name,
    number: field.id,
    ...(field instanceof protobuf.MapField
      ? { label: 'map', type: 'map', key: field.keyType, value: single.type_name ?? single.type }
      : { label: field.repeated ? 'repeated' : field.required ? 'required' : 'optional', ...single }),
    ...(field.partOf === null ? {} : { oneof: field.partOf.name }),
    ...describeOptions(field.options, 'alpha_field'),
  };
}

function describeEnum(type: protobuf.Enum) {
  const values = Object.entries(type.values).map(([name, number]) => ({
    name,
    number,
    ...describeOptions(type.valuesOptions?.[name], 'alpha_enum_value'),
  }));
  return {
    name: fullName(type),
    values: byName(values),
    ...describeReserved(type.reserved),
    ...describeOptions(type.options, 'alpha_enum'),
  };
}

function describeService(service: protobuf.Service) {
  const methods = service.methodsArray.map((method) => {
    method.resolve();
    return {
      name: method.name,
      path: `/${fullName(service)}/${method.name}`,
      input: fullName(method.resolvedRequestType),
      output: fullName(method.resolvedResponseType),
      client_streaming: method.requestStream === true,
      server_streaming: method.responseStream === true,
      ...describeOptions(method.options, 'alpha_method'),
    };
  });
  return {
    name: fullName(service),
    methods: byName(methods),
    ...describeOptions(service.options, 'alpha_service'),
  };
}

function describeExtension(field: protobuf.Field) {
  return {
    name: fullName(field),
    number: field.id,
    type: field.repeated ? `repeated ${field.type}` : field.type,
    extends: field.extend,
    ...describeOptions(field.options, 'none'),
  };
}

function describeReserved(reserved: readonly (number[] | string)[] | undefined) {
  const numbers = (reserved ?? []).filter((one) => typeof one !== 'string');
  const names = (reserved ?? []).filter((one) => typeof one === 'string');
  return {
    ...(numbers.length === 0 ? {} : { reserved_numbers: numbers }),
    ...(names.length === 0 ? {} : { reserved_names: names }),
  };
}

function describeOptions(options: Record<string, unknown> | null | undefined, alphaMark: string) {
  const { '(csi_secret)': secret, [`(${alphaMark})`]: alpha, ...others } = options ?? {};
  return {
    ...(secret === undefined ? {} : { secret }),
    ...(alpha === undefined ? {} : { alpha }),
    ...(Object.keys(others).length === 0 ? {} : { otherOptions: others }),
  };
}

function fullName(object: protobuf.ReflectionObject | null): string {
  return object?.fullName.slice(1) ?? '';
}

export function byName<T extends Named>(list: readonly T[]): Record<string, T> {
  const names = new Set(list.map((one) => one.name));
  if (names.size !== list.length) throw new Error('two of the same name');
  return Object.fromEntries(list.map((one) => [one.name, one]));
}
