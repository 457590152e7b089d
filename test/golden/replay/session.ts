/** One scenario being replayed: its driver, flexcsi serving it, and what earlier steps have left. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Failure } from '../../../src/errors.ts';
import type { Driver, DriverSource } from '../../../src/flex/driver.ts';
import { csiName, flexNameOf } from '../../../src/flex/names.ts';
import { SingleDriver } from '../../../src/flex/registry.ts';
import { silentLogger } from '../../../src/log.ts';
import { createHost } from '../../../src/mount/host.ts';
import { bootId } from '../../../src/state/boot.ts';
import { RecordStore } from '../../../src/state/records.ts';
import { VolumeLocks } from '../../../src/volume/lock.ts';
import type { KnownVolume } from '../../../src/volume/parts.ts';
import {
  attachedSchema,
  provisionRecordSchema,
  sharedDeviceSchema,
  volumeRecordSchema,
} from '../../../src/volume/records.ts';
import { VolumeService } from '../../../src/volume/service.ts';
import { type Plugin, startPlugin } from '../../support/plugin.ts';
import { type DriverCall, ScriptedDriver } from '../../support/scripted-driver.ts';
import { scripted } from './answers.ts';
import { belowCsi } from './below-csi.ts';
import type { Calls } from './calls.ts';
import { createDevices, type Devices } from './devices.ts';
import { overCsi } from './over-csi.ts';
import type { RecordedRun } from './recorded-run.ts';
import { recordedRun } from './recorded-run.ts';
import type { GoldenRecord, Scenario } from './records.ts';
import { type Setting, settingOf } from './setting.ts';
import { cleanWorld, kubeletDir, pluginDir } from './world.ts';

export class Session {
  readonly setting: Setting;
  readonly driver: ScriptedDriver;
  readonly devices: Devices;
  readonly run: RecordedRun;
  readonly csi: Calls;
  readonly below: Calls;
  /** What Kubernetes knows of volumes and a request does not say. */
  readonly known = new Map<string, KnownVolume>();
  /** Volumes that a step has staged. */
  readonly staged = new Set<string>();
  /** All records of the scenario. */
  readonly records: readonly GoldenRecord[];
  /** What was recorded before the present step. */
  readonly earlier: GoldenRecord[] = [];
  readonly plugin: Plugin;
  /** The driver's calls while flexcsi started. */
  readonly startCalls: readonly DriverCall[];
  readonly #directory: string;
  readonly #flexDriver: SingleDriver;
  readonly #paths = new Map<string, string>();
  readonly #stepPaths = new Map<string, string>();

  private constructor(parts: {
    records: readonly GoldenRecord[];
    setting: Setting;
    driver: ScriptedDriver;
    devices: Devices;
    run: RecordedRun;
    known: Map<string, KnownVolume>;
    plugin: Plugin;
    directory: string;
  }) {
    this.records = parts.records;
    this.setting = parts.setting;
    this.driver = parts.driver;
    this.devices = parts.devices;
    this.run = parts.run;
    this.known = parts.known;
    this.plugin = parts.plugin;
    this.#directory = parts.directory;
    this.startCalls = this.driver.calls();
    this.csi = overCsi(this.plugin.client);
    const { file } = this.driver;
    const { run } = this.run;
    const log = silentLogger();
    const { timeoutMs } = this.setting;
    this.#flexDriver = new SingleDriver({ file, name: flexNameOf(file), run, log, timeoutMs });
    this.below = belowCsi(this.#volumes(this.#flexDriver));
  }

  static async start(scenario: Scenario): Promise<Session> {
    const setting = settingOf(scenario);
    const name = setting.driverName;
    const driver = ScriptedDriver.installAt(join(pluginDir, name.replaceAll('/', '~'), basename(name)));
    const devices = createDevices();
    for (const path of setting.foreignDevices) devices.hide(path);
    const run = recordedRun((file) => file === driver.file, devices.isSafe);
    const known = new Map<string, KnownVolume>();
    const directory = mkdtempSync(join(tmpdir(), 'flexcsi-golden-'));
    driver.script('init', scripted(setting.init, setting.scale));
    const plugin = await startPlugin(
      {
        driver: driver.file,
        directory,
        kubeletDir,
        nodeId: setting.node,
        driverTimeout: setting.timeoutMs,
        maxParallel: 32,
        ...(setting.groupPolicy === undefined ? {} : { fsGroupChangePolicy: setting.groupPolicy }),
        ...csiNameOf(name),
      },
      { run: run.run, lookup: { find: async (volumeId) => known.get(volumeId) } },
    );
    const { records } = scenario;
    return new Session({ records, setting, driver, devices, run, known, plugin, directory });
  }

  /** Takes all of it down, also when a part fails: a loop device or a mount must not stay behind. */
  async close(): Promise<void> {
    try {
      await this.run.idle();
      await this.plugin.stop();
    } finally {
      this.#flexDriver.release();
      this.driver.remove();
      rmSync(this.#directory, { recursive: true, force: true });
      try {
        cleanWorld();
      } finally {
        this.devices.release();
      }
    }
  }

  /** The driver itself, for verbs that no CSI call runs. */
  flexDriver(): Promise<Driver> {
    return this.#flexDriver.current();
  }

  /** From now on a path of kubelet's stands for the one that CSI has in its place. */
  substitute(path: string, csiPath: string): void {
    this.#paths.set(path, csiPath);
  }

  /** The same until the end of the step. */
  substituteInStep(path: string, csiPath: string): void {
    this.#stepPaths.set(path, csiPath);
  }

  endStep(record: GoldenRecord): void {
    this.#stepPaths.clear();
    this.earlier.push(record);
  }

  /** A path, or a text that is nothing but one, under CSI. */
  translate = (text: string): string => this.#stepPaths.get(text) ?? this.#paths.get(text) ?? text;

  /** The directory that `expandvolume` is told: kubelet's for the device of a CSI volume. */
  globalMount(volumeId: string): string {
    const hash = createHash('sha256').update(volumeId).digest('hex');
    return join(kubeletDir, 'plugins/kubernetes.io/csi', this.plugin.name, hash, 'globalmount');
  }

  /** Kubelet's directory for the device of a FlexVolume; the replay stages volumes there. */
  stagingPath(volumeName: string): string {
    return join(
      kubeletDir,
      'plugins/kubernetes.io/flexvolume',
      this.setting.driverName,
      'mounts',
      volumeName,
    );
  }

  /** Kubelet's directory of a pod for a FlexVolume. */
  podPath(podUid: string, volumeName: string): string {
    const entry = this.setting.driverName.replaceAll('/', '~');
    return join(kubeletDir, 'pods', podUid, 'volumes', entry, volumeName);
  }

  /** Whether a process of the driver's last execution is alive, the driver itself or a child of it. */
  driverProcesses(): number[] {
    const groups = new Set(this.driver.calls().map(({ processGroup }) => processGroup));
    return processes().flatMap(({ pid, group, state }) =>
      groups.has(group) && state !== 'Z' && state !== 'X' ? [pid] : [],
    );
  }

  #volumes(driver: DriverSource): VolumeService {
    const log = silentLogger();
    const state = join(this.#directory, 'below');
    return new VolumeService({
      driver,
      host: createHost(this.run.run),
      records: new RecordStore(join(state, 'volumes'), volumeRecordSchema, log),
      shared: new RecordStore(join(state, 'ephemeral'), sharedDeviceSchema, log),
      provisioned: new RecordStore(join(state, 'provisioned'), provisionRecordSchema, log),
      attached: new RecordStore(join(state, 'attached'), attachedSchema, log),
      nodeTurns: new VolumeLocks('node'),
      attaching: new Set(),
      leftovers: new Set(),
      lookup: { find: async (volumeId) => this.known.get(volumeId) },
      settings: {
        csiName: this.plugin.name,
        nodeId: this.setting.node,
        kubeletDir,
        attachOn: 'controller',
        fsGroupKey: 'current',
        fsGroupChangePolicy: this.setting.groupPolicy ?? 'Always',
      },
      log,
      boot: bootId(),
    });
  }
}

/** A name of our own for a driver whose name CSI does not allow. */
function csiNameOf(driverName: string): { name?: string } {
  try {
    csiName(driverName);
    return {};
  } catch (error) {
    if (error instanceof Failure) return { name: 'golden.test' };
    throw error;
  }
}

function processes(): { pid: number; group: number; state: string }[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const [, state = '', , group] =
        /\) (\S) (\d+) (\d+)/.exec(readFileSync(`/proc/${name}/stat`, 'utf8')) ?? [];
      return [{ pid: Number(name), group: Number(group), state }];
    } catch {
      // It has ended meanwhile.
      return [];
    }
  });
}
