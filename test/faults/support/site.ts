/**
 * Where a cell of the matrix happens: flexcsi as a process of its own with a driver, the volumes of the cell, and
 * others beside them that must not notice anything. At the end all of it is looked at: what is left, what is lost.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
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
import { setTimeout } from 'node:timers/promises';
import { type MountEntry, parseMountInfo } from '../../../src/mount/mount-table.ts';
import { loopDevicesBelow, processesWith } from '../../sanity/leftovers.ts';
import { CsiClient } from '../../support/csi-client.ts';
import { volumeRecords } from '../../support/files.ts';
import { demand } from './answers.ts';
import { Server } from './server.ts';
import { NODE, Volume, type VolumeSettings } from './volume.ts';

/** In the environment of every process of a site, with its directory. */
const MARK = 'FLEXCSI_FAULTS_SITE';

export interface SiteOptions {
  /** Whether the driver attaches and stages; it only mounts when left out. */
  readonly attaches?: boolean;
  /** The bundled loop driver, with real devices, in place of the shelf. */
  readonly loop?: boolean;
  /** Whether other volumes come and go while a call runs (`all`, the default), or are only asked about. */
  readonly others?: 'all' | 'stats';
  /** More options of `serve`. */
  readonly args?: readonly string[];
  /** Options of a tmpfs on the state directory, to fill it or make it read-only. */
  readonly stateOn?: string;
  /** The same on kubelet's directory. */
  readonly kubeletOn?: string;
  /** Verbs that the driver does not support. */
  readonly without?: readonly string[];
}

/** Makes a site, does the work on it, looks at what it leaves behind, and removes it. */
export async function onSite(options: SiteOptions, work: (site: Site) => Promise<string>): Promise<string> {
  const site = new Site(options);
  try {
    await site.start();
    const outcome = await work(site);
    await site.demandClean();
    return outcome;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new Error(`${message}\n  log: ${site.logTail().replaceAll('\n', '\n       ')}`, { cause: error });
  } finally {
    await site.remove();
  }
}

export class Site {
  readonly directory = realpathSync(mkdtempSync(join(tmpdir(), 'flexcsi-faults-')));
  readonly kubelet = join(this.directory, 'kubelet');
  readonly state = join(this.directory, 'state');
  readonly socket = join(this.directory, 'csi.sock');
  /** Where the loop driver has its images. */
  readonly images = join(this.directory, 'images');
  /** Where its driver finds what to do, and writes down what it did. */
  readonly shelf = join(this.directory, 'shelf');
  client: CsiClient = new CsiClient(this.socket);
  readonly #options: SiteOptions;
  readonly #volumes: Volume[] = [];
  /** Mounts of the site itself. */
  readonly #own: string[] = [];
  #server: Server | undefined;
  #resident: Volume | undefined;
  #count = 0;

  constructor(options: SiteOptions) {
    this.#options = options;
    mkdirSync(this.images);
    for (const path of ['volumes', 'off', 'hold', 'attached', 'provisioned']) {
      mkdirSync(join(this.shelf, path), { recursive: true });
    }
    const { attaches = false, without = [] } = options;
    const capabilities = { attach: attaches, provision: true, requiresFSResize: true };
    writeFileSync(join(this.shelf, 'init'), JSON.stringify({ status: 'Success', capabilities }));
    // A driver that attaches leaves the pods' mounts to kubelet, as most do.
    const off = attaches ? ['mount', 'unmount', ...without] : without;
    for (const verb of off) writeFileSync(join(this.shelf, 'off', verb), '');
    this.#tmpfs(this.state, options.stateOn);
    this.#tmpfs(this.kubelet, options.kubeletOn);
  }

