/** The chart's DaemonSet: the node side of all drivers. */
import { describe, expect, it } from 'vitest';
import { render } from './helm.ts';
import { containerOf, containersOf, type KubeObject } from './rendered.ts';
import { able, isMissing, local, name, one, placesOf } from './values.ts';

describe.skipIf(isMissing)('the DaemonSet', () => {
  it('serves the drivers of the image, and registers them itself', async () => {
    const rendered = await render(one());
    const flexcsi = rendered.flexcsi('DaemonSet');
    expect(containersOf(rendered.pod('DaemonSet'))).toEqual(['flexcsi']);
    expect(flexcsi.image).toBe('flexcsi:0.1.0');
    expect(flexcsi.args).toEqual([
      'serve',
      '--plugin-dir=/drivers',
      '--only=example.com/lvm',
      '--mode=node',
      '--registration=kubelet',
      '--state-dir=/var/lib/flexcsi',
      '--http-endpoint=127.0.0.1:9810',
      '--config=/etc/flexcsi/config.yaml',
      '--kubelet-dir=/var/lib/kubelet',
      '--log-level=info',
      '--log-format=json',
    ]);
    expect(flexcsi.env).toEqual([
      { name: 'NODE_NAME', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
    ]);
  });

  it('serves no other drivers than those of the values', async () => {
    const two = await render(one({}, { driver: 'flexcsi/nfs', capabilities: { attach: false } }));
    expect(two.flexcsi('DaemonSet').args).toContain('--only=example.com/lvm,flexcsi/nfs');
    const none = await render({});
    expect(none.flexcsi('DaemonSet').args.join()).not.toContain('--only');
  });

  it("has the node's directories at the same path, kubelet's with Bidirectional propagation", async () => {
    const rendered = await render({ ...one({ hostPaths: ['/srv/images'] }), kubeletDir: '/data/kubelet' });
    expect(placesOf(rendered.pod('DaemonSet'))).toEqual([
      '/var/lib/flexcsi',
      '/data/kubelet Bidirectional',
      '/dev',
      '/srv/images HostToContainer',
    ]);
    expect(rendered.flexcsi('DaemonSet').args).toContain('--kubelet-dir=/data/kubelet');
    expect(rendered.flexcsi('DaemonSet').securityContext).toEqual({ privileged: true });
  });

  it('is replaced by hand only, has time to drain, and runs on all nodes', async () => {
    const rendered = await render({});
    expect(rendered.one('DaemonSet').spec.updateStrategy).toEqual({ type: 'OnDelete' });
    const pod = rendered.pod('DaemonSet');
    expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(30);
    expect(pod.tolerations).toEqual([{ operator: 'Exists' }]);
    expect(pod.priorityClassName).toBe('system-node-critical');
    expect(rendered.flexcsi('DaemonSet').resources.limits).toBeUndefined();
  });

  it('is probed where it answers', async () => {
    const own = await render({ hostNetwork: false, healthPort: 1234 });
    expect(own.flexcsi('DaemonSet').args).toContain('--http-endpoint=:1234');
    expect(own.flexcsi('DaemonSet').livenessProbe.httpGet).toEqual({ path: '/healthz', port: 1234 });
    expect(own.pod('DaemonSet').hostNetwork).toBeUndefined();
    const shared = await render({ healthPort: 1234 });
    expect(shared.flexcsi('DaemonSet').args).toContain('--http-endpoint=127.0.0.1:1234');
    expect(shared.flexcsi('DaemonSet').livenessProbe.httpGet).toEqual({
      path: '/healthz',
      port: 1234,
      host: '127.0.0.1',
    });
    expect(shared.pod('DaemonSet').hostNetwork).toBe(true);
  });

  it("runs the drivers of the node's plugin directory on the node", async () => {
    const rendered = await render({ ...one({ hostPaths: ['/srv'] }), host: { enabled: true, pid: 7 } });
    const pod = rendered.pod('DaemonSet');
    expect(pod.hostPID).toBe(true);
    expect(rendered.flexcsi('DaemonSet').args).toEqual(
      expect.arrayContaining([
        '--plugin-dir=/usr/libexec/kubernetes/kubelet-plugins/volume/exec',
        '--host',
        '--host-pid=7',
      ]),
    );
    expect(placesOf(pod)).toEqual(['/var/lib/flexcsi', '/var/lib/kubelet Bidirectional']);
  });

  it("runs the drivers of the node's plugin directory in the container", async () => {
    const rendered = await render({ ...one(), pluginDirOnNode: true, pluginDir: '/opt/flex' });
    expect(rendered.pod('DaemonSet').hostPID).toBeUndefined();
    expect(rendered.flexcsi('DaemonSet').args).toContain('--plugin-dir=/opt/flex');
    expect(rendered.flexcsi('DaemonSet').args).not.toContain('--host');
    expect(placesOf(rendered.pod('DaemonSet'))).toContain('/opt/flex HostToContainer');
  });

  it('makes node-local volumes where they will be', async () => {
    const rendered = await render(
      one({ capabilities: { ...local, snapshot: true }, provisionOn: 'node', storageCapacity: true }),
    );
    const pod = rendered.pod('DaemonSet');
    expect(containersOf(pod)).toEqual([
      'flexcsi',
      'provisioner-lvm-example-com',
      'snapshotter-lvm-example-com',
    ]);
    expect(rendered.flexcsi('DaemonSet').args).toContain('--mode=all');
    const provisioner = containerOf(pod, 'provisioner-lvm-example-com');
    expect(provisioner.args).toEqual([
      `--csi-address=/var/lib/kubelet/plugins/${name}/csi.sock`,
      '--timeout=2m',
      '--v=2',
      '--node-deployment',
      '--strict-topology',
      '--immediate-topology=false',
      '--extra-create-metadata',
      '--enable-capacity',
      '--capacity-ownerref-level=1',
    ]);
    // A copy of the mounts below would keep their devices busy.
    expect(provisioner.volumeMounts).toEqual([
      {
        name: 'socket-lvm-example-com',
        mountPath: `/var/lib/kubelet/plugins/${name}`,
        mountPropagation: 'HostToContainer',
      },
    ]);
    expect(provisioner.env.map((variable: KubeObject) => variable.name)).toEqual([
      'NODE_NAME',
      'NAMESPACE',
      'POD_NAME',
    ]);
    expect(containersOf(rendered.pod('Deployment'))).toEqual(['flexcsi', 'attacher']);
  });

  it('may read volumes and claims, and nothing else', async () => {
    const rendered = await render(one({ capabilities: able }));
    expect(rendered.pod('DaemonSet').serviceAccountName).toBe('flexcsi-node');
    expect(rendered.rights('flexcsi-node')).toEqual([
      'get persistentvolumeclaims',
      'get persistentvolumes',
      'list persistentvolumes',
    ]);
  });
});
