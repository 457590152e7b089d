/** What flexcsi remembers of a volume on this node, and what of it still holds. */
import type { VolumeParts, VolumeUse } from './parts.ts';
import type { VolumeRecord } from './records.ts';

/** The record of a volume, without what a reboot has undone. */
export async function recall(parts: VolumeParts, volumeId: string): Promise<VolumeRecord | undefined> {
  const record = await parts.records.read(volumeId);
  if (record === undefined || record.boot === parts.boot) return record;
  const { options, fsType, access } = record;
  return { boot: parts.boot, options, fsType, access, targets: {} };
}

/** The record of a volume for a call that mounts it: what was known, with this call's words for what it says anew. */
export async function recallFor(parts: VolumeParts, use: VolumeUse): Promise<VolumeRecord> {
  const known = await recall(parts, use.volumeId);
  return {
    ...(known ?? { targets: {} }),
    boot: parts.boot,
    options: use.options,
    fsType: use.fsType,
    access: use.access,
  };
}

/**
 * Writes the record. A failure is logged and swallowed: a node whose state directory is full must still mount
 * and, above all, unmount.
 */
export async function remember(parts: VolumeParts, volumeId: string, record: VolumeRecord): Promise<void> {
  try {
    await parts.records.write(volumeId, record);
  } catch (error) {
    parts.log.warn({ volumeId, err: error }, 'volume not recorded: an expansion may later lack its options');
  }
}

/** Forgets one target, and the volume with its last use. As forgiving as `remember`. */
export async function forgetTarget(parts: VolumeParts, volumeId: string, target: string): Promise<void> {
  await change(parts, volumeId, (record) => {
    const { [target]: _gone, ...targets } = record.targets;
    return { ...record, targets };
  });
}

/** Forgets that the volume is staged, and the volume with its last use. As forgiving as `remember`. */
export async function forgetStage(parts: VolumeParts, volumeId: string): Promise<void> {
  await change(
    parts,
    volumeId,
    ({ stagingPath: _path, stageMounted: _mounted, device: _device, ...record }) => record,
  );
}

async function change(
  parts: VolumeParts,
  volumeId: string,
  edit: (record: VolumeRecord) => VolumeRecord,
): Promise<void> {
  try {
    const record = await recall(parts, volumeId);
    const edited = record && edit(record);
    const inUse =
      edited !== undefined && (edited.stagingPath !== undefined || Object.keys(edited.targets).length > 0);
    if (inUse) await parts.records.write(volumeId, edited);
    // Also where there was none: a file that cannot be used would otherwise stay for ever.
    else await parts.records.remove(volumeId);
  } catch (error) {
    parts.log.warn({ volumeId, err: error }, 'state of the volume not updated');
  }
}
