/** A client that says what it likes: HTTP/2 without gRPC's manners, and plain sockets. */
import { type ClientHttp2Session, connect, constants, type OutgoingHttpHeaders } from 'node:http2';
import { connect as connectSocket, type Socket } from 'node:net';
import { status } from '@grpc/grpc-js';

/** After this time without an answer the server is taken to hang. */
const PATIENCE_MS = 180_000;

export interface Reply {
  /** HTTP's. */
  readonly http: number | undefined;
  /** gRPC's name of the code; undefined when there was none (`reset`, another protocol). */
  readonly code: string | undefined;
  readonly message: string;
}

/** A session on a plugin's socket. */
export async function openSession(
  socket: string,
  settings: { initialWindowSize?: number } = {},
): Promise<ClientHttp2Session> {
  const session = connect('http://localhost', { createConnection: () => connectSocket(socket), settings });
  session.on('error', () => {});
  await new Promise<void>((resolve, reject) => {
    session.once('connect', () => resolve());
    session.once('error', reject);
  });
  return session;
}

/** A plain connection, of which errors are no news. */
export async function openSocket(path: string): Promise<Socket> {
  const socket = connectSocket(path);
  socket.on('error', () => {});
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', () => resolve());
    socket.once('error', reject);
  });
  return socket;
}

/** gRPC's frame around a message. */
export function frame(message: Buffer, { flag = 0, length = message.length } = {}): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flag, 0);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, message]);
}

/** Sends a body, and waits for the end of the answer. @throws {Error} when none comes. */
export function post(
  session: ClientHttp2Session,
  path: string,
  body: Buffer,
  headers: OutgoingHttpHeaders = {},
): Promise<Reply> {
  const stream = session.request({
    [constants.HTTP2_HEADER_METHOD]: 'POST',
    [constants.HTTP2_HEADER_PATH]: path,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  return new Promise((resolve, reject) => {
    let http: number | undefined;
    let code: string | undefined;
    let message = '';
    const read = (fields: Record<string, unknown>): void => {
      const number = fields['grpc-status'];
      if (number !== undefined) code = status[Number(number)] ?? String(number);
      if (typeof fields['grpc-message'] === 'string') message = decodeURIComponent(fields['grpc-message']);
    };
    const patience = setTimeout(() => {
      stream.close();
      reject(new Error(`no answer to ${path}`));
    }, PATIENCE_MS);
    stream.on('response', (fields) => {
      http = fields[':status'];
      read(fields);
    });
    stream.on('trailers', read);
    stream.on('error', () => {});
    stream.on('close', () => {
      clearTimeout(patience);
      resolve({ http, code, message });
    });
    stream.resume();
    stream.end(body);
  });
}
