/**
 * The look-up against a real cluster, by hand: `KUBECONFIG=… npx node test/kube/lookup-on-cluster.ts`, with kubectl on
 * PATH and the rights of an administrator. Makes a service account, PersistentVolumes and a claim, and removes them.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { ClusterLookup, type LookedUp, type Lookup } from '../../src/kube/lookup.ts';
import { createLogger } from '../../src/log.ts';

const name = 'flexcsi-lookup-test';
const driver = 'lookup-test.flexcsi';
const labels = { app: name };
const directory = mkdtempSync(join(tmpdir(), 'flexcsi-lookup-on-cluster-'));

function kubectl(...args: string[]): string {
  return execFileSync('kubectl', args, { encoding: 'utf8', maxBuffer: 2 ** 26 });
}

function apply(...items: object[]): void {
  const input = JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
  execFileSync('kubectl', ['apply', '--server-side', '-f', '-'], {
    input,
    stdio: ['pipe', 'ignore', 'inherit'],
  });
}

function volume(suffix: string, handle: string, more: object = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: `${name}-${suffix}`, labels },
    spec: {
      capacity: { storage: '1500M' },
      accessModes: ['ReadWriteOnce'],
      persistentVolumeReclaimPolicy: 'Retain',
      storageClassName: '',
      csi: { driver, volumeHandle: handle, fsType: 'xfs', volumeAttributes: { of: suffix } },
      ...more,
    },
  };
}

async function until<Result>(look: () => Promise<Result | undefined>): Promise<Result> {
  for (let tries = 0; tries < 100; tries += 1) {
    const found = await look();
    if (found !== undefined) return found;
    await setTimeout(200);
  }
  throw new Error('not within 20 s');
}

/** As a pod with this service account; what is wrong goes to standard error. */
function lookInPod(): Lookup {
  const config = JSON.parse(kubectl('config', 'view', '--raw', '--minify', '--flatten', '-o', 'json'));
  const { server, 'certificate-authority-data': ca } = config.clusters[0].cluster;
  const { hostname, port } = new URL(server);
  writeFileSync(join(directory, 'ca.crt'), Buffer.from(ca, 'base64'));
  rotateToken();
  return new ClusterLookup({
    optionsOf: (own) => own,
    log: createLogger('info', 'pretty'),
    environment: { KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port },
    serviceAccount: directory,
    limits: { listedMs: 0 },
  }).of(driver);
}

function rotateToken(): void {
  writeFileSync(join(directory, 'token'), kubectl('-n', 'default', 'create', 'token', name));
}

try {
  const byName = `${name}-a`;
  const account = { kind: 'ServiceAccount', name, namespace: 'default' };
  apply(
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: 'default', labels } },
    volume('a', byName, { claimRef: { namespace: 'default', name } }),
    volume('b', '//nas/b'),
    volume('c', `${name}-d`),
  );
  const lookup = lookInPod();
  assert.equal(await lookup.find(byName), undefined, 'without RBAC');

  const rbac = 'rbac.authorization.k8s.io';
  apply(
    {
      apiVersion: `${rbac}/v1`,
      kind: 'ClusterRole',
      metadata: { name, labels },
      rules: [
        { apiGroups: [''], resources: ['persistentvolumes'], verbs: ['get', 'list'] },
        { apiGroups: [''], resources: ['persistentvolumeclaims'], verbs: ['get'] },
      ],
    },
    {
      apiVersion: `${rbac}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name, labels },
      roleRef: { apiGroup: rbac, kind: 'ClusterRole', name },
      subjects: [account],
    },
  );
  const expected: LookedUp = { options: { of: 'a' }, fsType: 'xfs', capacityBytes: 1_500_000_000n };
  assert.deepEqual(await until(() => lookup.find(byName)), expected);
  assert.deepEqual((await lookup.find('//nas/b'))?.options, { of: 'b' });
  assert.deepEqual((await lookup.find(`${name}-d`))?.options, { of: 'c' });
  assert.equal(await lookup.find('nowhere'), undefined);
  console.log('found by name and by list');

  apply({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace: 'default', labels },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: '',
      volumeName: byName,
      resources: { requests: { storage: '1Gi' } },
    },
  });
  const bound = await until(async () => {
    const found = await lookup.find(byName);
    return found?.claimedBytes === undefined ? undefined : found;
  });
  assert.deepEqual(bound, { ...expected, claimedBytes: 1_500_000_000n });
  kubectl('patch', 'pv', byName, '-p', '{"spec":{"capacity":{"storage":"2Gi"}}}');
  const grown = await lookup.find(byName);
  assert.deepEqual(grown, { ...bound, capacityBytes: 2_147_483_648n });
  console.log('bound and grown: the new size of the volume, the old one of the claim');

  apply(...Array.from({ length: 1_100 }, (_, index) => volume(`page-${index}`, `handle/${index}`)));
  const began = performance.now();
  assert.deepEqual((await lookup.find('handle/1099'))?.options, { of: 'page-1099' });
  console.log(`found on one of three pages, in ${Math.round(performance.now() - began)} ms`);

  rotateToken();
  assert.notEqual(await lookup.find(byName), undefined);
  const admin = new ClusterLookup({ optionsOf: (own) => own, log: createLogger('info', 'pretty') }).of(
    driver,
  );
  assert.deepEqual(await admin.find(byName), grown);
  console.log('by a new token, and by the kubeconfig');

  kubectl('-n', 'default', 'delete', 'serviceaccount', name);
  assert.equal(
    await until(async () => ((await lookup.find(byName)) === undefined ? 'gone' : undefined)),
    'gone',
  );
  console.log('without an account: undefined');
} finally {
  for (const kind of ['pvc', 'pv', 'serviceaccount', 'clusterrolebinding', 'clusterrole']) {
    kubectl('delete', kind, '--all-namespaces', '-l', `app=${name}`, '--wait=false');
  }
  rmSync(directory, { recursive: true });
}
