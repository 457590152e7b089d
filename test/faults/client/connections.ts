/** Connections that do nothing, or do not read what they asked for. */
import type { ClientHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import type { Cell, Fault } from '../fault.ts';
import { demand } from '../support/answers.ts';
import { times } from '../support/scale.ts';
import { onSite, type Site, until } from '../support/site.ts';
import { frame, openSession, openSocket, post } from './http2.ts';
import { onTheWire } from './rpcs.ts';

const COUNT = times(500, 100);
/** Descriptors that come and go by themselves: FIFOs for programs, the usual client's connection. */
const SLACK = 40;

async function openMany<Connection>(open: () => Promise<Connection>): Promise<Connection[]> {
  const connections: Connection[] = [];
  for (let number = 0; number < COUNT; number++) connections.push(await open());
  return connections;
}

async function demandReleased(site: Site, before: number): Promise<void> {
  await until('the end of the connections', () => site.server.descriptors() <= before + SLACK);
}

/** Others are served while the connections are there, and nothing is kept of them. */
function idle(call: string, open: (site: Site) => Promise<Socket | ClientHttp2Session>): Cell {
  return {
    call,
    run: () =>
      onSite({}, async (site) => {
        const before = site.server.descriptors();
        const connections = await openMany(() => open(site));
        const [volume] = await site.published();
        await site.round();
        for (const connection of connections) connection.destroy();
        await demandReleased(site, before);
        await volume?.down();
        return `others are served beside ${COUNT}`;
      }),
  };
}

/** They do not keep flexcsi from ending. */
function untilTheEnd(call: string, open: (site: Site) => Promise<Socket | ClientHttp2Session>): Cell {
  return {
    call,
    run: async () => {
      const connections: (Socket | ClientHttp2Session)[] = [];
      try {
        return await onSite({}, async (site) => {
          connections.push(...(await openMany(() => open(site))));
          await site.round();
          return `flexcsi ends beside ${COUNT}`;
        });
      } finally {
        for (const connection of connections) connection.destroy();
      }
    },
  };
}

const halfOpen = async (site: Site): Promise<Socket> => {
  const socket = await openSocket(site.socket);
  socket.end();
  return socket;
};
const halfAPreface = async (site: Site): Promise<Socket> => {
  const socket = await openSocket(site.socket);
  socket.write('PRI * HTT');
  return socket;
};

/** A request that never ends: its message is announced and does not come. */
async function openRequest(site: Site): Promise<ClientHttp2Session> {
  const session = await openSession(site.socket);
  const stream = session.request({
    ':method': 'POST',
    ':path': '/csi.v1.Node/NodePublishVolume',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.on('error', () => {});
  stream.write(Buffer.from('0000000fff', 'hex'));
  return session;
}

/** Asks much and takes no byte of the answers. */
const readsNothing: Cell = {
  call: 'answers are not read',
  run: () =>
    onSite({}, async (site) => {
      const before = site.server.descriptors();
      const session = await openSession(site.socket, { initialWindowSize: 0 });
      const { path, message } = onTheWire('Node', 'NodeGetCapabilities', {});
      const unread = Array.from({ length: COUNT }, () => post(session, path, frame(message)).catch(() => {}));
      const [volume] = await site.published();
      const { rounds } = await site.meanwhile(site.server.settle(), 3);
      demand(rounds >= 0, 'nobody was served');
      session.destroy();
      await Promise.all(unread);
      await demandReleased(site, before);
      await volume?.down();
      return `others are served beside ${COUNT} unread answers`;
    }),
};

/** Has much to be answered, and does not read the socket, so that not even the kernel takes more. */
const pausedSocket: Cell = {
  call: 'the socket is not read',
  run: () =>
    onSite({}, async (site) => {
      const before = site.server.descriptors();
      const socket = await openSocket(site.socket);
      socket.pause();
      const settings = Buffer.from('000000040000000000', 'hex');
      const ping = Buffer.from('0000080600000000000102030405060708', 'hex');
      const pings = Array.from({ length: 100_000 }, () => ping);
      socket.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), settings, ...pings]));
      await site.meanwhile(site.server.settle(), 3);
      socket.destroy();
      await demandReleased(site, before);
      return 'others are served beside it';
    }),
};

export const faults: readonly Fault[] = [
  {
    group: 'client',
    name: 'idle connections',
    cells: [
      idle('sockets', (site) => openSocket(site.socket)),
      idle('HTTP/2 sessions', (site) => openSession(site.socket)),
      idle('half a preface', halfAPreface),
      idle('half closed', halfOpen),
      idle('requests without an end', openRequest),
      untilTheEnd('sockets, until the end', (site) => openSocket(site.socket)),
      untilTheEnd('HTTP/2 sessions, until the end', (site) => openSession(site.socket)),
      untilTheEnd('requests without an end, until the end', openRequest),
    ],
  },
  { group: 'client', name: 'slow client', cells: [readsNothing, pausedSocket] },
];
