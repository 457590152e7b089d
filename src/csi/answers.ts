/** Volumes, snapshots and places as CSI's messages, within CSI's limits for what a plugin returns. Pure. */
import { Failure } from '../errors.ts';
import type { DescribedSnapshot, DescribedVolume } from '../flex/described.ts';
import type { Segments } from '../flex/topology.ts';
import type { Logger } from '../log.ts';

/** CSI, "Size limits": bytes of a string, and of all keys and values of a map. */
const TEXT_BYTES = 128;
const MAP_BYTES = 4096;

/** A `Volume` message. @throws {Failure} `driver-unclear` when it is more than CSI allows. */
export function volumeMessage(volumeId: string, volume: DescribedVolume) {
  const { capacityBytes, options = {}, topology, sourceVolume, sourceSnapshot } = volume;
  const source =
    sourceSnapshot !== undefined
      ? { snapshot: { snapshot_id: checkText('sourceSnapshot', sourceSnapshot) } }
      : sourceVolume !== undefined
        ? { volume: { volume_id: checkText('sourceVolume', sourceVolume) } }
        : undefined;
  return {
    volume_id: checkText('volume', volumeId),
    capacity_bytes: String(capacityBytes ?? 0n),
    volume_context: checkMap(`options of volume ${volumeId}`, options),
    ...(source === undefined ? {} : { content_source: source }),
    accessible_topology: topology.map(topologyMessage),
  };
}

/** A `Snapshot` message. @throws {Failure} `driver-unclear` when it is more than CSI allows. */
export function snapshotMessage(snapshot: DescribedSnapshot) {
  const { snapshotId, sourceVolume, sizeBytes, creationTime, ready, topology } = snapshot;
  return {
    snapshot_id: checkText('snapshot', snapshotId),
    source_volume_id: checkText('sourceVolume', sourceVolume),
    size_bytes: String(sizeBytes ?? 0n),
    creation_time: { seconds: String(creationTime), nanos: 0 },
    ready_to_use: ready,
    accessible_topology: topology.map(topologyMessage),
  };
}

export function topologyMessage(segments: Segments) {
  return { segments: { ...segments } };
}

function checkText(what: string, text: string): string {
  const bytes = Buffer.byteLength(text);
  if (bytes <= TEXT_BYTES) return text;
  throw new Failure(
    'driver-unclear',
    `the driver's "${what}" has ${bytes} bytes, and CSI allows ${TEXT_BYTES}`,
  );
}

/** A map within CSI's limit. @throws {Failure} `driver-unclear` naming `what`. */
export function checkMap<Values extends Readonly<Record<string, string>>>(what: string, map: Values): Values {
  const bytes = Object.entries(map)
    .flat()
    .reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  if (bytes <= MAP_BYTES) return map;
  throw new Failure(
    'driver-unclear',
    `the driver's ${what} have ${bytes} bytes in all, and CSI allows ${MAP_BYTES}`,
  );
}

/** The message of an entry of a list; undefined, and a line in the log, when it cannot be made of this one. */
export function unlessUnusable<Message>(
  log: Logger,
  what: string,
  id: string,
  make: () => Message | undefined,
): Message | undefined {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    log.warn(
      { [what]: id.slice(0, 300), problem: error.message },
      'left out of a list: the driver describes it wrongly',
    );
    return undefined;
  }
}
