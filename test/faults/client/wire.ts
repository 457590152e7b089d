/** What should not come over the socket. Whatever it is, it is answered or cut off, and nothing comes of it. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Cell, Fault } from '../fault.ts';
import { demand } from '../support/answers.ts';
import { times } from '../support/scale.ts';
import { onSite, type Site } from '../support/site.ts';
import type { Volume } from '../support/volume.ts';
import { frame, openSession, openSocket, post, type Reply } from './http2.ts';
import { onTheWire } from './rpcs.ts';

const MIB = 1024 * 1024;
const PUBLISH = '/csi.v1.Node/NodePublishVolume';

/** Something to send on a new session, and what may come of it. */
interface Wrong {
  readonly call: string;
  send(site: Site, volume: Volume): Promise<Reply>;
  /** gRPC's codes; `none` for an answer that is not gRPC, or a stream that is cut off. */
  readonly codes: string;
}

/** Posts to a session of its own. */
async function postAlone(
  site: Site,
  path: string,
  body: Buffer,
  headers: Record<string, string> = {},
): Promise<Reply> {
  const session = await openSession(site.socket);
  try {
    return await post(session, path, body, headers);
  } finally {
    session.destroy();
  }
}

function publishMessage(volume: Volume, change: object = {}): Buffer {
  return onTheWire('Node', 'NodePublishVolume', { ...volume.publishRequest(), ...change }).message;
}

/** A field of a protobuf message, by its number and wire type. */
function field(number: number, wireType: number, content: Buffer): Buffer {
  return Buffer.concat([varint(number * 8 + wireType), content]);
}

