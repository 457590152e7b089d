/** The chart's storage objects: CSIDriver and classes. */
import { describe, expect, it } from 'vitest';
import { render } from './helm.ts';
import { able, isMissing, local, name, one } from './values.ts';

describe.skipIf(isMissing)('the CSIDriver', () => {
  it.each<[string, object, object]>([
    ['as kubelet has it', {}, {}],
    ['attaches on the node', { attachOn: 'node' }, {}],
    ['attaches nothing', { capabilities: { attach: false } }, { attachRequired: false }],
    ['has no fsGroup', { capabilities: { fsGroup: false } }, { fsGroupPolicy: 'None' }],
    ['may be in-line', { ephemeral: true }, { volumeLifecycleModes: ['Persistent', 'Ephemeral'] }],
    ['knows SELinux', { seLinuxMount: true }, { seLinuxMount: true }],
    ['tells of free capacity', { capabilities: able, storageCapacity: true }, { storageCapacity: true }],
    ['could tell of free capacity', { capabilities: able }, {}],
  ])('of a driver that %s', async (_what, driver, differs) => {
    const rendered = await render(one(driver));
    expect(rendered.one('CSIDriver', name).spec).toEqual({
      attachRequired: true,
      podInfoOnMount: true,
      fsGroupPolicy: 'File',
      volumeLifecycleModes: ['Persistent'],
      requiresRepublish: false,
      storageCapacity: false,
      ...differs,
    });
  });

  it.each([
    ['example.com/lvm', undefined, 'lvm.example.com'],
    ['Lvm', undefined, 'lvm.flexvolume'],
    ['fstab/cifs', undefined, 'cifs.fstab'],
    ['example.com/my_driver', 'mine.example.com', 'mine.example.com'],
  ])('of %s, named %s, is %s', async (driver, wished, expected) => {
    const rendered = await render({ drivers: [{ driver, ...(wished && { name: wished }) }] });
    expect(rendered.all('CSIDriver').map(({ metadata }) => metadata.name)).toEqual([expected]);
  });
});

describe.skipIf(isMissing)('classes', () => {
  it('are those of the driver', async () => {
    const rendered = await render(
      one({
        capabilities: able,
        storageClasses: [
          {
            name: 'fast',
            default: true,
            parameters: { pool: 'a' },
            allowVolumeExpansion: true,
            mountOptions: ['noatime'],
          },
          { name: 'kept', reclaimPolicy: 'Retain', volumeBindingMode: 'WaitForFirstConsumer' },
        ],
        snapshotClasses: [{ name: 'nightly', deletionPolicy: 'Retain', parameters: { pool: 'b' } }],
      }),
    );
    const { metadata, ...fast } = rendered.one('StorageClass', 'fast');
    expect(metadata.annotations).toEqual({ 'storageclass.kubernetes.io/is-default-class': 'true' });
    expect(fast).toMatchObject({
      provisioner: name,
      reclaimPolicy: 'Delete',
      volumeBindingMode: 'Immediate',
      allowVolumeExpansion: true,
      parameters: { pool: 'a' },
      mountOptions: ['noatime'],
    });
    expect(rendered.one('StorageClass', 'kept')).toMatchObject({
      reclaimPolicy: 'Retain',
      volumeBindingMode: 'WaitForFirstConsumer',
      allowVolumeExpansion: false,
    });
    expect(rendered.one('VolumeSnapshotClass', 'nightly')).toMatchObject({
      driver: name,
      deletionPolicy: 'Retain',
      parameters: { pool: 'b' },
    });
  });

  it('wait for the pod where volumes are node-local', async () => {
    const driver = { capabilities: local, provisionOn: 'node', storageClasses: [{ name: 'here' }] };
    const rendered = await render(one(driver));
    expect(rendered.one('StorageClass', 'here').volumeBindingMode).toBe('WaitForFirstConsumer');
  });

  it('of a driver that makes no volumes are for those that are there', async () => {
    const rendered = await render(one({ storageClasses: [{ name: 'old', allowVolumeExpansion: true }] }));
    expect(rendered.one('StorageClass', 'old').provisioner).toBe('kubernetes.io/no-provisioner');
  });
});
