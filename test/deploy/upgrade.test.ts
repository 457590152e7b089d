/** The chart where a release of it is installed already: the records of volumes in use must not be lost. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chart, runHelm } from './helm.ts';
import { isMissing } from './values.ts';

const daemonSet = {
  apiVersion: 'apps/v1',
  kind: 'DaemonSet',
  metadata: {
    name: 'flexcsi-node',
    namespace: 'storage',
    labels: { 'app.kubernetes.io/managed-by': 'Helm' },
    annotations: { 'meta.helm.sh/release-name': 'flexcsi', 'meta.helm.sh/release-namespace': 'storage' },
  },
  spec: {
    template: {
      spec: {
        volumes: [
          { name: 'config', configMap: { name: 'flexcsi' } },
          { name: 'state', hostPath: { path: '/var/lib/flexcsi' } },
        ],
      },
    },
  },
};

const kinds: Readonly<Record<string, readonly string[]>> = {
  v1: ['ServiceAccount', 'ConfigMap'],
  'apps/v1': ['DaemonSet'],
  'rbac.authorization.k8s.io/v1': ['ClusterRole', 'ClusterRoleBinding'],
};
const groups = Object.keys(kinds).filter((groupVersion) => groupVersion.includes('/'));

/** What helm asks of a cluster: which kinds it has, and the object. There is no cluster in these tests. */
const answers: Readonly<Record<string, object>> = {
  '/version': { major: '1', minor: '35', gitVersion: 'v1.35.0' },
  '/api': { kind: 'APIVersions', versions: ['v1'] },
  '/apis': {
    kind: 'APIGroupList',
    groups: groups.map((groupVersion) => ({
      name: groupVersion.split('/')[0],
      versions: [{ groupVersion, version: 'v1' }],
    })),
  },
  ...Object.fromEntries(
    Object.entries(kinds).map(([groupVersion, names]) => [
      groupVersion.includes('/') ? `/apis/${groupVersion}` : `/api/${groupVersion}`,
      {
        kind: 'APIResourceList',
        groupVersion,
        resources: names.map((kind) => ({
          kind,
          name: `${kind.toLowerCase()}s`,
          singularName: kind.toLowerCase(),
          namespaced: !kind.startsWith('Cluster'),
          verbs: ['get'],
        })),
      },
    ]),
  ),
  '/apis/apps/v1/namespaces/storage/daemonsets/flexcsi-node': daemonSet,
};
const notFound = { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'NotFound', code: 404 };

describe.skipIf(isMissing)('beside a DaemonSet with its records in /var/lib/flexcsi', () => {
  let server: Server;
  beforeAll(async () => {
    server = createServer((request, response) => {
      const answer = answers[new URL(request.url ?? '', 'http://localhost').pathname];
      response.writeHead(answer === undefined ? 404 : 200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(answer ?? notFound));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  async function renderThere(values: object, release = 'flexcsi'): Promise<string> {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const cluster = ['--dry-run=server', '--disable-openapi-validation', '--kube-apiserver', url];
    return await runHelm(
      ['template', release, chart, '--namespace', 'storage', ...cluster, '--values', '-'],
      JSON.stringify(values),
    );
  }

  it('other records are refused', async () => {
    await expect(renderThere({})).rejects.toThrow(
      /stateDir: DaemonSet flexcsi-node has its records .* in \/var\/lib\/flexcsi, not in \/var\/lib\/flexcsi\/storage_flexcsi: expected stateDir: \/var\/lib\/flexcsi;/,
    );
  });

  it('the same records are kept', async () => {
    const text = await renderThere({ stateDir: '/var/lib/flexcsi' });
    expect(text).toContain('--state-dir=/var/lib/flexcsi\n');
  });

  it('a release of another name has records of its own', async () => {
    expect(await renderThere({}, 'flexcsi-2')).toContain('--state-dir=/var/lib/flexcsi/storage_flexcsi-2\n');
  });
});
