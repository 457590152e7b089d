/** flexcsi as a test runs it: `serve()` in this process, on a socket and with records in a temporary directory. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ServeParts, serve } from '../../src/cli/serve.ts';
import type { Serving } from '../../src/cli/serving.ts';
import type { ServeOptions } from '../../src/cli/settings.ts';
import { silentLogger } from '../../src/log.ts';
import { noLookup } from '../../src/volume/parts.ts';
import { CsiClient } from './csi-client.ts';

export interface Plugin {
  readonly client: CsiClient;
  readonly socket: string;
  /** Holds the socket, the records (`state`) and, unless given otherwise, `kubelet`. */
  readonly directory: string;
  readonly serving: Serving;
  /** The CSI name. */
  readonly name: string;
  /** Lets running drivers finish. The directory stays, for a plugin that is started again with it. */
  stop(): Promise<void>;
  /** `stop`, and removes the directory. What is mounted in it has to be gone. */
  remove(): Promise<void>;
}

export interface PluginOptions extends Partial<ServeOptions> {
  /** The driver's file. */
  readonly driver: string;
  /** The directory of an earlier plugin, to start it again; a new one when left out. */
  readonly directory?: string;
}

/** Options of `serve` that most tests do not care about. */
export const usualOptions = {
  nodeId: 'node-1',
  mode: 'all',
  attachOn: 'controller',
  driverTimeout: 60_000,
  maxParallel: 32,
  hostPid: 1,
  fsGroupKey: 'current',
  fsGroupChangePolicy: 'Always',
  logLevel: 'silent',
  logFormat: 'json',
} as const satisfies Partial<ServeOptions>;

/** Starts flexcsi for one driver. All options are those of `flexcsi serve`; nothing is logged unless asked. */
export async function startPlugin(options: PluginOptions, parts: ServeParts = {}): Promise<Plugin> {
  const { directory = mkdtempSync(join(tmpdir(), 'flexcsi-plugin-')), ...wishes } = options;
  const socket = join(directory, 'csi.sock');
  mkdirSync(join(directory, 'kubelet'), { recursive: true });
  const defaults = {
    ...usualOptions,
    endpoint: `unix://${socket}`,
    stateDir: join(directory, 'state'),
    kubeletDir: join(directory, 'kubelet'),
  } satisfies Partial<ServeOptions>;
  const log = wishes.logLevel === undefined ? { log: silentLogger() } : {};
  // Not that of a developer's KUBECONFIG.
  const serving = await serve({ ...defaults, ...wishes }, { lookup: noLookup, ...log, ...parts });
  const client = new CsiClient(socket);
  const stop = async (): Promise<void> => {
    client.close();
    await serving.stop();
  };
  return {
    client,
    socket,
    directory,
    serving,
    name: serving.drivers()[0]?.name ?? '',
    stop,
    remove: async () => {
      await stop();
      // What is in a volume is not ours to delete, in a test either.
      if (readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${directory}/`)) {
        throw new Error(`something is still mounted in ${directory}`);
      }
      rmSync(directory, { recursive: true });
    },
  };
}
