/** One driver as a CSI plugin: its server, its records, its registration. */
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { CsiServer } from '../csi/server.ts';
import { errorMessage } from '../errors.ts';
import type { DriverSource } from '../flex/driver.ts';
import { Registration } from '../kube/registration.ts';
import type { Logger } from '../log.ts';
import type { Host } from '../mount/host.ts';
import { bootId } from '../state/boot.ts';
import { RecordStore } from '../state/records.ts';
import { VolumeLocks } from '../volume/lock.ts';
import type { VolumeLookup } from '../volume/parts.ts';
import {
  attachedSchema,
  provisionRecordSchema,
  sharedDeviceSchema,
  volumeRecordSchema,
} from '../volume/records.ts';
import { VolumeService } from '../volume/service.ts';
import type { DriverConfig } from './config.ts';
import type { ServeOptions } from './settings.ts';
import { version } from './version.ts';

export interface PluginSettings {
  /** The CSI name. */
  readonly name: string;
  readonly flexName: string;
  /** The driver's executable, for people who look. */
  readonly file: string;
  /** Path of the socket. */
  readonly socket: string;
  /** Of this driver alone; it is there and can be written. */
  readonly stateDir: string;
  /** An absolute path. */
  readonly kubeletDir: string;
  readonly registers: boolean;
  readonly config: DriverConfig;
  readonly options: Pick<
    ServeOptions,
    'nodeId' | 'mode' | 'attachOn' | 'fsGroupKey' | 'fsGroupChangePolicy' | 'maxVolumesPerNode' | 'topology'
  >;
}

export interface PluginParts {
  readonly driver: DriverSource;
  readonly host: Host;
  readonly lookup: VolumeLookup;
  readonly log: Logger;
}

/** How long the socket waits for the driver's `init`, so that its first clients find it ready. */
const INIT_WAIT_MS = 5_000;

export class Plugin {
  readonly name: string;
  readonly #server: CsiServer;
  readonly #registration: Registration | undefined;
  readonly #records: { all(): Promise<readonly unknown[]> }[];

  private constructor(
    name: string,
    server: CsiServer,
    registration: Registration | undefined,
    records: { all(): Promise<readonly unknown[]> }[],
  ) {
    this.name = name;
    this.#server = server;
    this.#registration = registration;
    this.#records = records;
  }

  /**
   * Serves the driver on its socket, and tells kubelet of it.
   *
   * @throws {Failure} naming the option that cannot be used.
   */
  static async start(settings: PluginSettings, parts: PluginParts): Promise<Plugin> {
    const { name, flexName, file, socket, stateDir, kubeletDir, config, options } = settings;
    const { log } = parts;
    const { nodeId, mode, topology, maxVolumesPerNode, fsGroupChangePolicy } = options;
    const attachOn = config.attachOn ?? options.attachOn;
    const limit = maxVolumesPerNode === undefined ? {} : { maxVolumesPerNode };
    const records = {
      records: new RecordStore(join(stateDir, 'volumes'), volumeRecordSchema, log),
      shared: new RecordStore(join(stateDir, 'ephemeral'), sharedDeviceSchema, log),
      provisioned: new RecordStore(join(stateDir, 'provisioned'), provisionRecordSchema, log),
      attached: new RecordStore(join(stateDir, 'attached'), attachedSchema, log),
    };
    const volumes = new VolumeService({
      ...parts,
      ...records,
      nodeTurns: new VolumeLocks('node'),
      attaching: new Set(),
      leftovers: new Set(),
      settings: {
        csiName: name,
        nodeId,
        kubeletDir,
        attachOn,
        fsGroupKey: config.fsGroupKey ?? options.fsGroupKey,
        fsGroupChangePolicy,
        ...limit,
      },
      boot: bootId(),
    });
    const plugin = { name, version, manifest: { 'flexvolume-driver': flexName } };
    const served = { mode, attachOn, ...limit, ...(topology === undefined ? {} : { topology }) };
    const server = await CsiServer.bind({ ...served, socket, nodeId, plugin }, volumes, log);
    log.info({ driver: file }, 'asking the driver what it can do (init)');
    const told = tellCapabilities(server, parts.driver, log);
    // A driver whose init hangs must not keep the socket away: Probe waits for it, and says so.
    await Promise.race([told, setTimeout(INIT_WAIT_MS, undefined, { ref: false })]);
    await server.open();
    log.info({ name, driver: file, endpoint: `unix://${socket}`, mode }, 'listening');
    const registration = settings.registers
      ? new Registration({ directory: join(kubeletDir, 'plugins_registry'), name, endpoint: socket }, log)
      : undefined;
    await registration?.start();
    return new Plugin(name, server, registration, [records.records, records.shared]);
  }

  /** Its name, and what kubelet says of it where kubelet is told. */
  status(): { readonly name: string; readonly registration?: string } {
    if (this.#registration === undefined) return { name: this.name };
    const { state, problem } = this.#registration.state;
    return { name: this.name, registration: problem === undefined ? state : `${state}: ${problem}` };
  }

  /** Whether volumes of it are on record as in use on this node, or what is on record cannot be read. */
  async isInUse(): Promise<boolean> {
    try {
      const found = await Promise.all(this.#records.map((store) => store.all()));
      return found.some((all) => all.length > 0);
    } catch {
      return true;
    }
  }

  /** Takes no new calls, lets running drivers finish (25 s at most), removes the sockets. */
  async stop(): Promise<void> {
    await this.#registration?.stop();
    await this.#server.drain();
  }
}

/** A driver whose init fails is served all the same: it may become ready, and Probe says what is wrong. */
async function tellCapabilities(server: CsiServer, driver: DriverSource, log: Logger): Promise<void> {
  try {
    const { controller, node } = await server.capabilities();
    const init = (await driver.current()).capabilities;
    log.info({ init, controller, node }, "CSI capabilities, from the driver's answer to init");
  } catch (error) {
    log.error(
      { problem: errorMessage(error) },
      'the driver is not ready; Probe fails until its init succeeds',
    );
  }
}
