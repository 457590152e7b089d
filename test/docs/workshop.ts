/** One version of the driver of docs/write-a-driver.md, served for a test, with a storage of its own. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach } from 'vitest';
import { createRun, type Run } from '../../src/process.ts';
import type { CsiClient } from '../support/csi-client.ts';
import { type Plugin, startPlugin } from '../support/plugin.ts';
import { mountCapability, mountsBelow } from '../support/scenario.ts';
import { readPage, versionsOf } from './page.ts';

const versions = versionsOf(readPage());

export class Workshop {
  readonly directory = mkdtempSync(join(tmpdir(), 'flexcsi-workshop-'));
  /** What is /srv/volumes on the page: a tmpfs of 16 MiB. */
  readonly store = join(this.directory, 'volumes');
  readonly driver = join(this.directory, 'example.com~folder/folder');
  readonly #verbs: string[] = [];
  #plugin: Plugin | undefined;

  /** @param step of the page, from 1. */
  constructor(step: number) {
    mkdirSync(this.store);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', this.store]);
    for (const room of ['.drafts', '.trash', '.snapshots']) mkdirSync(join(this.store, room));
    mkdirSync(dirname(this.driver));
    const text = (versions[step - 1] ?? '').replaceAll('/srv/volumes', this.store);
    writeFileSync(this.driver, text, { mode: 0o755 });
  }

  async start(): Promise<void> {
    const run = createRun();
    const recording: Run = (command) => {
      if (command.file === this.driver) this.#verbs.push(command.args[0] ?? '');
      return run(command);
    };
    this.#plugin = await startPlugin({ driver: this.driver, kubeletDir: this.directory }, { run: recording });
    this.#verbs.length = 0;
  }

  /** As after the loss of `--state-dir`. */
  async startAnew(): Promise<void> {
    await this.#plugin?.remove();
    await this.start();
  }

  get client(): CsiClient {
    if (this.#plugin === undefined) throw new Error('not started');
    return this.#plugin.client;
  }

  /** The driver's verbs since this was last asked. */
  verbs(): string[] {
    return this.#verbs.splice(0);
  }

  path(...parts: readonly string[]): string {
    return join(this.store, ...parts);
  }

  read(...parts: readonly string[]): string {
    return readFileSync(this.path(...parts), 'utf8');
  }

  write(volume: string, file: string, text: string): void {
    writeFileSync(this.path(volume, 'data', file), text);
  }

  /** A volume that somebody has made by hand. */
  makeByHand(volume: string): void {
    mkdirSync(this.path(volume, 'data'), { recursive: true });
  }

  names(...parts: readonly string[]): string[] {
    return readdirSync(this.path(...parts)).sort();
  }

  create(name: string, request: Parameters<CsiClient['controller']>[1] = {}) {
    const wanted = { name, volume_capabilities: [mountCapability], ...request };
    return this.client.controller('CreateVolume', wanted);
  }

  delete(volume_id: string) {
    return this.client.controller('DeleteVolume', { volume_id });
  }

  snapshot(name: string, source_volume_id: string) {
    return this.client.controller('CreateSnapshot', { name, source_volume_id });
  }

  get target(): string {
    return join(this.directory, 'pod');
  }

  publish(volume_id: string, request: { readonly readonly?: boolean; readonly mount_flags?: string[] } = {}) {
    const { readonly = false, mount_flags = [] } = request;
    return this.client.node('NodePublishVolume', {
      volume_id,
      target_path: this.target,
      readonly,
      volume_capability: { mount: { mount_flags }, access_mode: { mode: 'SINGLE_NODE_WRITER' } },
    });
  }

  unpublish(volume_id: string) {
    return this.client.node('NodeUnpublishVolume', { volume_id, target_path: this.target });
  }

  /** The mount options of the target, as the kernel shows them; undefined: nothing is mounted there. */
  targetFlags(): string[] | undefined {
    const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    const found = lines.map((line) => line.split(' ')).find((fields) => fields[4] === this.target);
    return found?.[5]?.split(',');
  }

  /** Runs the script as kubelet does: arguments, nothing on standard input. */
  call(...args: readonly string[]) {
    const { status, stdout, stderr } = spawnSync(this.driver, args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return { status, output: stdout + stderr };
  }

  async end(): Promise<void> {
    for (const path of mountsBelow(this.directory)) {
      if (path !== this.store) execFileSync('umount', [path]);
    }
    await this.#plugin?.remove();
    execFileSync('umount', [this.store]);
    rmSync(this.directory, { recursive: true });
  }
}

/** Serves a version of the script: `await open(3)`. What was opened is ended after each test. */
export function useWorkshops(): (step: number) => Promise<Workshop> {
  const opened: Workshop[] = [];
  afterEach(async () => {
    for (const workshop of opened.splice(0)) await workshop.end();
  });
  return async (step) => {
    const workshop = new Workshop(step);
    opened.push(workshop);
    await workshop.start();
    return workshop;
  };
}
