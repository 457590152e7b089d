/** Callers beside the volumes: lists, wrong requests, clients that vanish, a driver that is installed anew. */
import { once } from 'node:events';
import { utimesSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { NODE, stagingPath, targetPath } from './places.ts';
import { MIB, mounted, type Setting } from './setting.ts';

export const LISTED = 'a list has what is always there, and nothing twice';

/** A volume that is always there. */
const WITNESS = 'soak-witness';

/** Lists, page by page, with a volume that has to be on one of them. */
export async function runLists({ client, calls, random, problems, isEnding }: Setting): Promise<void> {
  const request = {
    name: WITNESS,
    capacity_range: { required_bytes: MIB },
    volume_capabilities: [mounted],
    parameters: { kind: 'mount' },
  };
  await calls.until('CreateVolume', (options) => client.controller('CreateVolume', request, options));
  while (!isEnding()) {
    const found: string[] = [];
    for (let starting_token = '', more = true; more; more = starting_token !== '') {
      const page = await calls.until(
        'ListVolumes',
        (options) => client.controller('ListVolumes', { max_entries: 25, starting_token }, options),
        { giveUp: isEnding },
      );
      if (page === undefined) break;
      found.push(...page.entries.map(({ volume }) => volume?.volume_id ?? ''));
      starting_token = page.next_token;
    }
    if (!isEnding() && (!found.includes(WITNESS) || new Set(found).size < found.length)) {
      problems.add(LISTED, found.join(' '));
    }
    await calls.once('ListSnapshots', (options) => client.controller('ListSnapshots', {}, options));
    await calls.once('GetCapacity', (options) => client.controller('GetCapacity', {}, options));
    await calls.once('ControllerGetVolume', (options) =>
      client.controller('ControllerGetVolume', { volume_id: WITNESS }, options),
    );
    const changes = { volume_id: WITNESS, mutable_parameters: { iops: '100' } };
    await calls.once('ControllerModifyVolume', (options) =>
      client.controller('ControllerModifyVolume', changes, options),
    );
    await sleep(isEnding() ? 0 : random.whole(200, 1_500));
  }
  await calls.until('DeleteVolume', (options) =>
    client.controller('DeleteVolume', { volume_id: WITNESS }, options),
  );
}

/** Requests that cannot be granted, with the one code that each has to get (or a failure of the driver). */
export async function runWrong({ client, calls, places, random, isEnding }: Setting): Promise<void> {
  const volume_id = 'soak-nobody';
  const target_path = targetPath(places, 'nobody', 'nothing');
  const staging_target_path = stagingPath(places, volume_id);
  const volume_capability = mounted;
  const wrong = { codes: ['INVALID_ARGUMENT'] } as const;
  const missing = { codes: ['NOT_FOUND'] } as const;
  const fine = { codes: ['OK'] } as const;
  const cases = [
    () => calls.once('wrong CreateVolume', (o) => client.controller('CreateVolume', { name: '' }, o), wrong),
    () =>
      calls.once(
        'wrong CreateVolume',
        (o) =>
          client.controller(
            'CreateVolume',
            { name: 'x', volume_capabilities: [mounted], parameters: { 'a.kubernetes.io/b': 'c' } },
            o,
          ),
        wrong,
      ),
    () =>
      calls.once(
        'wrong ControllerPublishVolume',
        (o) => client.controller('ControllerPublishVolume', { volume_id, volume_capability }, o),
        wrong,
      ),
    () =>
      calls.once(
        'ControllerPublishVolume of none',
        (o) =>
          client.controller('ControllerPublishVolume', { volume_id, node_id: NODE, volume_capability }, o),
        missing,
      ),
    () =>
      calls.once(
        'wrong NodeStageVolume',
        (o) =>
          client.node(
            'NodeStageVolume',
            { volume_id, staging_target_path: '/proc/soak', volume_capability },
            o,
          ),
        wrong,
      ),
    () =>
      calls.once(
        'wrong NodePublishVolume',
        (o) =>
          client.node(
            'NodePublishVolume',
            { volume_id, target_path: 'relative', staging_target_path, volume_capability },
            o,
          ),
        wrong,
      ),
    () =>
      calls.once(
        'oversized NodePublishVolume',
        (o) =>
          client.node('NodePublishVolume', { volume_id, volume_context: { large: 'x'.repeat(5 * MIB) } }, o),
        { codes: ['RESOURCE_EXHAUSTED'] },
      ),
    () =>
      calls.once(
        'NodeUnpublishVolume of none',
        (o) => client.node('NodeUnpublishVolume', { volume_id, target_path }, o),
        fine,
      ),
    () =>
      calls.once(
        'NodeUnstageVolume of none',
        (o) => client.node('NodeUnstageVolume', { volume_id, staging_target_path }, o),
        fine,
      ),
    () =>
      calls.once(
        'NodeGetVolumeStats of none',
        (o) => client.node('NodeGetVolumeStats', { volume_id, volume_path: target_path }, o),
        missing,
      ),
    () =>
      calls.once(
        'ControllerGetVolume of none',
        (o) => client.controller('ControllerGetVolume', { volume_id }, o),
        missing,
      ),
    () =>
      calls.once(
        'ListVolumes with a wrong token',
        (o) => client.controller('ListVolumes', { starting_token: 'nonsense' }, o),
        { codes: ['ABORTED'] },
      ),
    () => calls.once('NodeGetInfo', (o) => client.node('NodeGetInfo', {}, o), fine),
  ] as const;
  while (!isEnding()) {
    await random.pick(cases)();
    await sleep(isEnding() ? 0 : random.whole(50, 400));
  }
  // As external-attacher does: an attach whose answer could not be read may have attached.
  await calls.until('ControllerUnpublishVolume of none', (o) =>
    client.controller('ControllerUnpublishVolume', { volume_id, node_id: NODE }, o),
  );
}

/** Connections that end without a word, or speak nonsense; and from time to time the driver's file is new. */
export async function runStrangers({ places, random, isEnding }: Setting): Promise<void> {
  while (!isEnding()) {
    const socket = connect(places.socket);
    // It may be cut off at any time: that is what is tried.
    socket.on('error', () => {});
    await once(socket, 'connect');
    if (random.chance(0.5)) socket.write('GET / HTTP/1.1\r\n\r\n');
    await sleep(random.whole(0, 300));
    socket.destroy();
    const now = new Date();
    if (random.chance(0.05)) utimesSync(places.driver, now, now);
    await sleep(isEnding() ? 0 : random.whole(200, 1_500));
  }
}
