/** The gRPC server of one plugin on its unix socket: from bind to drain. */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Server } from '@grpc/grpc-js';
import { errorCode, errorMessage } from '../errors.ts';
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
  /** Milliseconds between two looks at the socket; 5 s when left out. */
  readonly lookEveryMs?: number | undefined;
}

/** How long running calls may go on after the drain has begun. Below Kubernetes' default grace period of 30 s. */
const DRAIN_MS = 25_000;
/** How long a node waits for the first `init` of a driver that was served before. */
const INIT_PATIENCE_MS = 5_000;
/** Between two looks at the socket. */
const LOOK_EVERY_MS = 5_000;

export class CsiServer {
  readonly #settings: CsiServerSettings;
  readonly #volumes: VolumeService;
  readonly #log: Logger;
  readonly #gate = new Gate();
  /** The one whose socket is in place, and those before it whose sockets somebody has removed. */
  readonly #servers: UnixServer[] = [];
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();
  #socketProblem: string | undefined;
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
    server.#servers.push(await server.#bind());
    return server;
  }

  /** Puts the socket in its place: from now on clients are served. One that somebody removes is made again. */
  async open(): Promise<void> {
    await this.#servers[0]?.open();
    this.#timer = setInterval(() => {
      this.#looking = this.#looking.then(() => this.#ensureSocket());
    }, this.#settings.lookEveryMs ?? LOOK_EVERY_MS);
    this.#timer.unref();
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
    const { lastKnown } = this.#settings;
    if (lastKnown === undefined || this.#told !== undefined) return await this.capabilities();
    const late = setTimeout(INIT_PATIENCE_MS, lastKnown, { ref: false });
    return await Promise.race([this.capabilities().catch(() => lastKnown), late]);
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
    clearInterval(this.#timer);
    await this.#looking;
    await Promise.all(this.#servers.map((server) => this.#close(server)));
    this.#log.info('stopped');
  }

  /** Whether a call is running, or a driver for one that its client has given up. */
  get isBusy(): boolean {
    return this.#gate.isBusy || this.#volumes.isBusy;
  }

  async #bind(): Promise<UnixServer> {
    const addServices = (to: Server): void => this.#addServices(to);
    return await UnixServer.bind(this.#settings.socket, '--endpoint', addServices);
  }

  /** Never rejects. */
  async #ensureSocket(): Promise<void> {
    try {
      if (await this.#servers[0]?.isInPlace()) return;
      await mkdir(dirname(this.#settings.socket), 0o750).catch(unlessThere);
      const anew = await this.#bind();
      // Those who are connected to the old one stay so.
      this.#servers.unshift(anew);
      await anew.open();
      this.#log.warn({ endpoint: this.#settings.socket }, 'the socket was gone: made again');
      this.#socketProblem = undefined;
    } catch (error) {
      const problem = errorMessage(error);
      if (problem !== this.#socketProblem)
        this.#log.error({ problem }, 'the socket is gone, and cannot be made again');
      this.#socketProblem = problem;
    }
  }

  /** A socket that cannot be removed, its directory being gone for instance, keeps nobody from stopping. */
  async #close(server: UnixServer): Promise<void> {
    await server.close().catch((error: unknown) => {
      this.#log.warn({ problem: errorMessage(error) }, 'socket not removed');
    });
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

function unlessThere(error: unknown): void {
  if (errorCode(error) !== 'EEXIST') throw error;
}

function serves(mode: Mode, service: 'controller' | 'node'): boolean {
  return mode === 'all' || mode === service;
}