function text(bytes: Buffer): Buffer {
  return Buffer.concat([varint(bytes.length), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    bytes.push(rest >= 128 ? (rest % 128) + 128 : rest);
    if (rest < 128) return Buffer.from(bytes);
  }
}

const publishOf = (change: (message: Buffer, volume: Volume) => Buffer): Wrong['send'] => {
  return (site, volume) => postAlone(site, PUBLISH, frame(change(publishMessage(volume), volume)));
};

const wrongMethods: readonly Wrong[] = [
  {
    call: 'unknown RPC',
    send: (site) => postAlone(site, '/csi.v1.Node/NodeFormatVolume', frame(Buffer.alloc(0))),
    codes: 'UNIMPLEMENTED',
  },
  {
    call: 'unknown service',
    send: (site) => postAlone(site, '/csi.v9.Node/NodeGetInfo', frame(Buffer.alloc(0))),
    codes: 'UNIMPLEMENTED',
  },
  { call: 'no path', send: (site) => postAlone(site, '/', frame(Buffer.alloc(0))), codes: 'UNIMPLEMENTED' },
  {
    call: 'a long path',
    send: (site) => postAlone(site, `/${'x'.repeat(8000)}`, frame(Buffer.alloc(0))),
    codes: 'UNIMPLEMENTED|none',
  },
  {
    call: '__proto__',
    send: (site) => postAlone(site, '/__proto__/constructor', frame(Buffer.alloc(0))),
    codes: 'UNIMPLEMENTED',
  },
  {
    call: 'PUT',
    send: (site, v) => postAlone(site, PUBLISH, frame(publishMessage(v)), { ':method': 'PUT' }),
    codes: 'UNIMPLEMENTED|INTERNAL|OK|none',
  },
  {
    call: 'content type',
    send: (site, v) => postAlone(site, PUBLISH, frame(publishMessage(v)), { 'content-type': 'text/plain' }),
    codes: 'none|UNIMPLEMENTED|UNKNOWN|INTERNAL',
  },
  {
    call: 'an encoding',
    send: (site, v) =>
      postAlone(site, PUBLISH, frame(publishMessage(v), { flag: 1 }), { 'grpc-encoding': 'zstd' }),
    codes: 'UNIMPLEMENTED|INTERNAL',
  },
];

const malformed: readonly Wrong[] = [
  {
    call: 'no message',
    send: (site) => postAlone(site, PUBLISH, Buffer.alloc(0)),
    codes: 'UNIMPLEMENTED|INTERNAL|none',
  },
  {
    call: 'an empty message',
    send: (site) => postAlone(site, PUBLISH, frame(Buffer.alloc(0))),
    codes: 'INVALID_ARGUMENT',
  },
  {
    call: 'half a frame',
    send: (site, v) => postAlone(site, PUBLISH, frame(publishMessage(v)).subarray(0, 30)),
    codes: 'INTERNAL|UNIMPLEMENTED|DATA_LOSS|none',
  },
  {
    call: 'a frame too long',
    send: (site, v) => postAlone(site, PUBLISH, frame(publishMessage(v), { length: 0xffffffff })),
    codes: 'RESOURCE_EXHAUSTED|INTERNAL|none',
  },
  // Without an encoding that is named, grpc-js takes the message as it is.
  {
    call: 'compressed, it says',
    send: (site, v) => postAlone(site, PUBLISH, frame(publishMessage(v), { flag: 1 })),
    codes: 'OK|INTERNAL|UNIMPLEMENTED',
  },
  {
    call: 'not compressed, it says',
    send: (site, v) =>
      postAlone(site, PUBLISH, frame(publishMessage(v), { flag: 1 }), { 'grpc-encoding': 'gzip' }),
    codes: 'INTERNAL|UNIMPLEMENTED',
  },
  {
    call: 'two messages',
    send: (site, v) =>
      postAlone(site, PUBLISH, Buffer.concat([frame(publishMessage(v)), frame(publishMessage(v))])),
    codes: 'INTERNAL|UNIMPLEMENTED',
  },
  { call: 'random bytes', send: publishOf(() => randomBytes(500)), codes: 'INTERNAL|INVALID_ARGUMENT' },
  {
    call: 'a volume id that is no text',
    send: publishOf((m) => Buffer.concat([m, field(1, 0, varint(7))])),
    codes: 'INTERNAL|INVALID_ARGUMENT',
  },
  {
    call: 'a message that is a number',
    send: publishOf((m) => Buffer.concat([m, field(5, 1, Buffer.alloc(8, 1))])),
    codes: 'INTERNAL|INVALID_ARGUMENT',
  },
  {
    call: 'bytes that are not UTF-8',
    send: publishOf((m) => Buffer.concat([m, field(1, 2, text(Buffer.from([0xff, 0xfe, 0x80])))])),
    codes: 'INVALID_ARGUMENT',
  },
  {
    call: 'longer than it is',
    send: publishOf((m) => Buffer.concat([m, field(1, 2, varint(1_000_000))])),
    codes: 'INTERNAL|INVALID_ARGUMENT',
  },
  {
    call: 'groups in groups',
    send: publishOf((m) => Buffer.concat([m, Buffer.alloc(MIB, 0xa3)])),
    codes: 'INTERNAL|INVALID_ARGUMENT',
  },
  {
    call: 'an unknown access mode',
    send: publishOf((m) => Buffer.concat([m, field(5, 2, text(field(3, 2, text(field(1, 0, varint(99))))))])),
    codes: 'INVALID_ARGUMENT',
  },
  {
    call: 'volume_id of 200,000 bytes',
    send: publishOf((_, v) => publishMessage(v, { volume_id: 'x'.repeat(200_000) })),
    codes: 'INVALID_ARGUMENT',
  },
];

const oversized: readonly Wrong[] = [
  {
    call: 'above 4 MiB',
    send: publishOf((_, v) => publishMessage(v, { volume_context: { a: 'x'.repeat(4 * MIB) } })),
    codes: 'RESOURCE_EXHAUSTED',
  },
  {
    call: '64 MiB',
    send: publishOf((_, v) => publishMessage(v, { volume_context: { a: 'x'.repeat(64 * MIB) } })),
    codes: 'RESOURCE_EXHAUSTED|none',
  },
  {
    call: 'an option of 1 MiB',
    send: publishOf((_, v) => publishMessage(v, { volume_context: { a: 'x'.repeat(MIB) } })),
    codes: 'INVALID_ARGUMENT',
  },
  {
    call: '100,000 options',
    send: publishOf((_, v) => publishMessage(v, { volume_context: manyOptions() })),
    codes: 'INVALID_ARGUMENT',
  },
  { call: '64 MiB, compressed', send: (site, v) => compressed(site, v), codes: 'RESOURCE_EXHAUSTED|none' },
  {
    call: 'metadata of 1 MiB',
    send: (site, v) => postAlone(site, PUBLISH, frame(publishMessage(v)), { 'x-more': 'x'.repeat(MIB) }),
    codes: 'none|RESOURCE_EXHAUSTED|INTERNAL',
  },
];

function manyOptions(): Record<string, string> {
  return Object.fromEntries(Array.from({ length: 100_000 }, (_, index) => [`option-${index}`, 'value']));
}

/** A small message that becomes a large one. */
async function compressed(site: Site, volume: Volume): Promise<Reply> {
  const { gzipSync } = await import('node:zlib');
  const message = gzipSync(publishMessage(volume, { volume_context: { a: 'x'.repeat(64 * MIB) } }));
  return await postAlone(site, PUBLISH, frame(message, { flag: 1 }), { 'grpc-encoding': 'gzip' });
}

function refusedCells(all: readonly Wrong[]): Cell[] {
  return all.map(({ call, send, codes }) => ({
    call,
    run: () =>
      onSite({}, async (site) => {
        const volume = site.volume();
        const { result } = await site.meanwhile(send(site, volume));
        const code = result.code ?? 'none';
        demand(codes.split('|').includes(code), `answered ${code} (${result.message}), not ${codes}`);
        const isDone = code === 'OK';
        demand(site.mountsAt(volume.target) === (isDone ? 1 : 0), 'something was mounted, or nothing');
        if (!isDone) demand(site.calls('mount', volume.id) === 0, 'the driver was called');
        await volume.up();
        await volume.down();
        return code === 'none' ? `refused (HTTP ${result.http ?? 'stream cut off'})` : code;
      }),
  }));
}

/** What a newer client may say: it is done, without what is not known. */
const unknownFields: Cell = {
  call: 'publish',
  run: () =>
    onSite({}, async (site) => {
      const volume = site.volume();
      const unknown = [
        field(100, 0, varint(5)),
        field(101, 2, text(Buffer.from('what?'))),
        field(102, 1, Buffer.alloc(8, 1)),
        field(103, 5, Buffer.alloc(4, 1)),
        field(536_870_911, 2, text(randomBytes(100))),
      ];
      const { code, message } = await postAlone(
        site,
        PUBLISH,
        frame(Buffer.concat([publishMessage(volume), ...unknown])),
      );
      demand(code === 'OK', `answered ${code}: ${message}`);
      volume.demandContent(volume.target);
      await volume.down();
      return code;
    }),
};

/** Bytes that are no HTTP/2, or too much of it. */
const streams: Readonly<Record<string, (site: Site) => Promise<void>>> = {
  'random bytes': (site) => throwAt(site, randomBytes(64 * 1024)),
  'HTTP/1.1': (site) => throwAt(site, Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')),
  'the preface, then random bytes': (site) => throwAt(site, Buffer.concat([preface, randomBytes(64 * 1024)])),
  'a frame of 16 MiB': (site) =>
    throwAt(site, Buffer.concat([preface, Buffer.from('ffffff000000000001', 'hex')])),
  '10,000 SETTINGS': (site) =>
    throwAt(site, Buffer.concat([preface, ...repeated('000000040000000000', 10_000)])),
  '10,000 PINGs': (site) =>
    throwAt(site, Buffer.concat([preface, ...repeated('0000080600000000000102030405060708', 10_000)])),
  'HEADERS without an end': (site) =>
    throwAt(
      site,
      Buffer.concat([
        preface,
        ...repeated('00000501000000000182848641ff', 1),
        ...repeated('0000050900000000010102030405', 5_000),
      ]),
    ),
  'streams opened and reset': resetStreams,
};

const preface = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  Buffer.from('000000040000000000', 'hex'),
]);

