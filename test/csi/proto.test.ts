import { execFileSync, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { credentials, Server, ServerCredentials, type ServiceDefinition } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ControllerClient, ControllerHandlers } from '../../src/csi/generated/csi/v1/Controller.ts';
import type { CreateVolumeRequest__Output } from '../../src/csi/generated/csi/v1/CreateVolumeRequest.ts';
import type { CreateVolumeResponse__Output } from '../../src/csi/generated/csi/v1/CreateVolumeResponse.ts';
import type { GetCapacityResponse__Output } from '../../src/csi/generated/csi/v1/GetCapacityResponse.ts';
import { createSecretFields, csi, secretValues, stripSecrets } from '../../src/csi/proto.ts';

const project = join(import.meta.dirname, '..', '..');
const protoFile = join(project, 'proto', 'csi.proto');

interface DescriptorField {
  readonly name: string;
  readonly number: number;
  readonly label: 'optional' | 'repeated' | 'map';
  readonly type: string;
  readonly type_name?: string;
  readonly oneof?: string;
  readonly secret?: true;
}

/** csi.v1 as data; its lists are of objects with a `name`. */
interface Descriptor {
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
  readonly extensions: readonly { readonly name: string }[];
}

const descriptor: Descriptor = JSON.parse(
  readFileSync(join(project, 'test', 'data', 'csi-descriptor.json'), 'utf8'),
);

describe('proto/csi.proto has what the descriptor has, and nothing else', () => {
  const actual = describeProto(protoFile);

  it('in its head', () => {
    const { package: name, syntax, imports } = descriptor;
    expect(actual.head).toStrictEqual({ package: name, syntax, imports });
  });

  it('in its messages', () => {
    const expected = byName(descriptor.messages.map((one) => ({ ...one, fields: byName(one.fields) })));
    expect(byName(actual.messages)).toStrictEqual(expected);
  });

  it('in its enums', () => {
    const expected = byName(descriptor.enums.map((one) => ({ ...one, values: byName(one.values) })));
    expect(byName(actual.enums)).toStrictEqual(expected);
  });

  it('in its services', () => {
    const expected = byName(descriptor.services.map((one) => ({ ...one, methods: byName(one.methods) })));
    expect(byName(actual.services)).toStrictEqual(expected);
  });

  it('in its extensions', () => {
    expect(byName(actual.extensions)).toStrictEqual(byName(descriptor.extensions));
  });
});

