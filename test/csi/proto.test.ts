import { mkdtempSync, rmSync } from 'node:fs';
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
import { type DescriptorField, readDescriptor } from '../proto/describe.ts';

const descriptor = readDescriptor('csi');

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
