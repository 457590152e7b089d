/** `flexcsi serve`: puts the parts together, serves, and drains when told to end. */
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { CsiServer } from '../csi/server.ts';
import { errorMessage, Failure } from '../errors.ts';
import type { FailureRule } from '../flex/codes.ts';
import { checkCsiName, csiName, flexNameOf } from '../flex/names.ts';
import { Places } from '../flex/places.ts';
import { SingleDriver } from '../flex/registry.ts';
import { parseEndpoint } from '../grpc/socket.ts';
import { createLogger, type Logger } from '../log.ts';
import { createHost } from '../mount/host.ts';
import { createRun, type Run } from '../process.ts';
import { bootId } from '../state/boot.ts';
import { makePrivateDirectory } from '../state/directory.ts';
import { RecordStore } from '../state/records.ts';
import { VolumeLocks } from '../volume/lock.ts';
import { noLookup, type VolumeLookup } from '../volume/parts.ts';
import {
  attachedSchema,
  provisionRecordSchema,
  sharedDeviceSchema,
  volumeRecordSchema,
} from '../volume/records.ts';
import { VolumeService } from '../volume/service.ts';
import { loadConfig, rulesFor } from './config.ts';
import { resolveHere } from './here.ts';
import type { ServeOptions } from './settings.ts';
import { version } from './version.ts';

/** Parts that the demo and the tests put in place of the usual ones. */
export interface ServeParts {
  readonly run?: Run;
  readonly log?: Logger;
  readonly lookup?: VolumeLookup;
}

export interface Serving {
  /** The CSI name. */
  readonly name: string;
  /** Takes no new calls, lets running drivers finish, removes the socket. */
  stop(): Promise<void>;
}

/**
 * Serves one driver until it is stopped.
 *
 * @throws {Failure} naming the option that cannot be used.
 */
export async function serve(options: ServeOptions, parts: ServeParts = {}): Promise<Serving> {
  const log = parts.log ?? createLogger(options.logLevel, options.logFormat);
  const run = parts.run ?? createRun();
  const socket = parseEndpoint(options.endpoint);
  const file = resolveHere(options.driver);
  const flexName = flexNameOf(file);
  const name = options.name ?? csiName(flexName);
  checkCsiName(name);
  if (options.mode !== 'controller' && options.nodeId === '') {
    throw new Failure(
      'invalid-request',
      "--node-id is required (or NODE_NAME in the environment): the node's name, as the driver gets it",
    );
  }
  const stateDir = join(resolveHere(options.stateDir), name);
  await requireWritable(stateDir);

  const failureRules = await readRules(options.config, flexName, log);
  const limit =
    options.maxVolumesPerNode === undefined ? {} : { maxVolumesPerNode: options.maxVolumesPerNode };
  const driver = new SingleDriver({
    file,
    name: flexName,
    run,
    log,
    timeoutMs: options.driverTimeout,
    failureRules,
    places: new Places(options.maxParallel),
    nodeId: options.nodeId,
  });
  const volumes = new VolumeService({
    driver,
    host: createHost(run),
    records: new RecordStore(join(stateDir, 'volumes'), volumeRecordSchema, log),
    shared: new RecordStore(join(stateDir, 'ephemeral'), sharedDeviceSchema, log),
    provisioned: new RecordStore(join(stateDir, 'provisioned'), provisionRecordSchema, log),
    attached: new RecordStore(join(stateDir, 'attached'), attachedSchema, log),
    nodeTurns: new VolumeLocks('node'),
    attaching: new Set(),
    leftovers: new Set(),
    lookup: parts.lookup ?? noLookup,
    settings: {
      csiName: name,
      nodeId: options.nodeId,
      kubeletDir: resolveHere(options.kubeletDir),
      attachOn: options.attachOn,
      fsGroupKey: options.fsGroupKey,
      fsGroupChangePolicy: options.fsGroupChangePolicy,
      ...limit,
    },
    log,
    boot: bootId(),
  });
  const { mode, attachOn, nodeId, topology } = options;
  const plugin = { name, version, manifest: { 'flexvolume-driver': flexName } };
  const served = { mode, attachOn, ...limit, ...(topology === undefined ? {} : { topology }) };
  const server = await CsiServer.bind({ ...served, socket, nodeId, plugin }, volumes, log);
  log.info({ driver: file }, 'asking the driver what it can do (init)');
  const told = tellCapabilities(server, driver, log);
  // A driver whose init hangs must not keep the socket away: Probe waits for it, and says so.
  await Promise.race([told, setTimeout(INIT_WAIT_MS, undefined, { ref: false })]);
  await server.open();
  log.info({ name, driver: file, endpoint: options.endpoint, mode }, 'listening');
  return {
    name,
    stop: async () => {
      await server.drain();
      driver.release();
    },
  };
}

async function readRules(
  file: string | undefined,
  flexName: string,
  log: Logger,
): Promise<readonly FailureRule[]> {
  if (file === undefined) return [];
  const config = await loadConfig(resolveHere(file));
  const rules = rulesFor(config, flexName);
  const entries = [...config.failures.keys()];
  if (config.failures.has(flexName)) log.info({ file, rules: rules.length }, 'failure rules read');
  else
    log.warn(
      { file, driver: flexName, entries },
      'the configuration has no entry for this driver (by its FlexVolume name)',
    );
  return rules;
}

/** How long the socket waits for the driver's `init`, so that its first clients find it ready. */
const INIT_WAIT_MS = 5_000;

/** A driver whose init fails is served all the same: it may become ready, and Probe says what is wrong. */
async function tellCapabilities(server: CsiServer, driver: SingleDriver, log: Logger): Promise<void> {
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

async function requireWritable(directory: string): Promise<void> {
  try {
    await makePrivateDirectory(directory);
    await access(directory, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new Failure('precondition', `--state-dir: ${directory} cannot be written: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}