describe('the loaded services', () => {
  const directory = mkdtempSync(join(tmpdir(), 'flexcsi-proto-'));
  const address = `unix://${join(directory, 'csi.sock')}`;
  const server = new Server();
  let client: ControllerClient;
  let received: CreateVolumeRequest__Output | undefined;

  beforeAll(async () => {
    const handlers = {
      CreateVolume: (call, callback) => {
        received = call.request;
        callback(null, {
          volume: {
            volume_id: 'v',
            capacity_bytes: call.request.capacity_range?.limit_bytes ?? '0',
            content_source: { snapshot: { snapshot_id: 's' } },
          },
        });
      },
      GetCapacity: (_call, callback) => {
        callback(null, { available_capacity: 0, maximum_volume_size: { value: '9223372036854775807' } });
      },
    } satisfies Partial<ControllerHandlers>;
    server.addService(csi.Controller.service, handlers);
    await new Promise<void>((resolve, reject) =>
      server.bindAsync(address, ServerCredentials.createInsecure(), (error) =>
        error === null ? resolve() : reject(error),
      ),
    );
    client = new csi.Controller(address, credentials.createInsecure());
  });

  afterAll(() => {
    client.close();
    server.forceShutdown();
    rmSync(directory, { recursive: true });
  });

  it('have the paths and streams of the descriptor', () => {
    const services: Record<string, { service: ServiceDefinition }> = {
      'csi.v1.Identity': csi.Identity,
      'csi.v1.Controller': csi.Controller,
      'csi.v1.GroupController': csi.GroupController,
      'csi.v1.SnapshotMetadata': csi.SnapshotMetadata,
      'csi.v1.Node': csi.Node,
    };
    const actual = Object.entries(services).map(([name, { service }]) => [
      name,
      Object.values(service)
        .map((method) => [method.path, method.requestStream, method.responseStream])
        .sort(),
    ]);
    const expected = descriptor.services.map(({ name, methods }) => [
      name,
      methods.map((method) => [method.path, method.client_streaming, method.server_streaming]).sort(),
    ]);
    expect(new Map(actual as [string, unknown][])).toStrictEqual(new Map(expected as [string, unknown][]));
  });

  it('carry int64, maps and oneofs both ways', async () => {
    const answer = await new Promise<CreateVolumeResponse__Output | undefined>((resolve, reject) =>
      client.CreateVolume(
        {
          name: 'pvc-ä',
          capacity_range: { required_bytes: '9007199254740993', limit_bytes: '9223372036854775807' },
          volume_capabilities: [
            { mount: { fs_type: 'xfs', mount_flags: ['a'] }, access_mode: { mode: 'SINGLE_NODE_WRITER' } },
            { block: {} },
          ],
          parameters: { key: 'value', '10': 'ten' },
        },
        (error, response) => (error === null ? resolve(response) : reject(error)),
      ),
    );
    expect(received).toStrictEqual({
      name: 'pvc-ä',
      capacity_range: { required_bytes: '9007199254740993', limit_bytes: '9223372036854775807' },
      volume_capabilities: [
        {
          access_type: 'mount',
          mount: { fs_type: 'xfs', mount_flags: ['a'], volume_mount_group: '' },
          access_mode: { mode: 'SINGLE_NODE_WRITER' },
        },
        { access_type: 'block', block: {}, access_mode: null },
      ],
      parameters: { key: 'value', '10': 'ten' },
      secrets: {},
      volume_content_source: null,
      accessibility_requirements: null,
      mutable_parameters: {},
    });
    expect(answer?.volume).toStrictEqual({
      capacity_bytes: '9223372036854775807',
      volume_id: 'v',
      volume_context: {},
      content_source: { type: 'snapshot', snapshot: { snapshot_id: 's' } },
      accessible_topology: [],
    });
  });

  it('carry wrappers', async () => {
    const answer = await new Promise<GetCapacityResponse__Output | undefined>((resolve, reject) =>
      client.GetCapacity({}, (error, response) => (error === null ? resolve(response) : reject(error))),
    );
    expect(answer).toStrictEqual({
      available_capacity: '0',
      maximum_volume_size: { value: '9223372036854775807' },
      minimum_volume_size: null,
    });
  });

  it.each([
    [{}, /^$/],
    // An explicit false may stand there or be left out: both are false to every reader.
    [{ ready: { value: false } }, /^0a00$|^0a020800$/],
    [{ ready: { value: true } }, /^0a020801$/],
  ])('write the ProbeResponse %j as protobuf does', (response, hex) => {
    expect(csi.Identity.service.Probe.responseSerialize(response).toString('hex')).toMatch(hex);
  });
});

