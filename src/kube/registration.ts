/**
 * Makes a CSI driver known to kubelet: a socket in the directory that kubelet watches. Kubelet asks it what is
 * served and where, looks at the driver itself (NodeGetInfo), and says what came of it.
 */
import { dirname, join } from 'node:path';
import { loadPackageDefinition, type Server } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { errorMessage } from '../errors.ts';
import { messageOptions } from '../grpc/messages.ts';
import { socketPath } from '../grpc/socket.ts';
import { UnixServer } from '../grpc/unix-server.ts';
import type { Logger } from '../log.ts';
import type { RegistrationHandlers } from './generated/pluginregistration/Registration.ts';
import type { ProtoGrpcType } from './generated/pluginregistration.ts';

export interface RegistrationSettings {
  /** The directory that kubelet watches: `plugins_registry` in its root directory. */
  readonly directory: string;
  /** The CSI name. */
  readonly name: string;
  /** Path of the socket on which the driver is served, as kubelet sees it. */
  readonly endpoint: string;
  /** Milliseconds between two looks at the socket; 2 s when left out. */
  readonly lookEveryMs?: number;
}

/** What is known of a registration. */
export interface RegistrationState {
  /** `waiting`: kubelet has said nothing yet. */
  readonly state: 'waiting' | 'registered' | 'refused';
  /** Kubelet's own words, or what keeps the socket away. */
  readonly problem?: string;
}

const LOOK_EVERY_MS = 2_000;
/** After kubelet has refused the driver: kubelet itself waits longer each time it finds one that does not answer. */
const RETRY_MS = [1_000, 2_000, 5_000, 10_000, 30_000] as const;
/** Kubelet looks at a new socket within moments. */
const LONG_MS = 60_000;

export class Registration {
  readonly #settings: RegistrationSettings;
  readonly #log: Logger;
  readonly #path: string;
  #server: UnixServer | undefined;
  #state: RegistrationState = { state: 'waiting' };
  #refusals = 0;
  /** When the socket may be made, or is made anew. */
  #due = 0;
  #openedAt = 0;
  #isSilent = false;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #isStopped = false;

  constructor(settings: RegistrationSettings, log: Logger) {
    this.#settings = settings;
    this.#log = log;
    this.#path = registrationSocket(settings.directory, settings.name);
  }

  /** Begins, and goes on until `stop`: a socket that is missing is made again. Never throws. */
  async start(): Promise<void> {
    await this.#look();
    this.#timer = setInterval(() => {
      this.#running = this.#running.then(() => this.#look());
    }, this.#settings.lookEveryMs ?? LOOK_EVERY_MS);
    this.#timer.unref();
  }

  get state(): RegistrationState {
    return this.#state;
  }

  /** Removes the socket: kubelet then forgets the driver. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearInterval(this.#timer);
    await this.#running;
    await this.#close();
  }

  /** Never rejects. */
  async #look(): Promise<void> {
    if (this.#isStopped) return;
    try {
      await this.#ensureSocket();
      this.#tellSilence();
    } catch (error) {
      await this.#close();
      const problem = errorMessage(error);
      // Once: it is tried every few seconds.
      if (this.#state.problem !== problem)
        this.#log.error({ problem }, 'kubelet cannot be told of the driver');
      this.#state = { state: 'waiting', problem };
    }
  }

  async #ensureSocket(): Promise<void> {
    if (this.#server !== undefined && !(await this.#server.isInPlace())) {
      this.#log.warn({ socket: this.#path }, 'the registration socket is gone: made again');
      await this.#close();
      this.#state = { state: 'waiting' };
    }
    // Kubelet does not come back to a socket whose driver it has refused, only to a new one.
    if (this.#state.state === 'refused' && Date.now() >= this.#due) await this.#close();
    if (this.#server !== undefined || Date.now() < this.#due) return;
    this.#server = await UnixServer.bind(this.#path, 'registration', (server) => this.#addService(server));
    await this.#server.open();
    this.#openedAt = Date.now();
    if (this.#state.problem !== undefined && this.#state.state === 'waiting')
      this.#state = { state: 'waiting' };
  }

  #tellSilence(): void {
    const isSilent = this.#state.state === 'waiting' && Date.now() > this.#openedAt + LONG_MS;
    if (isSilent && !this.#isSilent) {
      this.#log.warn(
        { socket: this.#path },
        `kubelet has not asked for the driver: is its root directory ${dirname(this.#settings.directory)} (--kubelet-dir)?`,
      );
    }
    this.#isSilent = isSilent;
  }

  async #close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    await server?.close().catch((error: unknown) => {
      this.#log.warn({ problem: errorMessage(error) }, 'the registration socket could not be removed');
    });
  }

  #addService(server: Server): void {
    const { name, endpoint } = this.#settings;
    const handlers = {
      GetInfo: (_call, callback) =>
        callback(null, { type: 'CSIPlugin', name, endpoint, supported_versions: ['1.0.0'] }),
      NotifyRegistrationStatus: (call, callback) => {
        this.#heard(call.request.plugin_registered, call.request.error);
        callback(null, {});
      },
    } satisfies RegistrationHandlers;
    server.addService(registration.Registration.service, handlers);
  }

  #heard(isRegistered: boolean, problem: string): void {
    if (isRegistered) {
      this.#refusals = 0;
      this.#state = { state: 'registered' };
      this.#log.info({ endpoint: this.#settings.endpoint }, 'registered with kubelet');
      return;
    }
    const wait = RETRY_MS[Math.min(this.#refusals, RETRY_MS.length - 1)] ?? 0;
    this.#refusals += 1;
    this.#due = Date.now() + wait;
    this.#state = { state: 'refused', problem };
    this.#log.error({ problem, againInMs: wait }, 'kubelet refuses to register the driver');
  }
}

/** Where the registration socket of a driver is: `<name>-reg.sock`, by a hash where that would be too long. */
export function registrationSocket(directory: string, name: string): string {
  return socketPath(join(directory, '{name}-reg.sock'), name);
}

const file = join(import.meta.dirname, '..', '..', 'proto', 'pluginregistration.proto');
const registration = (loadPackageDefinition(loadSync(file, messageOptions)) as unknown as ProtoGrpcType)
  .pluginregistration;
