/** The gRPC server of one plugin on its unix socket: from bind to drain. */
import { Server, ServerCredentials, setLogger } from '@grpc/grpc-js';
import { errorMessage, Failure } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { VolumeService } from '../volume/service.ts';
import { type CsiCapabilities, csiCapabilities, type Mode, type Served } from './capabilities.ts';
import { controllerHandlers } from './controller.ts';
import { type BindPlace, makeBindPlace, requireFree } from './endpoint.ts';
import { Gate } from './handler.ts';
import { identityHandlers, type PluginDescription } from './identity.ts';
import { nodeHandlers } from './node.ts';
import { csi } from './proto.ts';

export interface CsiServerSettings extends Served {
  /** Path of the socket. */
  readonly socket: string;
  readonly nodeId: string;
  readonly plugin: PluginDescription;
}

/** How long running calls may go on after the drain has begun. Below Kubernetes' default grace period of 30 s. */
const DRAIN_MS = 25_000;
/** How long clients get to read the last answers and close their connections. */
const CLOSE_MS = 1_000;

export class CsiServer {
  readonly #settings: CsiServerSettings;
  readonly #volumes: VolumeService;
  readonly #log: Logger;
  readonly #gate = new Gate();
  readonly #server = new Server();
  readonly #place: BindPlace;
  #removeSocket: () => Promise<void> = async () => {};

  private constructor(settings: CsiServerSettings, place: BindPlace, volumes: VolumeService, log: Logger) {
    this.#settings = settings;
    this.#place = place;
    this.#volumes = volumes;
    this.#log = log;
  }

  /**
   * Binds the socket beside its place, for its owner only. No client can see it before `open`.
   *
   * @throws {Failure} `precondition` when the path is taken or cannot be used.
   */
  static async bind(settings: CsiServerSettings, volumes: VolumeService, log: Logger): Promise<CsiServer> {
    await requireFree(settings.socket);
    const server = new CsiServer(settings, await makeBindPlace(settings.socket), volumes, log);
    server.#addServices();
    await server.#bind();
    return server;
  }

  /** Puts the socket in its place: from now on clients are served. */
  async open(): Promise<void> {
    this.#removeSocket = await this.#place.putInPlace();
  }

  /** The capabilities that the driver has now. Fails while its `init` does. */
  async capabilities(): Promise<CsiCapabilities> {
    return csiCapabilities(await this.#volumes.capabilities(), this.#settings);
  }

  /** Takes no new calls, lets running drivers finish (25 s at most), removes the socket. */
  async drain(): Promise<void> {
    this.#log.info({ atMostMs: DRAIN_MS }, 'stopping: no new calls; waiting for those that run');
    const left = this.#gate.close();
    const finished = await within(
      DRAIN_MS,
      left.then(() => this.#volumes.idle()),
    );
    if (!finished)
      this.#log.warn('drivers are still running: they go on without flexcsi; their calls will be repeated');
    const closed = new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
    // A connection that never spoke HTTP/2 would keep tryShutdown waiting for ever.
    if (!(await within(CLOSE_MS, closed))) this.#server.forceShutdown();
    this.#place.close();
    await this.#removeSocket();
    this.#log.info('stopped');
  }

  #addServices(): void {
    const parts = { gate: this.#gate, log: this.#log };
    const capabilities = (): Promise<CsiCapabilities> => this.capabilities();
    const { mode, plugin, nodeId } = this.#settings;
    this.#server.addService(csi.Identity.service, identityHandlers(parts, plugin, capabilities));
    if (serves(mode, 'controller')) {
      this.#server.addService(csi.Controller.service, controllerHandlers(parts, this.#volumes, capabilities));
    }
    if (serves(mode, 'node')) {
      this.#server.addService(csi.Node.service, nodeHandlers(parts, nodeId, this.#volumes, capabilities));
    }
  }

  async #bind(): Promise<void> {
    setLogger(grpcLogger(this.#log));
    try {
      await new Promise<void>((resolve, reject) => {
        this.#server.bindAsync(`unix:${this.#place.name}`, ServerCredentials.createInsecure(), (error) =>
          error === null ? resolve() : reject(error),
        );
      });
    } catch (error) {
      this.#place.close();
      throw new Failure(
        'precondition',
        `--endpoint: no socket can be made at ${this.#settings.socket}: ${errorMessage(error)}`,
        { cause: error },
      );
    }
  }
}

function serves(mode: Mode, service: 'controller' | 'node'): boolean {
  return mode === 'all' || mode === service;
}

async function within(limitMs: number, work: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), limitMs);
  });
  const done = await Promise.race([work.then(() => true), limit]);
  clearTimeout(timer);
  return done;
}

/** grpc-js otherwise prints on standard error, past the log's format. */
function grpcLogger(log: Logger): Partial<Console> {
  const write =
    (level: 'debug' | 'warn') =>
    (...texts: unknown[]): void =>
      log[level]({ grpc: texts.map(String).join(' ') }, 'gRPC');
  return { error: write('warn'), info: write('debug'), debug: write('debug') };
}