describe('secret fields', () => {
  const withSecrets = descriptor.messages.filter((message) => message.fields.some((field) => field.secret));
  const rpcs = new Map(
    descriptor.services.flatMap((service) =>
      service.methods.map((method) => [method.input, method] as const),
    ),
  );

  it('are in 22 requests', () => {
    expect(withSecrets.length).toBe(22);
  });

  it.each(withSecrets.map((message) => message.name))('of %s are hidden and found', (name) => {
    const rpc = rpcs.get(name);
    if (rpc === undefined) throw new Error(`no RPC takes ${name}`);
    const decoded = (text: SampleTexts) => throughWire(rpc.path, sample(name, text));
    const message = decoded({ plain: 'plain', secret: 'secret-value', flag: 'flag-value' });
    const before = structuredClone(message);

    const stripped = stripSecrets(name, message);

    expect(stripped).toStrictEqual(decoded({ plain: 'plain', secret: '***', flag: '***' }));
    expect(stripped).toMatchObject({ secrets: { one: '***', two: '***' } });
    expect(JSON.stringify(stripped)).not.toMatch(/secret-value|flag-value/);
    expect(stripSecrets(rpc.path, message)).toStrictEqual(stripped);
    expect(secretValues(name, message)).toStrictEqual(['secret-value', 'secret-value']);
    expect(secretValues(rpc.path, message)).toStrictEqual(['secret-value', 'secret-value']);
    expect(message).toStrictEqual(before);
    expectNothingShared(stripped, message);
  });

  it('are hidden in responses, too', () => {
    const name = 'csi.v1.ValidateVolumeCapabilitiesResponse';
    const texts = { plain: 'plain', secret: 'secret-value', flag: 'flag-value' };
    expect(stripSecrets(name, sample(name, texts))).toStrictEqual(sample(name, { ...texts, flag: '***' }));
  });

  it('may have any keys and be absent', () => {
    const secrets = JSON.parse('{"__proto__":"a","constructor":"b","10":""}');
    const stripped = stripSecrets('csi.v1.DeleteVolumeRequest', { volume_id: 'v', secrets });
    expect(JSON.stringify(stripped)).toBe(
      '{"volume_id":"v","secrets":{"10":"***","__proto__":"***","constructor":"***"}}',
    );
    expect(secretValues('csi.v1.DeleteVolumeRequest', { secrets })).toStrictEqual(['', 'a', 'b']);
    expect(stripSecrets('csi.v1.DeleteVolumeRequest', { volume_id: 'v' })).toStrictEqual({ volume_id: 'v' });
    expect(secretValues('csi.v1.NodePublishVolumeRequest', { volume_capability: null })).toStrictEqual([]);
  });

  it('are those with the mark, whatever their name, type and depth', () => {
    const fields = createSecretFields(
      protobuf.parse(
        `syntax = "proto3";
        package p;
        message Outer {
          string pin = 1 [(csi_secret) = true];
          repeated string pins = 2 [(csi_secret) = true];
          Inner whole = 3 [(csi_secret) = true];
          Inner inner = 4;
          repeated Inner list = 5;
          map<string, Inner> table = 6;
          map<string, string> secrets = 7;
          Outer again = 8;
          repeated string mount_flags = 9;
          string unmarked = 10 [(csi_secret) = false];
        }
        message Inner { string token = 1 [(csi_secret) = true]; string open = 2; }`,
        { keepCase: true },
      ).root,
    );
    const message = (secret: string, whole: string) => ({
      pin: secret,
      pins: [secret, secret],
      whole: { token: secret, open: whole },
      inner: { token: secret, open: 'o' },
      list: [{ token: secret, open: 'o' }],
      // A map's keys are no fields of the messages in it.
      table: { token: { token: secret, open: 'o' } },
      secrets: { a: 'o' },
      again: { pin: secret, again: null },
      mount_flags: ['o'],
      unmarked: 'o',
    });
    expect(fields.stripSecrets('p.Outer', message('s', 'w'))).toStrictEqual(message('***', '***'));
    expect(fields.secretValues('p.Outer', message('s', 'w')).sort()).toStrictEqual([...'ssssssssw']);
  });

  it.each([
    '',
    'DeleteVolumeRequest',
    '.csi.v1.DeleteVolumeRequest',
    'csi.v1.NoSuchRequest',
    '/csi.v1.Node/NoSuch',
    '/csi.v1.NoSuch/Probe',
    'csi.v1.Node',
  ])('are not guessed for the unknown name %j', (name) => {
    expect(() => stripSecrets(name, { secrets: { a: 'b' } })).toThrow();
    expect(() => secretValues(name, { secrets: { a: 'b' } })).toThrow();
  });
});