function repeated(hex: string, count: number): Buffer[] {
  return Array.from({ length: count }, () => Buffer.from(hex, 'hex'));
}

async function throwAt(site: Site, bytes: Buffer): Promise<void> {
  const socket = await openSocket(site.socket);
  const closed = once(socket, 'close');
  socket.resume();
  socket.write(bytes);
  await Promise.race([closed, site.server.settle()]);
  socket.destroy();
}

async function resetStreams(site: Site): Promise<void> {
  const session = await openSession(site.socket);
  for (let number = 0; number < times(5_000, 1_000) && !session.destroyed; number++) {
    const stream = session.request({
      ':method': 'POST',
      ':path': PUBLISH,
      'content-type': 'application/grpc',
    });
    stream.on('error', () => {});
    stream.close();
    if (number % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  session.destroy();
}

const streamCells: Cell[] = Object.entries(streams).map(([call, send]) => ({
  call,
  run: () =>
    onSite({}, async (site) => {
      await site.meanwhile(send(site));
      await send(site);
      await site.round();
      return 'others are served';
    }),
}));

const timeouts: readonly (Wrong & { readonly timeout: string | undefined })[] = [
  { call: 'none', timeout: undefined, codes: 'OK' },
  { call: 'already past', timeout: '0n', codes: 'DEADLINE_EXCEEDED|OK' },
  { call: 'past before it arrives', timeout: '1n', codes: 'DEADLINE_EXCEEDED|OK' },
  { call: 'for ever', timeout: '99999999H', codes: 'OK' },
  { call: 'no number', timeout: 'soon', codes: 'OUT_OF_RANGE|INTERNAL|INVALID_ARGUMENT|OK|none' },
  { call: 'negative', timeout: '-5S', codes: 'OUT_OF_RANGE|INTERNAL|INVALID_ARGUMENT|OK|none' },
].map((one) => ({
  ...one,
  send: (site: Site, volume: Volume) =>
    postAlone(
      site,
      PUBLISH,
      frame(publishMessage(volume)),
      one.timeout === undefined ? {} : { 'grpc-timeout': one.timeout },
    ),
}));

/** The call may have begun or not: the retry ends it. */
const timeoutCells: Cell[] = timeouts.map(({ call, send, codes }) => ({
  call,
  run: () =>
    onSite({}, async (site) => {
      const volume = site.volume();
      const { result } = await site.meanwhile(send(site, volume));
      const code = result.code ?? 'none';
      demand(codes.split('|').includes(code), `answered ${code} (${result.message}), not ${codes}`);
      await volume.up();
      demand(site.mountsAt(volume.target) === 1, 'it is mounted twice');
      await volume.down();
      return code === 'none' ? `refused (HTTP ${result.http ?? 'stream cut off'})` : code;
    }),
}));

export const faults: readonly Fault[] = [
  { group: 'client', name: 'wrong method', cells: refusedCells(wrongMethods) },
  { group: 'client', name: 'malformed message', cells: refusedCells(malformed) },
  { group: 'client', name: 'oversized message', cells: refusedCells(oversized) },
  { group: 'client', name: 'unknown fields', cells: [unknownFields] },
  { group: 'client', name: 'garbage on the socket', cells: streamCells },
  { group: 'client', name: 'deadline', cells: timeoutCells },
];
