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
      '--state-dir=/var/lib/flexcsi/storage_flexcsi',
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
    expect(none.flexcsi('DaemonSet').args).toContain('--only=');
  });

  it("has the node's directories at the same path, kubelet's with Bidirectional propagation", async () => {
    const driver = one({ hostPaths: ['/srv/images'] });
    const rendered = await render({ ...driver, kubeletDir: '/data/kubelet', stateDir: '/data/flexcsi' });
    expect(placesOf(rendered.pod('DaemonSet'))).toEqual([
      '/data/flexcsi',
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
    expect(own.flexcsi('DaemonSet').readinessProbe.httpGet).toEqual({ path: '/healthz', port: 1234 });
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
    expect(placesOf(pod)).toEqual(['/var/lib/flexcsi/storage_flexcsi', '/var/lib/kubelet Bidirectional']);
  });

  it("runs the drivers of the node's plugin directory in the container", async () => {
    const rendered = await render({ ...one(), pluginDirOnNode: true, pluginDir: '/opt/flex' });
    expect(rendered.pod('DaemonSet').hostPID).toBeUndefined();
    expect(rendered.flexcsi('DaemonSet').args).toContain('--plugin-dir=/opt/flex');
    expect(rendered.flexcsi('DaemonSet').args).not.toContain('--host');
    expect(placesOf(rendered.pod('DaemonSet'))).toContain('/opt/flex HostToContainer');
  });

  it("finds a plugin directory in kubelet's directory there, without a mount on the node's", async () => {
    const pluginDir = '/var/lib/kubelet/volumeplugins';
    const rendered = await render({ ...one(), pluginDirOnNode: true, pluginDir });
    expect(rendered.flexcsi('DaemonSet').args).toContain(`--plugin-dir=${pluginDir}`);
    expect(placesOf(rendered.pod('DaemonSet')).join()).not.toContain(pluginDir);
    expect(placesOf(rendered.pod('Deployment'))).toEqual([`${pluginDir} HostToContainer`]);
  });

  it('has the usual directories of drivers from the node', async () => {
    const hostPaths = [
      '/run/lvm',
      '/etc/iscsi',
      '/sys',
      '/lib/modules',
      '/run/udev',
      '/var/lib/flexcsi-loop',
    ];
    hostPaths.push('/srv/...', '/opt/.hidden', '/usr/share/x');
    const places = placesOf((await render(one({ hostPaths }))).pod('DaemonSet'));
    expect(places).toEqual(expect.arrayContaining(hostPaths.map((path) => `${path} HostToContainer`)));
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

  it('has containers and volumes of its own for each of two long names', async () => {
    const long = `${'a'.repeat(25)}.${'b'.repeat(30)}`;
    const driver = { capabilities: { ...local, snapshot: true }, provisionOn: 'node' };
    const [first, second] = ['.one', '.two'].map((end) => ({ ...driver, name: long + end }));
    const pod = (await render(one(first, { ...second, driver: 'example.com/b' }))).pod('DaemonSet');
    for (const names of [containersOf(pod), pod.volumes.map((volume: KubeObject) => volume.name)]) {
      expect(names).toEqual([...new Set(names)]);
      for (const name of names) expect(name).toMatch(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/);
    }
    expect(containersOf(pod)).toHaveLength(5);
    for (const container of pod.containers.slice(1)) {
      const [mount] = container.volumeMounts;
      const volume = pod.volumes.find((one: KubeObject) => one.name === mount.name);
      expect(volume.hostPath.path).toBe(mount.mountPath);
      expect(container.args[0]).toBe(`--csi-address=${mount.mountPath}/csi.sock`);
    }
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
