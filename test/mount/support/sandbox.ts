import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, vi } from 'vitest';
import { createHost, type Host } from '../../../src/mount/host.ts';
import { parseMountInfo } from '../../../src/mount/mount-table.ts';
import { createRun } from '../../../src/process.ts';

export const host = createHost(createRun());

/** The same host with a shorter time limit for what would get the default one. */
export function impatient(timeoutMs: number): Host {
  return { mounts: host.mounts, run: (file, args, limit) => host.run(file, args, { timeoutMs, ...limit }) };
}

/** The same host, noting the commands of the programs whose name matches. */
export function noting(programs: RegExp): { host: Host; commands: string[][] } {
  const commands: string[][] = [];
  return {
    commands,
    host: {
      mounts: host.mounts,
      run: (file, args, limit) => {
        if (programs.test(file)) commands.push([file, ...args]);
        return host.run(file, args, limit);
      },
    },
  };
}

/** Each test's own directory. What it mounts there, attaches and starts is gone after the test. */
export class Sandbox {
  readonly path = mkdtempSync(join(tmpdir(), 'flexcsi-mount-'));
  readonly #devices: string[] = [];
  readonly #processes: ChildProcess[] = [];

  /** A new directory. */
  directory(name: string): string {
    const path = join(this.path, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** A new directory with a tmpfs on it. */
  tmpfs(name: string, ...args: string[]): string {
    const path = this.directory(name);
    run('mount', '-t', 'tmpfs', ...args, 'flexcsi-test', path);
    return path;
  }

  /** A loop device of that many MiB, all zero. */
  device(mib: number): string {
    const image = join(this.path, `image-${this.#devices.length}`);
    closeSync(openSync(image, 'w'));
    truncateSync(image, mib * 1024 * 1024);
    const device = run('losetup', '--find', '--show', image);
    this.#devices.push(device);
    return device;
  }

  /** Makes a device that many MiB large. */
  resize(device: string, mib: number): void {
    truncateSync(join(this.path, `image-${this.#devices.indexOf(device)}`), mib * 1024 * 1024);
    run('losetup', '--set-capacity', device);
  }

  /** A process that runs until the end of the test. */
  process(file: string, args: string[], cwd = '/'): ChildProcess {
    const child = spawn(file, args, { cwd, stdio: ['ignore', 'pipe', 'ignore'] });
    this.#processes.push(child);
    return child;
  }

  /** Mounts a FUSE file system whose server answers nothing. Killing the returned process makes it dead. */
  async hungFuse(name: string): Promise<{ path: string; server: ChildProcess }> {
    const path = this.directory(name);
    const server = this.process(process.execPath, [join(import.meta.dirname, 'fuse-server.ts'), path]);
    const failed = once(server, 'exit').then(() => {
      throw new Error('the FUSE server ended before it was ready');
    });
    if (server.stdout) await Promise.race([once(server.stdout, 'data'), failed]);
    failed.catch(() => {});
    return { path, server };
  }

  /** A FUSE mount without a server: ENOTCONN. */
  async deadFuse(name: string): Promise<string> {
    const { path, server } = await this.hungFuse(name);
    server.kill('SIGKILL');
    await once(server, 'exit');
    return path;
  }

  async end(): Promise<void> {
    for (const child of this.#processes) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    }
    for (const { mountPoint } of parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8')).reverse()) {
      if (!mountPoint.startsWith(`${this.path}/`)) continue;
      // What was stuck on a hung mount lets go a moment after its server has ended.
      await vi.waitFor(() => run('umount', '-c', mountPoint), { timeout: 10_000, interval: 100 });
    }
    for (const device of this.#devices) run('losetup', '--detach', device);
    rmSync(this.path, { recursive: true });
  }
}

/** A sandbox for each test of the file or `describe` in which this is called. */
export function useSandbox(): () => Sandbox {
  let sandbox: Sandbox;
  beforeEach(() => {
    sandbox = new Sandbox();
  });
  afterEach(async () => {
    await sandbox.end();
  });
  return () => sandbox;
}

/** Runs a program that must succeed; what it prints, without the last line break. */
export function run(file: string, ...args: string[]): string {
  const env = { ...process.env, LC_ALL: 'C' };
  return execFileSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], env }).trim();
}
