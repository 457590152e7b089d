/** WaitForAttach, MountDevice, UnmountDevice: kubelet's attacher on the node. */
import { basename } from 'node:path';
import { volumeOf } from '../calls.ts';
import { fileSystemOf } from '../devices.ts';
import { quantityBytes } from '../quantity.ts';
import { type GoldenRecord, volumeNameOf } from '../records.ts';
import type { Session } from '../session.ts';
import { callsFor, type Step, stagingOf, success, successWith } from './step.ts';

const MIB = 1024n ** 2n;
/** Of a device whose size is not recorded; xfs wants 300 MiB. */
const DEVICE_SIZE = '512Mi';

/**
 * WaitForAttach → the first part of NodeStageVolume. `mountdevice`, its second, does nothing; the device that
 * it is told is the one of the outcome.
 */
const waitForAttach: Step = {
  name: /^WaitForAttach$/,
  aside: () => ['mountdevice'],
  script: (session) => session.driver.script('mountdevice', success),
  async act(session, record) {
    const { device = '' } = record.given;
    await callsFor(session, record).stage(volumeOf(record), stagingOf(session, record), device);
    session.staged.add(volumeNameOf(record));
    return { device: session.driver.calls().findLast(({ verb }) => verb === 'mountdevice')?.args[1] };
  },
};

/**
 * MountDevice → the second part of NodeStageVolume. The device comes from `waitforattach`, its first, or where
 * the driver does not support that, from the publish context.
 */
const mountDevice: Step = {
  name: /^MountDevice$/,
  aside: () => ['waitforattach'],
  path: stagingOf,
  async prepare(session, record) {
    makeDevice(session, record);
  },
  script(session, { given }) {
    session.driver.script('waitforattach', successWith({ device: given.device ?? '' }));
  },
  async act(session, record) {
    const { device = '' } = record.given;
    await callsFor(session, record).stage(volumeOf(record), stagingOf(session, record), device);
    session.staged.add(volumeNameOf(record));
    return {};
  },
};

/** UnmountDevice → NodeUnstageVolume. */
const unmountDevice: Step = {
  name: /^UnmountDevice$/,
  path: stagingOf,
  async act(session, record) {
    const staging = stagingOf(session, record);
    await session.csi.unstage(basename(staging), staging);
    session.staged.delete(basename(staging));
    return {};
  },
};

/** A real block device at the recorded path, as large as it is to become, with a file system of the old size. */
export function makeDevice(session: Session, { given }: GoldenRecord): void {
  const { device, device_holds: holds } = given;
  if (device === undefined || holds === undefined || session.devices.isSafe(device)) return;
  const size = quantityBytes(given.newSize ?? DEVICE_SIZE);
  const content = given.oldSize === undefined ? size : quantityBytes(given.oldSize);
  // btrfs and xfs are not made smaller than this.
  const least = ['xfs', 'btrfs'].includes(fileSystemOf(holds) ?? '') ? 320n * MIB : MIB;
  const larger = (bytes: bigint): number => Number(bytes > least ? bytes : least);
  session.devices.make(device, holds, larger(size), larger(content));
}

export const stageSteps: readonly Step[] = [waitForAttach, mountDevice, unmountDevice];
