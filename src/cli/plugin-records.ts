/** What one plugin keeps in its state directory. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { errorCode, errorMessage, Failure } from '../errors.ts';
import { csiNameFault, isQualifiedName } from '../flex/names.ts';
import type { Logger } from '../log.ts';
import { RecordStore } from '../state/records.ts';
import {
  type Attached,
  attachedSchema,
  mapOf,
  type ProvisionRecord,
  provisionRecordSchema,
  type SharedDevice,
  sharedDeviceSchema,
  type VolumeRecord,
  volumeRecordSchema,
} from '../volume/records.ts';

const nodeCapability = z.enum([
  'STAGE_UNSTAGE_VOLUME',
  'GET_VOLUME_STATS',
  'EXPAND_VOLUME',
  'SINGLE_NODE_MULTI_WRITER',
  'VOLUME_MOUNT_GROUP',
]);
type NodeCapability = z.infer<typeof nodeCapability>;

/**
 * A driver as it was last served: what kubelet has to be answered when it is broken, gone or not to be served any
 * more. What another version has written, or not, is left at the least that serves to take volumes away.
 */
const lastServedSchema = z.object({
  flexName: z.string().refine(isQualifiedName),
  attachOn: z.enum(['controller', 'node']).optional().catch(undefined),
  node: z.array(nodeCapability).catch((): NodeCapability[] => ['STAGE_UNSTAGE_VOLUME', 'GET_VOLUME_STATS']),
  topology: mapOf(z.string()).optional().catch(undefined),
  maxVolumesPerNode: z.number().catch(0),
});

type LastServed = z.infer<typeof lastServedSchema>;

/** The least that serves to take volumes away. */
export function leastServed(flexName: string): LastServed {
  return lastServedSchema.parse({ flexName });
}

/** A plugin with volumes in use. */
export interface InUse {
  /** The CSI name. */
  readonly name: string;
  /** Undefined where that is not on record. */
  readonly last: LastServed | undefined;
}

/** A plugin as it was last served. */
export interface ServedBefore extends LastServed {
  /** The CSI name. */
  readonly name: string;
}

export class PluginRecords {
  readonly volumes: RecordStore<VolumeRecord>;
  readonly shared: RecordStore<SharedDevice>;
  readonly provisioned: RecordStore<ProvisionRecord>;
  readonly attached: RecordStore<Attached>;
  /** By CSI name. */
  readonly lastServed: RecordStore<LastServed>;

  /** @param directory of this plugin alone. */
  constructor(directory: string, log: Logger) {
    this.volumes = new RecordStore(join(directory, 'volumes'), volumeRecordSchema, log);
    this.shared = new RecordStore(join(directory, 'ephemeral'), sharedDeviceSchema, log);
    this.provisioned = new RecordStore(join(directory, 'provisioned'), provisionRecordSchema, log);
    this.attached = new RecordStore(join(directory, 'attached'), attachedSchema, log);
    this.lastServed = new RecordStore(join(directory, 'served'), lastServedSchema, log);
  }

  /** Whether volumes are on record as in use on this node or attached by it, readable or not. */
  async isInUse(): Promise<boolean> {
    try {
      const stores = [this.volumes, this.shared, this.attached];
      return (await Promise.all(stores.map((store) => store.isEmpty()))).includes(false);
    } catch {
      return true;
    }
  }
}

/**
 * The plugins that have volumes in use, as they were last served.
 *
 * @param stateDir with a directory for each plugin; what else is there is passed over.
 * @throws {Failure} `precondition` when it cannot be read.
 */
export async function pluginsInUse(stateDir: string, log: Logger): Promise<InUse[]> {
  const found: InUse[] = [];
  for (const name of await namesIn(stateDir)) {
    if (csiNameFault(name) !== undefined) continue;
    const records = new PluginRecords(join(stateDir, name), log);
    if (!(await records.isInUse())) continue;
    const last = await records.lastServed.read(name).catch((error: unknown) => {
      log.error({ plugin: name, problem: errorMessage(error) }, 'records of a plugin cannot be read');
      return undefined;
    });
    found.push({ name, last });
  }
  return found;
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    const entries = await readdir(directory, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw new Failure('precondition', `--state-dir: ${directory} cannot be read: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}