describe('npm run generate', () => {
  const copy = mkdtempSync(join(tmpdir(), 'flexcsi-generate-test-'));
  const generated = join(copy, 'src', 'csi', 'generated', 'csi', 'v1');

  beforeAll(() => {
    mkdirSync(join(copy, 'proto'));
    mkdirSync(join(copy, 'src', 'csi'), { recursive: true });
    for (const file of ['package.json', 'proto/csi.proto', 'proto/generate.ts', 'src/csi/proto.ts']) {
      copyFileSync(join(project, file), join(copy, file));
    }
    symlinkSync(join(project, 'node_modules'), join(copy, 'node_modules'));
  });

  afterAll(() => rmSync(copy, { recursive: true }));

  it('has been run since the proto file changed', () => {
    expect(generate(project, '--check')).toStrictEqual({ status: 0, stdout: '', stderr: '' });
  });

  it('names what is stale, missing and extra, and repairs it', () => {
    expect(generate(copy).stdout).toContain('missing: src/csi/generated/csi/v1/Node.ts\n');
    expect(generate(copy, '--check').status).toBe(0);

    appendFileSync(join(generated, 'Node.ts'), '// edited by hand\n');
    unlinkSync(join(generated, 'Volume.ts'));
    writeFileSync(join(generated, 'Gone.ts'), '');
    const named = [
      'extra: src/csi/generated/csi/v1/Gone.ts',
      'stale: src/csi/generated/csi/v1/Node.ts',
      'missing: src/csi/generated/csi/v1/Volume.ts',
      '',
    ].join('\n');
    expect(generate(copy, '--check')).toStrictEqual({
      status: 1,
      stdout: named,
      stderr: 'The generated types are not those of proto/csi.proto: run `npm run generate`.\n',
    });
    expect(generate(copy)).toStrictEqual({ status: 0, stdout: named, stderr: '' });
    execFileSync('diff', ['-r', join(copy, 'src/csi/generated'), join(project, 'src/csi/generated')]);
  });

  it('refuses other arguments', () => {
    expect(generate(copy, '--chek')).toMatchObject({ status: 2, stdout: '' });
  });

  function generate(directory: string, ...args: string[]) {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [join(directory, 'proto', 'generate.ts'), ...args],
      { encoding: 'utf8', cwd: '/' },
    );
    return { status, stdout, stderr };
  }
});

/** A proto file in the descriptor's terms. What the descriptor has no word for (other options) shows as well. */
function describeProto(path: string) {
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

function byName<T extends Named>(list: readonly T[]): Record<string, T> {
  const names = new Set(list.map((one) => one.name));
  if (names.size !== list.length) throw new Error('two of the same name');
  return Object.fromEntries(list.map((one) => [one.name, one]));
}

interface SampleTexts {
  readonly plain: string;
  readonly secret: string;
  readonly flag: string;
}

/** A message with every field set, of a oneof the last. */
function sample(name: string, texts: SampleTexts): object {
  const message = descriptor.messages.find((one) => one.name === name);
  const fields = message?.fields.filter(
    (field, index, all) =>
      field.oneof === undefined || all.findLastIndex((f) => f.oneof === field.oneof) === index,
  );
  return Object.fromEntries(fields?.map((field) => [field.name, sampleField(field, texts)]) ?? []);
}

function sampleField(field: DescriptorField, texts: SampleTexts): unknown {
  const text = field.secret ? texts.secret : field.name === 'mount_flags' ? texts.flag : texts.plain;
  if (field.label === 'map') return { one: text, two: text };
  const one = sampleValue(field, text, texts);
  return field.label === 'repeated' ? [one, one] : one;
}

function sampleValue({ type, type_name: typeName = '' }: DescriptorField, text: string, texts: SampleTexts) {
  if (type === 'message') return sample(typeName, texts);
  if (type === 'enum') return descriptor.enums.find((one) => one.name === typeName)?.values.at(-1)?.name;
  if (type === 'bool') return true;
  return type === 'string' ? text : '7';
}

/** What the server gets when a client sends this request. */
function throughWire(path: string, request: object): object {
  const [, service, method] = path.split('/');
  const definitions = csi as unknown as Record<string, { service: ServiceDefinition }>;
  const definition = definitions[service?.replace('csi.v1.', '') ?? '']?.service[method ?? ''];
  if (definition === undefined) throw new Error(`no such RPC: ${path}`);
  return definition.requestDeserialize(definition.requestSerialize(request)) as object;
}

function expectNothingShared(copy: unknown, original: unknown): void {
  if (typeof copy !== 'object' || copy === null) return;
  expect(copy).not.toBe(original);
  for (const [key, value] of Object.entries(copy)) {
    expectNothingShared(value, (original as Record<string, unknown>)[key]);
  }
}
