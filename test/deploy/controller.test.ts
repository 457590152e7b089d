/** The chart's Deployments: the controller side of a driver, with the sidecars it has a use for. */
import { describe, expect, it } from 'vitest';
import { render } from './helm.ts';
import { containerOf, containersOf, type KubeObject } from './rendered.ts';
import { able, account, controller, isMissing, local, one, placesOf } from './values.ts';

describe.skipIf(isMissing)('a controller', () => {
  it.each<[string, object, string[] | undefined]>([
    ['a driver whose init says nothing', {}, ['attacher']],
    ['a driver that attaches on the node', { attachOn: 'node' }, ['attacher']],
    ['a driver without attach', { capabilities: { attach: false } }, undefined],
    ['expansion', { capabilities: { attach: false }, expand: true }, ['resizer']],
    [
      'expansion, by a storage class',
      { capabilities: { attach: false }, storageClasses: [{ name: 'a', allowVolumeExpansion: true }] },
      ['resizer'],
    ],
    ['provision', { capabilities: { attach: false, provision: true } }, ['provisioner']],
    ['modifyvolume', { capabilities: { attach: false, modifyvolume: true } }, ['resizer']],
    ['snapshot without provision, which is of no use', { capabilities: { snapshot: true } }, ['attacher']],
    ['everything', { capabilities: able }, ['attacher', 'provisioner', 'resizer', 'snapshotter']],
    ['node-local volumes', { capabilities: { ...local, attach: false }, provisionOn: 'node' }, undefined],
  ])('for %s', async (_what, driver, sidecars) => {
    const rendered = await render(one(driver));
    const [deployment] = rendered.all('Deployment');
    expect(deployment && containersOf(deployment.spec.template.spec)).toEqual(
      sidecars && ['flexcsi', ...sidecars],
    );
  });

  it('serves one driver to sidecars that elect a leader and are root without privileges', async () => {
    const rendered = await render(one({ capabilities: able }));
    const pod = rendered.pod('Deployment', controller);
    const flexcsi = rendered.flexcsi('Deployment');
    expect(flexcsi.args).toEqual([
      'serve',
      '--driver=/drivers/example.com~lvm/lvm',
      '--mode=controller',
      '--endpoint=unix:///csi/csi.sock',
      '--http-endpoint=:9810',
      '--config=/etc/flexcsi/config.yaml',
      '--kubelet-dir=/var/lib/kubelet',
      '--log-level=info',
      '--log-format=json',
    ]);
    expect(flexcsi.securityContext.privileged).toBeUndefined();
    expect(placesOf(pod)).toEqual([]);
    for (const sidecar of ['attacher', 'provisioner', 'resizer', 'snapshotter']) {
      const { args, securityContext, volumeMounts, image } = containerOf(pod, sidecar);
      expect(args).toEqual(
        expect.arrayContaining([
          '--csi-address=/csi/csi.sock',
          '--leader-election',
          '--leader-election-namespace=storage',
        ]),
      );
      expect(securityContext).toMatchObject({ runAsUser: 0, capabilities: { drop: ['ALL'] } });
      expect(volumeMounts).toEqual([{ name: 'socket', mountPath: '/csi' }]);
      expect(image).toMatch(/^registry\.k8s\.io\/sig-storage\/csi-\w+:v\d+\.\d+\.\d+$/);
    }
    expect(containerOf(pod, 'resizer').args).toContain('--handle-volume-inuse-error=false');
    expect(rendered.one('Deployment').spec).toMatchObject({ replicas: 1, strategy: { type: 'Recreate' } });
  });

  it.each<[string, object, string[]]>([
    [
      'attacher',
      {},
      [
        'get csinodes',
        'list csinodes',
        'patch persistentvolumes',
        'patch volumeattachments',
        'patch volumeattachments/status',
        'watch volumeattachments',
      ],
    ],
    [
      'provisioner',
      { capabilities: { attach: false, provision: true } },
      ['create persistentvolumes', 'delete persistentvolumes', 'update persistentvolumeclaims', 'get nodes'],
    ],
    [
      'resizer',
      { capabilities: { attach: false }, expand: true },
      ['patch persistentvolumes', 'patch persistentvolumeclaims/status'],
    ],
  ])('may do what %s needs', async (_what, driver, rights) => {
    const rendered = await render(one(driver));
    expect(rendered.pod('Deployment').serviceAccountName).toBe(account);
    const all = rendered.rights(account);
    expect(all).toEqual(
      expect.arrayContaining([...rights, 'create leases in storage', 'update leases in storage']),
    );
    expect(all.filter((right) => /secret|\bpods\b|\*|snapshot|attributes/.test(right))).toEqual([]);
  });

  it('may read no attachments or nodes for a resizer alone, and change no volumes for an attacher', async () => {
    const resizer = (await render(one({ capabilities: { attach: false }, expand: true }))).rights(account);
    expect(resizer.filter((right) => /attachment|nodes|delete|create persistent/.test(right))).toEqual([]);
    const attacher = (await render(one())).rights(account);
    expect(attacher.filter((right) => /claims$|create persistent|delete/.test(right))).toEqual([
      'get persistentvolumeclaims',
    ]);
  });

  it('may read the named secrets, each in its namespace', async () => {
    const secrets = [
      { namespace: 'vault', name: 'admin' },
      { namespace: 'vault', name: 'user' },
      { namespace: 'other', name: 'key' },
    ];
    const rendered = await render(one({ capabilities: able, secrets }));
    expect(rendered.rights(account).filter((right) => right.includes('secrets'))).toEqual([
      'get secrets admin user in vault',
      'get secrets key in other',
    ]);
    expect(rendered.rights('flexcsi-node').filter((right) => right.includes('secrets'))).toEqual([]);
  });

  it('owns the objects of free capacity where that is wanted', async () => {
    const rendered = await render(one({ capabilities: able, storageCapacity: true }));
    const { args, env } = containerOf(rendered.pod('Deployment'), 'provisioner');
    expect(args).toEqual(expect.arrayContaining(['--enable-capacity', '--capacity-ownerref-level=2']));
    expect(env.map((variable: KubeObject) => variable.name)).toEqual(['NAMESPACE', 'POD_NAME']);
    expect(rendered.rights(account)).toContain('create csistoragecapacities in storage');
  });

  it('is on nodes that have the driver, and enters them, for drivers on nodes', async () => {
    const nodeSelector = { 'example.com/storage': 'yes' };
    const rendered = await render({ ...one({ controller: { nodeSelector } }), host: { enabled: true } });
    const pod = rendered.pod('Deployment');
    expect(pod).toMatchObject({ hostPID: true, nodeSelector });
    expect(rendered.flexcsi('Deployment').args).toEqual(
      expect.arrayContaining([
        '--driver=/usr/libexec/kubernetes/kubelet-plugins/volume/exec/example.com~lvm/lvm',
        '--host',
        '--host-pid=1',
      ]),
    );
    expect(rendered.flexcsi('Deployment').securityContext.privileged).toBe(true);
    expect(containerOf(pod, 'attacher').securityContext.privileged).toBeUndefined();
  });

  it("has the node's devices and directories where it is privileged", async () => {
    const rendered = await render(one({ hostPaths: ['/srv/images'], controller: { privileged: true } }));
    expect(placesOf(rendered.pod('Deployment'))).toEqual([
      '/dev',
      '/var/lib/kubelet HostToContainer',
      '/srv/images HostToContainer',
    ]);
    expect(rendered.flexcsi('Deployment').env[0].name).toBe('NODE_NAME');
  });

  it('is replaced when what is set for its own driver changes, and for no other', async () => {
    const sums = async (failures: object[]) => {
      const nbd = { driver: 'example.com/nbd', failures };
      const deployments = (await render(one({}, nbd))).all('Deployment');
      return deployments.map(({ spec }) => spec.template.metadata.annotations['checksum/config']);
    };
    const [lvm, nbd] = await sums([]);
    const [sameLvm, otherNbd] = await sums([{ message: 'gone', code: 'NOT_FOUND' }]);
    expect([sameLvm === lvm, otherNbd === nbd]).toEqual([true, false]);
  });

  it("has a port of its own in the node's network", async () => {
    const values = { ...one({}, { driver: 'example.com/nbd' }), controller: { hostNetwork: true } };
    const rendered = await render(values);
    const ports = rendered.all('Deployment').map(({ spec }) => {
      const { args, livenessProbe } = containerOf(spec.template.spec, 'flexcsi');
      expect(args).toContain(`--http-endpoint=127.0.0.1:${livenessProbe.httpGet.port}`);
      return livenessProbe.httpGet.port;
    });
    expect(ports.sort()).toEqual([9811, 9812]);
  });
});
