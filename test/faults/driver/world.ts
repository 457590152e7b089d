/** The world of one cell: a plugin of its own, the driver that misbehaves, two disks, and what is left of it all. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { mountsBelow, processesWith } from '../../sanity/leftovers.ts';
import { volumeRecords } from '../../support/files.ts';
import { type Plugin, startPlugin } from '../../support/plugin.ts';
import { FaultyDriver } from './faulty-driver.ts';
import { until } from './outcome.ts';

/** The volume that the faults are for, and the one that must not notice. */
export type Role = 'victim' | 'other';
const roles: readonly Role[] = ['victim', 'other'];

export interface WorldOptions {
  /** Milliseconds. */
  readonly driverTimeout: number;
  readonly attachOn: 'controller' | 'node';
}

const CANARY = 'every byte of this has to stay\n';

let worlds = 0;

export class World {
  readonly nodeId: string;
  readonly driver: FaultyDriver;
  readonly #number = ++worlds;
  readonly #base = realpathSync(mkdtempSync(join(tmpdir(), 'flexcsi-fault-')));
  readonly #options: WorldOptions;
  #plugin: Plugin | undefined;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.nodeId = basename(this.#base);
    this.driver = new FaultyDriver(this.#base, this.volume('victim'));
    mkdirSync(join(this.#base, 'plugin'));
    for (const role of roles) this.#makeDisk(this.volume(role));
  }

  /** A directory of a larger file system, as a share has it. */
  #makeDisk(name: string): void {
    const disk = this.driver.path('disks', name);
    mkdirSync(disk);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', `flexcsi-fault-${name}`, disk]);
    mkdirSync(join(disk, 'data'));
    writeFileSync(join(disk, 'data/canary'), CANARY);
    writeFileSync(this.driver.path('volumes', name), '');
  }

  /** Starts flexcsi. */
  async start(): Promise<void> {
    this.#plugin = await startPlugin({
      driver: this.driver.file,
      directory: join(this.#base, 'plugin'),
      nodeId: this.nodeId,
      ...this.#options,
    });
  }

  get client() {
    if (this.#plugin === undefined) throw new Error('not started');
    return this.#plugin.client;
  }

  /** The id of a volume. No two cells have the same: flexcsi looks for uses of a volume in the whole mount table. */
  volume(role: Role): string {
    return `${role}-${process.pid}-${this.#number}`;
  }

  target(role: Role): string {
    return this.#place('pods/pod-1/volumes/kubernetes.io~csi', this.volume(role), 'mount');
  }

  staging(role: Role): string {
    return this.#place('plugins/kubernetes.io/csi', this.volume(role), 'globalmount');
  }

  /** A path of kubelet's; the directory above is made, as kubelet does. */
  #place(...names: readonly string[]): string {
    const path = join(this.#kubelet, ...names);
    mkdirSync(dirname(path), { recursive: true });
    return path;
  }

  get #kubelet(): string {
    return join(this.#base, 'plugin/kubelet');
  }

  /** The driver does not know the volume any more. */
  forgetVolume(role: Role): void {
    rmSync(this.driver.path('volumes', this.volume(role)));
  }

  isAttached(role: Role): boolean {
    return existsSync(this.driver.path('attached', this.volume(role)));
  }

  /** Mount points below kubelet's directory whose path names the volume. */
  mounts(role: Role): string[] {
    return mountsBelow(this.#kubelet).filter((path) => path.split('/').includes(this.volume(role)));
  }

  /** In the environment of every process that the driver starts. */
  get #mark(): string {
    return `NODE_NAME=${this.nodeId}`;
  }

  /** Ends what a fault left running on purpose, by the numbers that the driver has noted. */
  endLeftRunning(): void {
    const noted = new Set(this.driver.lines('left-running').map(Number));
    for (const { pid } of processesWith(this.#mark)) if (noted.has(pid)) killIfThere(pid);
    rmSync(this.driver.path('left-running'), { force: true });
  }

  /** What is wrong with the world, now that nothing is in use any more. Waits for processes that are just ending. */
  async leftovers(): Promise<string[]> {
    const processes = (): string[] =>
      processesWith(this.#mark).map(({ pid, command }) => `process ${pid} (${command})`);
    await until('no process', () => processes().length === 0).catch(() => {});
    const paths = roles.flatMap((role) => [this.target(role), this.staging(role)]);
    return [
      ...this.violations(),
      ...processes(),
      ...mountsBelow(this.#kubelet).map((path) => `a mount at ${path}`),
      ...paths.filter((path) => existsSync(path)).map((path) => `the directory ${path}`),
      ...readdirSync(this.driver.path('attached')).map((name) => `${name} is still attached`),
      ...volumeRecords(join(this.#base, 'plugin/state')).map((path) => `the record ${path}`),
    ];
  }

  /** What must never be, at any time. */
  violations(): string[] {
    const canary = (role: Role): string => this.driver.path('disks', this.volume(role), 'data/canary');
    const damaged = roles.filter(
      (role) => !existsSync(canary(role)) || readFileSync(canary(role), 'utf8') !== CANARY,
    );
    return [...this.driver.lines('violations'), ...damaged.map((role) => `the data of ${role} is damaged`)];
  }

  /** The records that flexcsi keeps. */
  /** Ends flexcsi and takes everything away, whatever state it is in. */
  async end(): Promise<void> {
    this.driver.heal();
    for (const { pid } of processesWith(this.#mark)) killIfThere(pid);
    await this.#plugin?.stop();
    for (const path of mountsBelow(this.#base)) spawnSync('umount', ['--lazy', path]);
    // What is in a volume is not ours to delete, in a test either.
    if (mountsBelow(this.#base).length > 0) throw new Error(`something stays mounted below ${this.#base}`);
    rmSync(this.#base, { recursive: true });
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}
