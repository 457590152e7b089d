/** One driver as a CSI plugin: its server, its records, its registration. */
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { CsiCapabilities, NodeCapabilities } from '../csi/capabilities.ts';
import { CsiServer } from '../csi/server.ts';
import { errorMessage } from '../errors.ts';
import type { DriverSource } from '../flex/driver.ts';
import { Registration } from '../kube/registration.ts';
import type { Logger } from '../log.ts';
import type { Host } from '../mount/host.ts';
import { bootId } from '../state/boot.ts';
import { VolumeLocks } from '../volume/lock.ts';
import type { VolumeLookup } from '../volume/parts.ts';
import { VolumeService } from '../volume/service.ts';
import type { DriverConfig } from './config.ts';
import { leastServed, PluginRecords } from './plugin-records.ts';
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
  /** See `CsiServerSettings`. */
  readonly lookEveryMs?: number | undefined;
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
const RECORD_AGAIN_MS = 30_000;

export class Plugin {
  readonly name: string;
  readonly #server: CsiServer;
  readonly #registration: Registration | undefined;
  readonly #records: PluginRecords;
  readonly #log: Logger;
  #stopped: Promise<void> | undefined;

  private constructor(
    name: string,
    server: CsiServer,
    registration: Registration | undefined,
    records: PluginRecords,
    log: Logger,
  ) {
    this.name = name;
    this.#server = server;
    this.#registration = registration;
    this.#records = records;
    this.#log = log;
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
    const records = new PluginRecords(stateDir, log);
    const volumes = new VolumeService({
      ...parts,
      records: records.volumes,
      shared: records.shared,
      provisioned: records.provisioned,
      attached: records.attached,
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
    const onCapabilities = (capabilities: CsiCapabilities): void => {
      const { controller, node, topology: where, maxVolumesPerNode: most } = capabilities;
      log.info({ controller, node }, "CSI capabilities, from the driver's answer to init");
      const last = { flexName, attachOn, node: [...node], topology: where, maxVolumesPerNode: most };
      void recordLastServed(records, name, last, log);
    };
    const lastKnown = await lastKnownOf(records, name, flexName, log);
    const { lookEveryMs } = settings;
    const server = await CsiServer.bind(
      { ...served, socket, nodeId, plugin, lastKnown, onCapabilities, lookEveryMs },
      volumes,
      log,
    );
    log.info({ driver: file }, 'asking the driver what it can do (init)');
    const told = server.capabilities().catch((error: unknown) => {
      // Served all the same: it may become ready, and what it has mounted before can be taken away.
      log.error(
        { problem: errorMessage(error) },
        'the driver is not ready; Probe fails until its init succeeds',
      );
    });
    // A driver whose init hangs must not keep the socket away: Probe waits for it, and says so.
    await Promise.race([told, setTimeout(INIT_WAIT_MS, undefined, { ref: false })]);
    await server.open();
    log.info({ name, driver: file, endpoint: `unix://${socket}`, mode }, 'listening');
    const registration = settings.registers
      ? new Registration({ directory: join(kubeletDir, 'plugins_registry'), name, endpoint: socket }, log)
      : undefined;
    await registration?.start();
    return new Plugin(name, server, registration, records, log);
  }

  /** Its name, and what kubelet says of it where kubelet is told. */
  status(): { readonly name: string; readonly registration?: string } {
    if (this.#registration === undefined) return { name: this.name };
    const { state, problem } = this.#registration.state;
    return { name: this.name, registration: problem === undefined ? state : `${state}: ${problem}` };
  }

  /** Stops it unless volumes of it are in use, or a call is running that may make it so. Answers whether it has. */
  async stopIfUnused(): Promise<boolean> {
    if ((await this.#records.isInUse()) || this.#server.isBusy) return false;
    await this.stop();
    return true;
  }

  /** Takes no new calls, lets running drivers finish (25 s at most), removes the sockets. Never rejects. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    // The drain first: from this very moment there are no new calls.
    const ends = await Promise.allSettled([this.#server.drain(), this.#registration?.stop()]);
    for (const end of ends) {
      if (end.status === 'fulfilled') continue;
      this.#log.warn({ problem: errorMessage(end.reason) }, 'not stopped as it should be');
    }
  }
}

/** What stands in for a driver whose `init` fails; nothing where it was never served and has no volumes. */
async function lastKnownOf(
  records: PluginRecords,
  name: string,
  flexName: string,
  log: Logger,
): Promise<NodeCapabilities | undefined> {
  const known = await records.lastServed.read(name).catch((error: unknown) => {
    log.warn({ problem: errorMessage(error) }, 'not known what the driver could do before');
    return undefined;
  });
  return known ?? ((await records.isInUse()) ? leastServed(flexName) : undefined);
}

/** Tried again for as long as it fails, on a full disk for instance: after a restart it may be needed. */
async function recordLastServed(
  records: PluginRecords,
  name: string,
  last: Parameters<PluginRecords['lastServed']['write']>[1],
  log: Logger,
): Promise<void> {
  for (let isTold = false; ; isTold = true) {
    try {
      await records.lastServed.write(name, last);
      return;
    } catch (error) {
      if (!isTold) log.warn({ problem: errorMessage(error) }, 'not recorded what the driver can do');
      await setTimeout(RECORD_AGAIN_MS, undefined, { ref: false });
    }
  }
}
