/** `/healthz`: whether this process lives, and how its drivers are. A broken driver is no reason to restart it. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { errorCode, errorMessage, Failure } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Serving } from './serving.ts';

export class Health {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /**
   * Answers `GET /healthz` with 200 and the drivers as JSON for as long as the process serves.
   *
   * @param endpoint `HOST:PORT`, or `:PORT` for all addresses.
   * @throws {Failure} naming the option when nothing can be bound there.
   */
  static async listen(endpoint: string, serving: Pick<Serving, 'drivers'>, log: Logger): Promise<Health> {
    const { host, port } = parseAddress(endpoint);
    const server = createServer((request, response) => {
      const isHealth = request.method === 'GET' && request.url === '/healthz';
      response.writeHead(isHealth ? 200 : 404, { 'content-type': 'application/json' });
      response.end(isHealth ? `${JSON.stringify({ drivers: serving.drivers() })}\n` : '{}\n');
    });
    try {
      server.listen({ port, ...(host === '' ? {} : { host }) });
      await once(server, 'listening');
    } catch (error) {
      const hint =
        errorCode(error) === 'EADDRINUSE'
          ? '; another process has the port, another flexcsi on this node perhaps: name another one (healthPort of the chart)'
          : '';
      throw new Failure('precondition', `--http-endpoint ${endpoint}: ${errorMessage(error)}${hint}`, {
        cause: error,
      });
    }
    server.unref();
    log.info({ endpoint }, 'health on /healthz');
    return new Health(server);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

/** @throws {Failure} when it is no address. */
function parseAddress(endpoint: string): { host: string; port: number } {
  const [, host = '', port = ''] = /^(\[[0-9a-fA-F:.]+\]|[^:[\]]*):(\d{1,5})$/.exec(endpoint) ?? [];
  if (port === '' || Number(port) > 65_535) {
    throw new Failure(
      'invalid-request',
      `--http-endpoint must be <host>:<port> or :<port>, not ${JSON.stringify(endpoint)}`,
    );
  }
  return { host: host.replace(/^\[|\]$/g, ''), port: Number(port) };
}