  get server(): Server {
    demand(this.#server !== undefined, 'flexcsi was not started');
    return this.#server;
  }

  /** Starts flexcsi, with a volume that stays published until the end. */
  async start(): Promise<void> {
    this.#server = await this.serve();
    this.#resident = this.volume(this.#id('resident'));
    await this.#resident.up();
  }

  /** One more process that serves this site, on its socket. */
  serve(): Promise<Server> {
    const { args = [] } = this.#options;
    return Server.start({
      args: [
        ...['--driver', this.#installDriver(), '--node-id', NODE],
        ...['--state-dir', this.state, '--kubelet-dir', this.kubelet, ...args],
      ],
      socket: this.socket,
      env: { ...process.env, [MARK]: this.directory, FLEXCSI_LOOP_DIR: this.images },
      log: join(this.directory, 'log'),
    });
  }

  /** Ends flexcsi and starts it again. */
  async restart(): Promise<void> {
    await this.server.end();
    await this.serveAgain();
  }

  /** Starts flexcsi again, after it has ended. */
  async serveAgain(): Promise<void> {
    this.#server = await this.serve();
  }

  /** A new volume, whose bytes are looked at in the end. */
  volume(id = this.#id(`volume-${this.#next()}`)): Volume {
    const volume = new Volume(id, this.#settings);
    this.#volumes.push(volume);
    return volume;
  }

  /** A volume that only CreateVolume makes: there is nothing in it. */
  emptyVolume(): Volume {
    const volume = new Volume(`empty-${this.#next()}`, this.#settings);
    rmSync(volume.content, { recursive: true });
    return volume;
  }

  /** New volumes that are published. */
  async published(count = 1): Promise<Volume[]> {
    const volumes = Array.from({ length: count }, () => this.volume());
    await Promise.all(volumes.map((volume) => volume.up()));
    return volumes;
  }

  /** Lets a driver's verb wait until the returned function is called. */
  hold(verb: string): () => void {
    const file = join(this.shelf, 'hold', verb);
    writeFileSync(file, '');
    return () => rmSync(file);
  }

  /** The driver's calls of a verb for a volume or path. */
  calls(verb: string, about: string): number {
    const lines = existsSync(join(this.shelf, 'calls'))
      ? readFileSync(join(this.shelf, 'calls'), 'utf8').split('\n')
      : [];
    return lines.filter((line) => line === `${verb} ${about}`).length;
  }

  /** Waits until the driver has been called so often. */
  async untilCalled(verb: string, about: string, times = 1): Promise<void> {
    await until(`${verb} ${about} called ${times} times`, () => this.calls(verb, about) >= times);
  }

  /**
   * Serves others while a call runs, once at least: a volume comes, is asked about and goes, again and again.
   * Resolves with the result of the call, and counts the rounds that began and ended meanwhile.
   */
  async meanwhile<Result>(call: Promise<Result>, atLeast = 1): Promise<{ result: Result; rounds: number }> {
    let settled = false;
    const watched = call.finally(() => {
      settled = true;
    });
    watched.catch(() => {});
    let rounds = 0;
    for (let round = 1; !settled || round <= atLeast; round++) {
      await this.round();
      if (!settled) rounds += 1;
      // A call may take minutes: there is no need to keep both processors busy for as long.
      if (round > atLeast) await setTimeout(200);
    }
    return { result: await watched, rounds };
  }

  /** Serves others once: they come, are asked about, and go. @throws {Error} when they notice anything. */
  async round(): Promise<void> {
    const resident = this.#resident;
    demand(resident !== undefined, 'the site was not started');
    await resident.stats();
    resident.demandContent(resident.target);
    if (this.#options.others === 'stats') return;
    const other = new Volume(this.#id(`other-${this.#next()}`), this.#settings);
    await other.up();
    await other.stats();
    await other.down();
    other.demandGone();
    other.demandIntact();
    other.discard();
  }

  /**
   * Ends flexcsi and looks at what it leaves behind. What the cell has published has to be down.
   *
   * @throws {Error} naming what is left or lost.
   */
  async demandClean(): Promise<void> {
    const resident = this.#resident;
    demand(resident !== undefined, 'the site was not started');
    resident.demandContent(resident.target);
    await resident.stats();
    await resident.down();
    for (const volume of this.#volumes) {
      volume.demandIntact();
      volume.demandGone();
    }
    this.client.close();
    await this.server.end();
    const left = this.mounts().filter(({ mountPoint }) => !this.#own.includes(mountPoint));
    demandNone(
      'mounted',
      left.map(({ mountPoint }) => mountPoint),
    );
    demandNone('a record', volumeRecords(this.state));
    demandNone('attached', readdirSync(join(this.shelf, 'attached')));
    demandNone(
      'a loop device',
      loopDevicesBelow(this.directory).map(({ device }) => device),
    );
    const processes = processesWith(`${MARK}=${this.directory}`);
    demandNone(
      'a process',
      processes.map(({ pid, command }) => `${pid} ${command}`),
    );
    const violations = join(this.shelf, 'violations');
    demand(!existsSync(violations), `the driver was asked to take away what is in use`);
  }

  /** What is mounted below the site's directory, in the order of the mount table. */
  mounts(): MountEntry[] {
    return mountsBelow(this.directory);
  }

  /** The mounts at exactly this path. */
  mountsAt(path: string): number {
    return this.mounts().filter(({ mountPoint }) => mountPoint === path).length;
  }

  logTail(): string {
    return this.#server?.logTail() ?? '(not started)';
  }

  /** Ends and unmounts what is left, and removes the directory if nothing is mounted in it any more. */
  async remove(): Promise<void> {
    this.client.close();
    await this.#server?.kill();
    for (const { pid } of processesWith(`${MARK}=${this.directory}`)) killIfThere(pid);
    for (const { mountPoint } of this.mounts().reverse()) {
      spawnSync('umount', ['-c', '--lazy', '--', mountPoint], { stdio: 'ignore' });
    }
    for (const { device } of loopDevicesBelow(this.directory)) spawnSync('losetup', ['--detach', device]);
    if (this.mounts().length === 0) rmSync(this.directory, { recursive: true });
  }

  /** Volumes of the loop driver have names that no other site has: it keeps them in one place for the whole node. */
  #id(name: string): string {
    return this.#options.loop ? `${basename(this.directory)}-${name}` : name;
  }

  #next(): number {
    this.#count += 1;
    return this.#count;
  }

  /** What volumes of this site have in common. */
  get #settings(): VolumeSettings {
    const { attaches = false, loop = false } = this.#options;
    const { kubelet, shelf } = this;
    return { client: () => this.client, kubelet, shelf, attaches: attaches || loop, onDevice: loop };
  }

  #tmpfs(path: string, options: string | undefined): void {
    mkdirSync(path, { mode: 0o700 });
    if (options === undefined) return;
    execFileSync('mount', ['-t', 'tmpfs', '-o', `mode=0700,${options}`, 'flexcsi-faults', path]);
    this.#own.push(path);
  }

  #installDriver(): string {
    if (this.#options.loop) return join(import.meta.dirname, '../../../drivers/flexcsi~loop/loop');
    const file = join(this.directory, 'drivers/example.com~shelf/shelf');
    if (existsSync(file)) return file;
    mkdirSync(dirname(file), { recursive: true });
    const template = readFileSync(join(import.meta.dirname, 'shelf'), 'utf8');
    writeFileSync(file, template.replace("'ROOT'", `'${this.shelf}'`));
    chmodSync(file, 0o755);
    return file;
  }
}

export function mountsBelow(directory: string): MountEntry[] {
  const entries = parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8'));
  return entries.filter(({ mountPoint }) => mountPoint.startsWith(`${directory}/`));
}

/** Waits, as long as it takes on a busy machine. @throws {Error} when it never comes. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  for (const start = Date.now(); !holds(); await setTimeout(20)) {
    demand(Date.now() - start < 180_000, `waited in vain for: ${what}`);
  }
}

function demandNone(what: string, left: readonly string[]): void {
  demand(left.length === 0, `${what} is left behind: ${left.slice(0, 5).join(', ')}`);
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}
