/** The gRPC server of one plugin on its unix socket: from bind to drain. */
import { isDeepStrictEqual } from 'node:util';
import type { Server } from '@grpc/grpc-js';
import { UnixServer, within } from '../grpc/unix-server.ts';
import type { Logger } from '../log.ts';
import type { VolumeService } from '../volume/service.ts';
import {
  type CsiCapabilities,
  csiCapabilities,
  type Mode,
  type NodeCapabilities,
  type Served,
} from './capabilities.ts';
import { controllerHandlers } from './controller.ts';
import { Gate } from './handler.ts';
import { identityHandlers, type PluginDescription } from './identity.ts';
import { nodeHandlers } from './node.ts';
import { csi } from './proto.ts';

export interface CsiServerSettings extends Served {
  /** Path of the socket. */
  readonly socket: string;
  readonly nodeId: string;
  readonly plugin: PluginDescription;
  /** What the node said before flexcsi was started again: it stands in for a driver whose `init` fails since. */
  readonly lastKnown?: NodeCapabilities | undefined;
  /** Called when the capabilities are known first, and when they have changed. */
  readonly onCapabilities: (capabilities: CsiCapabilities) => void;
}

/** How long running calls may go on after the drain has begun. Below Kubernetes' default grace period of 30 s. */
const DRAIN_MS = 25_000;

export class CsiServer {
  readonly #settings: CsiServerSettings;
  readonly #volumes: VolumeService;
  readonly #log: Logger;
  readonly #gate = new Gate();
  #server: UnixServer | undefined;
  #told: CsiCapabilities | undefined;

  private constructor(settings: CsiServerSettings, volumes: VolumeService, log: Logger) {
    this.#settings = settings;
    this.#volumes = volumes;
    this.#log = log;
  }

  /**
   * Binds the socket beside its place, for its owner only. No client can see it before `open`.
   *
   * @throws {Failure} `precondition` when the path is taken or cannot be used.
   */
  static async bind(settings: CsiServerSettings, volumes: VolumeService, log: Logger): Promise<CsiServer> {
    const server = new CsiServer(settings, volumes, log);
    const addServices = (to: Server): void => server.#addServices(to);
    server.#server = await UnixServer.bind(settings.socket, '--endpoint', addServices, log);
    return server;
  }

  /** Puts the socket in its place: from now on clients are served. */
  async open(): Promise<void> {
    await this.#server?.open();
  }

  /** The capabilities that the driver has now. Fails while its `init` does. */
  async capabilities(): Promise<CsiCapabilities> {
    const capabilities = csiCapabilities(await this.#volumes.capabilities(), this.#settings);
    if (!isDeepStrictEqual(capabilities, this.#told)) {
      this.#told = capabilities;
      this.#settings.onCapabilities(capabilities);
    }
    return capabilities;
  }

  /** Kubelet asks for them also before it takes away what a driver has mounted that is broken by now. */
  async #nodeCapabilities(): Promise<NodeCapabilities> {
    try {
      return await this.capabilities();
    } catch (error) {
      const { lastKnown } = this.#settings;
      if (lastKnown === undefined) throw error;
      return lastKnown;
    }
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
    await this.#server?.close();
    this.#log.info('stopped');
  }

  #addServices(server: Server): void {
    const parts = { gate: this.#gate, log: this.#log };
    const capabilities = (): Promise<CsiCapabilities> => this.capabilities();
    const { mode, plugin, nodeId } = this.#settings;
    server.addService(csi.Identity.service, identityHandlers(parts, plugin, capabilities));
    if (serves(mode, 'controller')) {
      server.addService(csi.Controller.service, controllerHandlers(parts, this.#volumes, capabilities));
    }
    if (serves(mode, 'node')) {
      server.addService(
        csi.Node.service,
        nodeHandlers(parts, nodeId, this.#volumes, () => this.#nodeCapabilities()),
      );
    }
  }
}

function serves(mode: Mode, service: 'controller' | 'node'): boolean {
  return mode === 'all' || mode === service;
}
