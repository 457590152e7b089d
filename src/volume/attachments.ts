/**
 * Which volumes the controller has attached to which nodes. FlexVolume has one verb to ask with, `isattached`; what
 * it does not confirm does not count: another controller may have detached the volume since, and a stale
 * record must not keep it from being used.
 */
import { errorMessage, Failure, saysNotFound } from '../errors.ts';
import type { Driver } from '../flex/driver.ts';
import * as verbs from '../flex/verbs.ts';
import { attachOptions } from './options.ts';
import type { VolumeParts, VolumeUse } from './parts.ts';
import type { AttachedVolume } from './records.ts';

/** How a volume is to be attached. */
export interface AttachRequest extends VolumeUse {
  readonly nodeId: string;
  /** The access mode is for one node at a time. */
  readonly singleNode: boolean;
}

/**
 * CSI, ControllerPublishVolume: attached to that node in another way, or to another node though the access mode is
 * for one.
 *
 * @returns whether it is on record as attached there.
 * @throws {Failure} `incompatible`, `precondition`.
 */
export async function refuseOtherAttach(
  parts: VolumeParts,
  driver: Driver,
  request: AttachRequest,
): Promise<boolean> {
  const { volumeId, nodeId, readOnly, access, singleNode } = request;
  const { nodes } = (await parts.attached.read(volumeId)) ?? { nodes: {} };
  for (const [node, use] of Object.entries(nodes)) {
    if (!singleNode || node === nodeId || !(await isAttached(parts, driver, volumeId, use, node))) continue;
    throw new Failure(
      'precondition',
      `volume ${volumeId} is attached to node ${node}, and its access mode is for one node at a time`,
    );
  }
  const here = nodes[nodeId];
  if (here === undefined) return false;
  if (here.readOnly === readOnly && here.access === access) return true;
  if (await isAttached(parts, driver, volumeId, here, nodeId)) {
    const how = here.access === access ? `readonly ${here.readOnly}` : `access type ${here.access}`;
    throw new Failure('incompatible', `volume ${volumeId} is already attached to node ${nodeId} with ${how}`);
  }
  return true;
}

/**
 * Records the attachment, if the node has room for it. One such call at a time for each node: two must not both
 * get the last place.
 *
 * @throws {Failure} `node-full`.
 */
export async function takePlace(parts: VolumeParts, driver: Driver, request: AttachRequest): Promise<void> {
  const { volumeId, nodeId } = request;
  const call = { volume: nodeId, kind: 'take', target: volumeId, text: '' };
  await parts.nodeTurns.run(call, async () => {
    await refuseFullNode(parts, driver, volumeId, nodeId);
    await rememberAttached(parts, request);
  });
}

async function refuseFullNode(
  parts: VolumeParts,
  driver: Driver,
  volumeId: string,
  nodeId: string,
): Promise<void> {
  const limit = parts.settings.maxVolumesPerNode ?? driver.capabilities.extensions.maxVolumesPerNode ?? 0;
  if (limit === 0) return;
  const others = (await parts.attached.all()).flatMap(({ key, content }) => {
    const use = key === volumeId ? undefined : content.nodes[nodeId];
    return use === undefined ? [] : [{ volume: key, use }];
  });
  if (others.length < limit) return;
  let count = 0;
  for (const { volume, use } of others) {
    // One that is on record and not attached yet is about to be.
    if (
      parts.attaching.has(`${volume}\0${nodeId}`) ||
      (await isAttached(parts, driver, volume, use, nodeId))
    ) {
      count += 1;
    }
    if (count === limit) {
      throw new Failure('node-full', `node ${nodeId} has ${count} volumes attached, as many as it can have`);
    }
  }
}

/**
 * The nodes to which the volume was attached by this process and, as the driver confirms, still is.
 *
 * @throws {Failure} of the driver, when it cannot tell: a volume that may be in use is not deleted.
 */
export async function attachedNodes(parts: VolumeParts, driver: Driver, volumeId: string): Promise<string[]> {
  const { nodes } = (await parts.attached.read(volumeId)) ?? { nodes: {} };
  const confirmed: string[] = [];
  for (const [node, use] of Object.entries(nodes)) {
    if (await askAttached(parts, driver, volumeId, use, node)) confirmed.push(node);
  }
  return confirmed;
}

/**
 * Whether the driver confirms that the volume is attached there. A record that cannot be asked about, now or with this
 * driver, does not count: it must not keep the volume from its pod for ever.
 */
async function isAttached(
  parts: VolumeParts,
  driver: Driver,
  volumeId: string,
  use: AttachedVolume,
  nodeId: string,
): Promise<boolean> {
  try {
    return await askAttached(parts, driver, volumeId, use, nodeId);
  } catch (error) {
    const problem = errorMessage(error);
    parts.log.warn({ volumeId, nodeId, problem }, 'cannot tell whether the volume is attached to the node');
    return false;
  }
}

/** The same, with the driver's failure. A record that the driver denies goes. */
async function askAttached(
  parts: VolumeParts,
  driver: Driver,
  volumeId: string,
  use: AttachedVolume,
  nodeId: string,
): Promise<boolean> {
  try {
    const options = attachOptions({ name: volumeId, ...use });
    const result = await driver.call(verbs.isAttached(options, nodeId));
    if (!result.supported) return false;
    if (result.answer.attached === true) return true;
  } catch (error) {
    if (!saysNotFound(error)) throw error;
  }
  await forgetAttached(parts, volumeId, nodeId);
  return false;
}

/** As forgiving as all records. */
async function rememberAttached(parts: VolumeParts, request: AttachRequest): Promise<void> {
  const { volumeId, nodeId, options, fsType, readOnly, access } = request;
  await change(parts, volumeId, (nodes) => ({ ...nodes, [nodeId]: { options, fsType, readOnly, access } }));
}

/** Forgets all attachments of a volume that is no more. */
export async function forgetAttachments(parts: VolumeParts, volumeId: string): Promise<void> {
  await change(parts, volumeId, () => ({}));
}

/** Forgets the attachment; the record goes with its last one. */
export async function forgetAttached(parts: VolumeParts, volumeId: string, nodeId: string): Promise<void> {
  await change(parts, volumeId, ({ [nodeId]: _gone, ...nodes }) => nodes);
}

type Nodes = Readonly<Record<string, AttachedVolume>>;

async function change(parts: VolumeParts, volumeId: string, edit: (nodes: Nodes) => Nodes): Promise<void> {
  try {
    const before = (await parts.attached.read(volumeId))?.nodes ?? {};
    const nodes = edit(before);
    if (Object.keys(nodes).length > 0) await parts.attached.write(volumeId, { nodes });
    else await parts.attached.remove(volumeId);
  } catch (error) {
    parts.log.warn({ volumeId, err: error }, 'attachment not recorded');
  }
}
