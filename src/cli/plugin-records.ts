/** What one plugin keeps in its state directory. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { errorCode, errorMessage, Failure } from '../errors.ts';
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

/** A driver as it was last served: what kubelet has to be answered when it is broken, gone or not to be served any more. */
const lastServedSchema = z.object({
  flexName: z.string(),
  attachOn: z.enum(['controller', 'node']),
  node: z.array(
    z.enum([
      'STAGE_UNSTAGE_VOLUME',
      'GET_VOLUME_STATS',
      'EXPAND_VOLUME',
      'SINGLE_NODE_MULTI_WRITER',
      'VOLUME_MOUNT_GROUP',
    ]),
  ),
  topology: mapOf(z.string()).optional(),
  maxVolumesPerNode: z.number(),
});

type LastServed = z.infer<typeof lastServedSchema>;

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

  /** Whether volumes are on record as in use on this node, or what is on record cannot be read. */
  async isInUse(): Promise<boolean> {
    try {
      const found = await Promise.all([this.volumes.all(), this.shared.all()]);
      return found.some((all) => all.length > 0);
    } catch {
      return true;
    }
  }
}

/**
 * The plugins that have volumes in use on this node, as they were last served.
 *
 * @param stateDir with a directory for each plugin.
 * @throws {Failure} `precondition` when it cannot be read.
 */
export async function pluginsInUse(stateDir: string, log: Logger): Promise<ServedBefore[]> {
  const found: ServedBefore[] = [];
  for (const name of await namesIn(stateDir)) {
    const records = new PluginRecords(join(stateDir, name), log);
    const last = await records.lastServed.read(name);
    if (last !== undefined && (await records.isInUse())) found.push({ name, ...last });
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
