/** A plugin with the scripted driver, for tests of the CSI services: set up before each test, gone after it. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach } from 'vitest';
import { type Plugin, type PluginOptions, startPlugin } from './plugin.ts';
import { answer, ScriptedDriver } from './scripted-driver.ts';

export const success = answer('Success');
/** What most drivers' `mount` and `unmount` do, on a tmpfs. */
export const mountsTmpfs = { shell: 'mount -t tmpfs tmpfs "$2"', prints: success };
export const unmounts = { shell: 'umount "$2"', prints: success };
/** `init` of a driver without attach. */
export const attachFalse = answer('Success', { capabilities: { attach: false } });

export const writer = { mode: 'SINGLE_NODE_WRITER' as const };
export const mountCapability = { mount: { fs_type: 'ext4' }, access_mode: writer };

export class Scenario {
  readonly driver: ScriptedDriver;
  readonly directory = mkdtempSync(join(tmpdir(), 'flexcsi-scenario-'));
  plugin: Plugin;

  private constructor(driver: ScriptedDriver, plugin: Plugin) {
    this.driver = driver;
    this.plugin = plugin;
  }

  static async start(
    script: Readonly<Record<string, Parameters<ScriptedDriver['script']>[1]>>,
    options: Partial<PluginOptions> = {},
  ): Promise<Scenario> {
    const driver = ScriptedDriver.install(mkdtempSync(join(tmpdir(), 'flexcsi-drivers-')));
    for (const [verb, what] of Object.entries(script)) driver.script(verb, what);
    const plugin = await startPlugin({ driver: driver.file, ...options });
    driver.forget();
    return new Scenario(driver, plugin);
  }

  get client() {
    return this.plugin.client;
  }

  /** Kubelet's target path of a pod; its parent made, as kubelet does. */
  target(pod = 'pod-1', volume = 'pv-1'): string {
    const path = join(
      this.plugin.directory,
      'kubelet/pods',
      pod,
      'volumes/kubernetes.io~csi',
      volume,
      'mount',
    );
    mkdirSync(dirname(path), { recursive: true });
    return path;
  }

  /** Kubelet's staging path, made as kubelet does. */
  staging(volume = 'pv-1'): string {
    const path = join(this.plugin.directory, 'kubelet/plugins/kubernetes.io/csi', volume, 'globalmount');
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** Stops the plugin and starts it again on the same state. */
  async restart(options: Partial<PluginOptions> = {}): Promise<void> {
    const { directory } = this.plugin;
    await this.plugin.stop();
    this.plugin = await startPlugin({ driver: this.driver.file, directory, ...options });
    this.driver.forget();
  }

  async end(): Promise<void> {
    for (const mountPoint of mountsBelow(this.plugin.directory)) execFileSync('umount', [mountPoint]);
    await this.plugin.remove();
    this.driver.remove();
    rmSync(dirname(dirname(this.driver.file)), { recursive: true });
    rmSync(this.directory, { recursive: true });
  }
}

/** Ends the scenarios of a test file after each test, whether it passed or not. */
export function useScenarios(): (...args: Parameters<typeof Scenario.start>) => Promise<Scenario> {
  const started: Scenario[] = [];
  beforeEach(() => {
    started.length = 0;
  });
  afterEach(async () => {
    for (const scenario of started) await scenario.end();
  });
  return async (...args) => {
    const scenario = await Scenario.start(...args);
    started.push(scenario);
    return scenario;
  };
}

/** Mount points below a directory, innermost first. */
export function mountsBelow(directory: string): string[] {
  return mountPoints()
    .filter((path) => path.startsWith(`${directory}/`))
    .reverse();
}

export function isMounted(path: string): boolean {
  return mountPoints().includes(path);
}

function mountPoints(): string[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return lines.filter(Boolean).map((line) => line.split(' ')[4] as string);
}

/** The code and message with which a call fails: `FAILED_PRECONDITION: …`. */
export async function failureOf(call: Promise<unknown>): Promise<string> {
  try {
    return `no failure: ${JSON.stringify(await call)}`;
  } catch (error) {
    const { code, details } = error as { code: status; details: string };
    return `${status[code]}: ${details}`;
  }
}

/** The options object that a driver call was given. */
export function optionsOf(args: readonly string[] | undefined): Record<string, string> {
  return JSON.parse(args?.find((arg) => arg.startsWith('{')) ?? '{}') as Record<string, string>;
}
