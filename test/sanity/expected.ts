/** Which tests of csi-sanity do not run or cannot pass, and why: all others have to pass. */
import type { Exception, Expectation } from './report.ts';

const controller = 'Controller Service [Controller Server]';
const node = 'Node Service';

/** Of flexcsi with any driver. */
const always: readonly Exception[] = [
  {
    tests: [
      'GroupController Service [GroupController Server]',
      'GroupController Service [GroupController VolumeGroupSnapshots]',
    ],
    why: 'flexcsi does not offer group snapshots',
  },
  {
    tests: [
      'ControllerGetVolumeHealth [Controller Server]',
      'ControllerListVolumeHealth [Controller Server]',
      `${node} > NodeGetVolumeHealth`,
      `${node} > NodeGetStorageHealth`,
    ],
    why: 'flexcsi does not offer volume health (alpha in CSI 1.13), and neither does the host-path driver',
  },
  {
    tests: [
      `${controller} > ListVolumes > pagination should detect volumes added between pages and accept tokens when the last volume from a page is deleted`,
    ],
    why: 'csi-sanity itself has disabled it, for all drivers',
  },
];

/** The loop driver has every verb. */
export function loopDriver(attachOn: 'controller' | 'node'): Expectation {
  const attaching: Exception = {
    tests: [
      `${controller} > ControllerPublishVolume`,
      `${controller} > ControllerUnpublishVolume`,
      `${controller} > volume lifecycle`,
    ],
    why: 'with --attach-on node the controller attaches nothing',
  };
  return { skipped: attachOn === 'node' ? [...always, attaching] : always, failing: [] };
}

/** The dir driver has `mount` and `unmount`, and nothing else. */
export const dirDriver: Expectation = {
  skipped: [
    ...always,
    {
      tests: [
        `${controller} > CreateVolume`,
        `${controller} > DeleteVolume`,
        `${controller} > ListVolumes`,
        `${controller} > GetCapacity`,
        'CreateSnapshot [Controller Server]',
        'DeleteSnapshot [Controller Server]',
        'ListSnapshots [Controller Server]',
        'GetSnapshot [Controller Server]',
        'ModifyVolume [Controller Server]',
      ],
      why: 'the dir driver has none of the extension verbs',
    },
    {
      tests: [
        `${controller} > ControllerPublishVolume`,
        `${controller} > ControllerUnpublishVolume`,
        `${controller} > volume lifecycle`,
        `${node} > NodeStageVolume`,
        `${node} > NodeUnstageVolume`,
      ],
      why: 'the dir driver does not attach',
    },
    { tests: [`${node} > NodeExpandVolume`], why: 'the dir driver needs no growing of file systems' },
  ],
  failing: [
    {
      tests: [
        `${controller} > ValidateVolumeCapabilities > should fail when no volume capabilities are provided`,
        `${controller} > ValidateVolumeCapabilities > should return appropriate values (no optional values added)`,
        'ExpandVolume [Controller Server] > should work',
        `${node} > NodePublishVolume > with single node multi writer capability`,
        `${node} > NodeUnpublishVolume > should remove target path`,
        `${node} > NodeGetVolumeStats > should fail when volume does not exist on the specified path`,
        `${node} > should work`,
        `${node} > should be idempotent`,
      ],
      why: 'csi-sanity creates a volume first though the plugin does not have CREATE_DELETE_VOLUME',
      message: /volume create failed.*code = Unimplemented/s,
    },
    {
      tests: [
        `${controller} > ValidateVolumeCapabilities > should fail when the requested volume does not exist`,
      ],
      why: 'any volume id names a volume of the dir driver: without getvolume nobody can tell that one is not there',
      message: /^Expected an error to have occurred/,
    },
  ],
};
