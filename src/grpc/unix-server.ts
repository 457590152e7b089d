/** A gRPC server on a unix socket of its own: bound aside, put in its place, closed within a time. */
import { Server, ServerCredentials, setLogger } from '@grpc/grpc-js';
import { errorMessage, Failure } from '../errors.ts';
import type { Logger } from '../log.ts';
import { type BindPlace, makeBindPlace, type PlacedSocket, requireFree } from './socket.ts';

/** How long clients get to read the last answers and close their connections. */
const CLOSE_MS = 1_000;

export class UnixServer {
  readonly #place: BindPlace;
  readonly #server: Server;
  #placed: PlacedSocket | undefined;

  private constructor(place: BindPlace, server: Server) {
    this.#place = place;
    this.#server = server;
  }

  /**
   * Binds a socket beside its place, for its owner only. No client can see it before `open`.
   *
   * @param option the setting that names the path, for messages.
   * @throws {Failure} `precondition` when the path is taken or cannot be used.
   */
  static async bind(
    path: string,
    option: string,
    addServices: (server: Server) => void,
  ): Promise<UnixServer> {
    await requireFree(path, option);
    const place = await makeBindPlace(path, option);
    const server = new Server();
    addServices(server);
    try {
      await new Promise<void>((resolve, reject) => {
        server.bindAsync(`unix:${place.name}`, ServerCredentials.createInsecure(), (error) =>
          error === null ? resolve() : reject(error),
        );
      });
    } catch (error) {
      place.close();
      throw new Failure(
        'precondition',
        `${option}: no socket can be made at ${path}: ${errorMessage(error)}`,
        {
          cause: error,
        },
      );
    }
    return new UnixServer(place, server);
  }

  /** Puts the socket in its place: from now on clients are served. */
  async open(): Promise<void> {
    this.#placed = await this.#place.putInPlace();
  }

  /** Whether the socket is where it was put. Somebody may have removed it, or put another there. */
  async isInPlace(): Promise<boolean> {
    return (await this.#placed?.isThere()) ?? false;
  }

  /** Ends all connections, after 1 s if need be, and removes the socket if it is still this one. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
    // A connection that never spoke HTTP/2 would keep tryShutdown waiting for ever.
    if (!(await within(CLOSE_MS, closed))) this.#server.forceShutdown();
    this.#place.close();
    await this.#placed?.remove();
  }
}

/** Whether the work ends within this time. */
export async function within(limitMs: number, work: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), limitMs);
  });
  const done = await Promise.race([work.then(() => true), limit]);
  clearTimeout(timer);
  return done;
}

/** Of the whole process: grpc-js otherwise prints on standard error, past the log's format. */
export function logGrpcTo(log: Logger): void {
  const write =
    (level: 'debug' | 'warn') =>
    (...texts: unknown[]): void =>
      log[level]({ grpc: texts.map(String).join(' ') }, 'gRPC');
  setLogger({ error: write('warn'), info: write('debug'), debug: write('debug') });
}
