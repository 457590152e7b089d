/** Steps of the attach/detach controller, and those in which only `getvolumename` was asked. */

import { driverOptions } from '../../../../src/flex/options.ts';
import type { Call } from '../../../../src/flex/verbs.ts';
import * as verbs from '../../../../src/flex/verbs.ts';
import { scripted } from '../answers.ts';
import { volumeOf } from '../calls.ts';
import { type GoldenRecord, NotUnderstood, volumeNameOf } from '../records.ts';
import type { Session } from '../session.ts';
import { callsFor, type Step } from './step.ts';

/** Attach → ControllerPublishVolume; the device is what goes into the publish context. */
const attach: Step = {
  name: /^Attach$/,
  async act(session, record) {
    return { device: await callsFor(session, record).attach(volumeOf(record), nodeOf(session, record)) };
  },
};

/** Detach → ControllerUnpublishVolume, with the volume's name for its id. */
const detach: Step = {
  name: /^Detach$/,
  async act(session, record) {
    await session.csi.detach(volumeNameOf(record), nodeOf(session, record));
    return {};
  },
};

/** VolumesAreAttached → no RPC asks it, so `isattached` is called at the level of flex/. */
const volumesAreAttached: Step = {
  name: /^VolumesAreAttached$/,
  isBelow: true,
  async act(session, record) {
    const { name: volumeName, ...volume } = volumeOf(record);
    const options = driverOptions({ ...volume, volumeName });
    const driver = await session.flexDriver();
    const result = await driver.call(verbs.isAttached(options, nodeOf(session, record)));
    // Kubelet: not supported, nothing is known; Success without the field, not attached.
    return { attached: result.supported ? (result.answer.attached ?? false) : null };
  },
};

/**
 * GetVolumeName, GetDeviceMountPath, ConstructVolumeSpec → nothing: flexcsi never asks `getvolumename`, the
 * name is the volume's own and kubelet says the path. What is left to see is that flexcsi decides on the
 * recorded answer as kubelet did, if it were asked.
 */
const onlyVolumeName: Step = {
  name: /^(?:GetVolumeName|GetDeviceMountPath|ConstructVolumeSpec(?: and GetDeviceMountPath)?)$/,
  aside: () => ['getvolumename'],
  isBelow: true,
  path: (session, record) => record.outcome.path ?? session.stagingPath(volumeNameOf(record)),
  async act(session, record) {
    for (const { argv, driver_answer } of record.calls) {
      const [verb, ...args] = argv;
      if (verb !== 'getvolumename') throw new NotUnderstood(`call of ${verb} in ${record.step}`);
      session.driver.script(verb, scripted(driver_answer, session.setting.scale));
      // It is not among flexcsi's verbs.
      await (await session.flexDriver()).call({ verb, args } as unknown as Call);
    }
    const name = volumeNameOf(record);
    return { volume_name: name, path: session.stagingPath(name) };
  },
};

function nodeOf(session: Session, { given }: GoldenRecord): string {
  return given.node ?? session.setting.node;
}

export const controllerSteps: readonly Step[] = [attach, detach, volumesAreAttached, onlyVolumeName];
