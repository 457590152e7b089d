/** Pods with an in-line volume: two and two share a name, and so a device. */
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { targetPath } from './places.ts';
import { mounted, SECRET, type Setting } from './setting.ts';
import { removeEmpty } from './volume.ts';

/** Runs pods of one volume name until the setting ends it, with nothing left. */
export async function runInline(setting: Setting, label: string, name: string): Promise<void> {
  const { random, isEnding } = setting;
  for (let count = 0; !isEnding(); count++) {
    await runPod(setting, `${label}-${count}`, name);
    await sleep(random.whole(0, 1_000));
  }
}

async function runPod(
  { places, client, calls, random, isEnding }: Setting,
  pod: string,
  name: string,
): Promise<void> {
  const volume_id = `csi-${createHash('sha256').update(`${pod}/${name}`).digest('hex')}`;
  const target_path = targetPath(places, pod, name);
  mkdirSync(dirname(target_path), { recursive: true });
  const context = { 'csi.storage.k8s.io/ephemeral': 'true', 'csi.storage.k8s.io/pod.name': pod };
  const request = {
    volume_id,
    target_path,
    volume_capability: mounted,
    volume_context: { inline: 'yes', ...context },
    secrets: { token: SECRET },
  };
  const giveUp = (): boolean => isEnding() || random.chance(0.1);
  const published = await calls.until(
    `NodePublishVolume ${target_path}`,
    (options) => client.node('NodePublishVolume', request, options),
    { giveUp },
  );
  if (published !== undefined) {
    await calls.once(
      `NodeGetVolumeStats ${target_path}`,
      (options) => client.node('NodeGetVolumeStats', { volume_id, volume_path: target_path }, options),
      { driver: false },
    );
    await sleep(isEnding() ? 0 : random.whole(0, 1_000));
  }
  await calls.until(`NodeUnpublishVolume ${target_path}`, (options) =>
    client.node('NodeUnpublishVolume', { volume_id, target_path }, options),
  );
  removeEmpty(dirname(target_path), `${places.kubelet}/pods`);
}
