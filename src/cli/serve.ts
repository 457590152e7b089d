/** `flexcsi serve`: puts the parts together, serves, and drains when told to end. */
import { join } from 'node:path';
import { Failure } from '../errors.ts';
import { checkCsiName, csiName, flexNameOf } from '../flex/names.ts';
import { ownOptions } from '../flex/options.ts';
import { Places } from '../flex/places.ts';
import { SingleDriver } from '../flex/registry.ts';
import { logGrpcTo } from '../grpc/unix-server.ts';
import { ClusterLookup } from '../kube/lookup.ts';
import { createLogger, type Logger } from '../log.ts';
import { createHost } from '../mount/host.ts';
import { enterHost } from '../namespaces.ts';
import { createRun, type Run } from '../process.ts';
import type { VolumeLookup } from '../volume/parts.ts';
import { configOf, loadConfig, noConfig, rulesFor } from './config.ts';
import { placeOfSocket, requireWritable } from './directories.ts';
import { Health } from './health.ts';
import { resolveHere } from './here.ts';
import { Plugin } from './plugin.ts';
import { PluginDirectory } from './plugin-directory.ts';
import { pluginsInUse, type ServedBefore } from './plugin-records.ts';
import type { Serving } from './serving.ts';
import type { ServeOptions } from './settings.ts';
import type { FoundDriver } from './tenant.ts';

/** Parts that the demo and the tests put in place of the usual ones. */
export interface ServeParts {
  readonly run?: Run;
  readonly log?: Logger;
  readonly lookup?: VolumeLookup;
  /** See `PluginDirectoryParts`. */
  readonly lookEveryMs?: number;
  readonly goneMs?: number;
}

/**
 * Serves one driver, or those of a plugin directory, until it is stopped.
 *
 * @throws {Failure} naming the option that cannot be used.
 */
export async function serve(options: ServeOptions, parts: ServeParts = {}): Promise<Serving> {
  const log = parts.log ?? createLogger(options.logLevel, options.logFormat);
  logGrpcTo(log);
  const run = parts.run ?? createRun();
  requireTogether(options);
  const config = options.config === undefined ? noConfig : await loadConfig(resolveHere(options.config));
  const kubeletDir = resolveHere(options.kubeletDir);
  const cluster = new ClusterLookup({ optionsOf: ownOptions, log });
  const side = options.host === true ? await enterHost(run, options.hostPid) : undefined;
  if (side?.warning !== undefined) log.warn({ problem: side.warning }, 'on the host');
  const host = createHost(
    side?.run ?? run,
    side && { mountInfo: side.files.mountInfo, process: `${options.hostPid}` },
  );
  const { registration = options.pluginDir === undefined ? 'none' : 'kubelet' } = options;
  const registers = registration === 'kubelet' && options.mode !== 'controller';

  const startPlugin = async (
    { flexName, file, source }: FoundDriver,
    as: Pick<ServedBefore, 'name' | 'attachOn'> = { name: nameOf(flexName) },
  ): Promise<Plugin> => {
    const { name } = as;
    const socket = await placeOfSocket(options, name, kubeletDir);
    const stateDir = join(resolveHere(options.stateDir), name);
    await requireWritable(stateDir);
    const own = {
      name,
      flexName,
      file,
      socket,
      stateDir,
      kubeletDir,
      registers,
      lookEveryMs: parts.lookEveryMs,
    };
    const its = log.child(options.pluginDir === undefined ? {} : { plugin: name });
    const attachOn = as.attachOn === undefined ? {} : { attachOn: as.attachOn };
    return await Plugin.start(
      { ...own, config: { ...configOf(config, flexName), ...attachOn }, options },
      { driver: source, host, lookup: parts.lookup ?? cluster.of(name), log: its },
    );
  };
  /** @throws {Failure} for a name that CSI forbids. */
  const nameOf = (flexName: string): string => configOf(config, flexName).name ?? csiName(flexName);

  const common = {
    run: side?.runDriver ?? run,
    ...(side && { files: side.files }),
    log,
    timeoutMs: options.driverTimeout,
    places: new Places(options.maxParallel),
    nodeId: options.nodeId,
  };
  let serving: Serving | undefined;
  // Before anything is served: what cannot be had is told while there is nothing to take back.
  const health =
    options.httpEndpoint === undefined
      ? undefined
      : await Health.listen(options.httpEndpoint, { drivers: () => serving?.drivers() ?? [] }, log);
  try {
    serving =
      options.driver === undefined
        ? await serveDirectory()
        : await serveDriver(resolveHere(options.driver), options.name);
  } catch (error) {
    await health?.close();
    throw error;
  }
  const started = serving;
  return {
    drivers: () => started.drivers(),
    stop: async () => {
      await started.stop();
      await health?.close();
    },
  };

  async function serveDriver(file: string, wished: string | undefined): Promise<Serving> {
    const flexName = flexNameOf(file);
    const name = wished ?? nameOf(flexName);
    checkCsiName(name);
    const failureRules = rulesFor(config, flexName);
    tellRules(flexName, failureRules.length);
    const driver = new SingleDriver({ ...common, file, name: flexName, failureRules });
    const plugin = await startPlugin({ flexName, file, source: driver }, { name });
    return {
      drivers: () => [{ driver: flexName, serving: true, ...driver.problem(), ...plugin.status() }],
      stop: async () => {
        await plugin.stop();
        driver.release();
      },
    };
  }

  async function serveDirectory(): Promise<Serving> {
    const directory = resolveHere(options.pluginDir ?? '');
    const failureRules = (flexName: string) => rulesFor(config, flexName);
    const inUse = await pluginsInUse(resolveHere(options.stateDir), log);
    const { only } = options;
    return await PluginDirectory.start(
      { ...common, directory, failureRules },
      { ...parts, nameOf, startPlugin, only, inUse, log },
    );
  }

  function tellRules(flexName: string, rules: number): void {
    const file = options.config;
    if (file === undefined) return;
    const entries = [...config.drivers.keys()];
    if (config.drivers.has(flexName)) log.info({ file, rules }, 'configuration read');
    else
      log.warn(
        { file, driver: flexName, entries },
        'the configuration has no entry for this driver (by its FlexVolume name)',
      );
  }
}

/** @throws {Failure} for options that contradict each other, or one that is missing. */
function requireTogether({ driver, pluginDir, only, name, mode, nodeId, endpoint }: ServeOptions): void {
  if ((driver === undefined) === (pluginDir === undefined)) {
    throw wrong('either --driver (one driver) or --plugin-dir (all drivers of a directory) is required');
  }
  if (mode !== 'controller' && nodeId === '') {
    throw wrong(
      "--node-id is required (or NODE_NAME in the environment): the node's name, as the driver gets it",
    );
  }
  if (pluginDir === undefined) {
    if (only === undefined) return;
    throw wrong('--only is for --plugin-dir: --driver serves one driver');
  }
  if (name !== undefined) {
    throw wrong(
      '--name is for --driver; with --plugin-dir set names in the file of --config (drivers: <vendor/driver>: name)',
    );
  }
  if (endpoint !== undefined && !endpoint.includes('{name}')) {
    throw wrong(
      `--endpoint has to hold {name}, for a socket of its own for each driver of --plugin-dir: unix:///somewhere/{name}/csi.sock, not ${JSON.stringify(endpoint)}`,
    );
  }
}

function wrong(message: string): Failure {
  return new Failure('invalid-request', message);
}
