/** `flexcsi manifest`: what Kubernetes has to be told of drivers, from their own answers to `init`. */
import { stringify } from 'yaml';
import { errorMessage, Failure } from '../errors.ts';
import type { Capabilities } from '../flex/capabilities.ts';
import { csiName, flexNameOf } from '../flex/names.ts';
import { Registry, SingleDriver } from '../flex/registry.ts';
import { silentLogger } from '../log.ts';
import { enterHost } from '../namespaces.ts';
import { createRun } from '../process.ts';
import { configOf, loadConfig, noConfig } from './config.ts';
import { resolveHere } from './here.ts';

export interface ManifestOptions {
  /** This or `pluginDir`. */
  readonly driver?: string;
  readonly pluginDir?: string;
  readonly config?: string;
  /** Whether the drivers are, and run, in the namespaces of `hostPid`. */
  readonly host?: boolean;
  readonly hostPid: number;
  readonly output: 'values' | 'objects';
}

/** One driver, as it says that it is. */
export interface DescribedDriver {
  readonly flexName: string;
  /** The CSI name. */
  readonly name: string;
  /** Whether the name is not the one that follows from the FlexVolume name. */
  readonly isNamed: boolean;
  readonly capabilities: Capabilities;
}

/** Milliseconds for `init`. */
const INIT_MS = 60_000;

/**
 * Asks the drivers, and answers the YAML text, with what is wrong with drivers that are left out.
 *
 * @throws {Failure} naming the option that cannot be used.
 */
export async function manifest(options: ManifestOptions): Promise<{ text: string; problems: string[] }> {
  const config = options.config === undefined ? noConfig : await loadConfig(resolveHere(options.config));
  const found = await initialise(options);
  const drivers: DescribedDriver[] = [];
  const problems = [...found.problems];
  for (const { flexName, capabilities } of found.drivers) {
    const { name } = configOf(config, flexName);
    try {
      const csi = name ?? csiName(flexName);
      const other = drivers.find((one) => one.name === csi);
      if (other !== undefined) {
        problems.push(
          `driver ${flexName}: its CSI name would be ${csi}, which driver ${other.flexName} has: set another one in the file of --config (drivers: ${flexName}: name)`,
        );
        continue;
      }
      drivers.push({ flexName, name: csi, isNamed: name !== undefined, capabilities });
    } catch (error) {
      problems.push(errorMessage(error));
    }
  }
  if (drivers.length === 0 && problems.length === 0) {
    throw new Failure(
      'not-found',
      `--plugin-dir: no driver <vendor>~<driver>/<driver> in ${options.pluginDir}`,
    );
  }
  const text =
    options.output === 'values'
      ? stringify(chartValues(drivers))
      : drivers.map((driver) => stringify(csiDriver(driver))).join('---\n');
  return { text, problems };
}

interface Found {
  readonly drivers: readonly { readonly flexName: string; readonly capabilities: Capabilities }[];
  readonly problems: readonly string[];
}

async function initialise({ driver, pluginDir, host, hostPid }: ManifestOptions): Promise<Found> {
  if ((driver === undefined) === (pluginDir === undefined)) {
    throw new Failure('invalid-request', 'either --driver or --plugin-dir is required');
  }
  const run = createRun();
  const side = host === true ? await enterHost(run, hostPid) : undefined;
  const common = {
    run: side?.run ?? run,
    ...(side && { files: side.files }),
    log: silentLogger(),
    timeoutMs: INIT_MS,
  };
  if (driver !== undefined) {
    const file = resolveHere(driver);
    const flexName = flexNameOf(file);
    const { capabilities } = await new SingleDriver({ ...common, file, name: flexName }).current();
    return { drivers: [{ flexName, capabilities }], problems: [] };
  }
  const registry = new Registry({ ...common, directory: resolveHere(pluginDir ?? '') });
  await registry.start();
  await registry.look();
  const drivers = registry.drivers().map(({ name, capabilities }) => ({ flexName: name, capabilities }));
  return { drivers, problems: [...registry.problems().values()].map(errorMessage) };
}

/** The list of drivers for the Helm chart. */
export function chartValues(drivers: readonly DescribedDriver[]): object {
  return {
    drivers: drivers.map(({ flexName, name, isNamed, capabilities }) => {
      const { attach, fsGroup, extensions } = capabilities;
      const { provision, snapshot, modifyVolume, getCapacity, topology } = extensions;
      return {
        driver: flexName,
        ...(isNamed ? { name } : {}),
        capabilities: {
          attach,
          fsGroup,
          provision,
          snapshot,
          modifyvolume: modifyVolume !== 'none',
          getcapacity: getCapacity,
          topology: topology !== undefined,
        },
      };
    }),
  };
}

/**
 * The CSIDriver object. In-line volumes are not allowed by it: whoever may create pods would choose the driver's
 * options (docs/security.md).
 */
export function csiDriver({ name, capabilities }: DescribedDriver): object {
  return {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'CSIDriver',
    metadata: { name },
    spec: {
      attachRequired: capabilities.attach,
      // Drivers get the pod's name and namespace, as from kubelet.
      podInfoOnMount: true,
      fsGroupPolicy: capabilities.fsGroup ? 'File' : 'None',
      volumeLifecycleModes: ['Persistent'],
    },
  };
}
