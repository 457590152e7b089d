import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ApiServer } from '../../src/kube/api-server.ts';
import { connectionTo } from '../../src/kube/connection.ts';
import { volumeSchema } from '../../src/kube/objects.ts';
import { type ClusterPlace, findCluster } from '../../src/kube/place.ts';
import { ApiServerStandIn, persistentVolume } from '../support/api-server.ts';
import { Authority } from '../support/certificates.ts';
import { lacks } from '../support/requirements.ts';

const path = '/api/v1/persistentvolumes/pv-1';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'flexcsi-connection-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

/** The name of the volume that the API server at the place has. */
async function ask(place: ClusterPlace): Promise<string | undefined> {
  return (await new ApiServer(place, 10_000).get(path, volumeSchema))?.name;
}

function write(name: string, content: string | Buffer): string {
  const file = join(directory, name);
  writeFileSync(file, content);
  return file;
}

describe('where the cluster is', () => {
  const inPod = { KUBERNETES_SERVICE_HOST: '10.0.0.1', KUBERNETES_SERVICE_PORT: '443' };

  it('is what KUBECONFIG says, one file or several', async () => {
    const environment = { ...inPod, KUBECONFIG: '/a:/b::' };
    expect(await findCluster(environment, directory)).toEqual({ kubeconfig: ['/a', '/b'] });
  });

  it('is what Kubernetes says in a pod with a service account', async () => {
    expect(await findCluster(inPod, directory)).toBeUndefined();
    write('token', 'abc');
    const place = { server: 'https://10.0.0.1:443', serviceAccount: directory };
    expect(await findCluster(inPod, directory)).toEqual(place);
    expect(await findCluster({ ...inPod, KUBECONFIG: '' }, directory)).toEqual(place);
    const ipv6 = { ...inPod, KUBERNETES_SERVICE_HOST: 'fd00::1' };
    expect(await findCluster(ipv6, directory)).toMatchObject({ server: 'https://[fd00::1]:443' });
    expect(await findCluster({}, directory)).toBeUndefined();
  });
});

describe.skipIf(lacks('openssl'))('over TLS', () => {
  let certificates: string;
  let authority: Authority;
  let server: ApiServerStandIn;

  beforeAll(async () => {
    certificates = mkdtempSync(join(tmpdir(), 'flexcsi-certificates-'));
    authority = new Authority(certificates, 'cluster');
    const clients = { requestCert: true, rejectUnauthorized: false, ca: authority.ca };
    server = await ApiServerStandIn.start({ ...authority.sign('api', 'IP:127.0.0.1'), ...clients });
    server.volumes.set('pv-1', persistentVolume({ name: 'pv-1' }));
  });

  afterAll(async () => {
    await server.close();
    rmSync(certificates, { recursive: true });
  });

  beforeEach(() => {
    server.token = undefined;
    server.requests.length = 0;
  });

  const inPod = (): ClusterPlace => ({ server: server.url, serviceAccount: directory });

  it('a pod is let in by its token, the one that is there now', async () => {
    write('ca.crt', authority.ca);
    write('token', 'first\n');
    server.token = 'first';
    const api = new ApiServer(inPod(), 10_000);
    expect(await api.get(path, volumeSchema)).toMatchObject({ name: 'pv-1' });
    server.token = 'second';
    await expect(api.get(path, volumeSchema)).rejects.toMatchObject({ status: 401, message: 'Unauthorized' });
    write('token', 'second');
    expect(await api.get(path, volumeSchema)).toMatchObject({ name: 'pv-1' });
    expect(server.requests.map(({ token }) => token)).toEqual(['first', 'first', 'second']);
  });

  it('a server of another authority is not told the token; a new authority is taken at once', async () => {
    write('ca.crt', new Authority(certificates, 'another').ca);
    write('token', 'mine');
    const api = new ApiServer(inPod(), 10_000);
    await expect(api.get(path, volumeSchema)).rejects.toMatchObject({ status: undefined });
    expect(server.requests).toEqual([]);
    write('ca.crt', authority.ca);
    expect(await api.get(path, volumeSchema)).toMatchObject({ name: 'pv-1' });
  });

  it('a server by another name than its certificate says is refused, unless the kubeconfig names that', async () => {
    const stranger = await ApiServerStandIn.start(authority.sign('api', 'DNS:api.example.com'));
    stranger.volumes.set('pv-1', persistentVolume({ name: 'pv-1' }));
    const ca = authority.ca.toString('base64');
    const file = join(directory, 'config');
    const place = { kubeconfig: [file] };
    stranger.writeKubeconfig(file, { cluster: { 'certificate-authority-data': ca } });
    await expect(ask(place)).rejects.toMatchObject({ reason: 'ERR_TLS_CERT_ALTNAME_INVALID' });
    expect(stranger.requests).toEqual([]);
    const cluster = { 'certificate-authority-data': ca, 'tls-server-name': 'api.example.com' };
    stranger.writeKubeconfig(file, { cluster });
    expect(await ask(place)).toBe('pv-1');
    stranger.writeKubeconfig(file, { cluster: { 'insecure-skip-tls-verify': true } });
    expect(await ask(place)).toBe('pv-1');
    await stranger.close();
  });

  it('a kubeconfig may have a client certificate, in itself or in files beside it', async () => {
    const { cert, key } = authority.sign('me', 'DNS:me');
    const file = server.writeKubeconfig(join(directory, 'config'), {
      cluster: { 'certificate-authority-data': authority.ca.toString('base64') },
      user: {
        'client-certificate-data': cert.toString('base64'),
        'client-key-data': key.toString('base64'),
        'client-key': '/nonexistent',
      },
    });
    expect(await ask({ kubeconfig: [file] })).toBe('pv-1');
    mkdirSync(join(directory, 'beside'));
    write('beside/ca.crt', authority.ca);
    write('beside/me.crt', cert);
    write('beside/me.key', key);
    server.writeKubeconfig(file, {
      cluster: { 'certificate-authority': 'beside/ca.crt' },
      user: { 'client-certificate': 'beside/me.crt', 'client-key': join(directory, 'beside/me.key') },
    });
    expect(await ask({ kubeconfig: [file] })).toBe('pv-1');
    expect(server.requests.map(({ certificate }) => certificate)).toEqual(['me', 'me']);
  });
});

describe('a kubeconfig', () => {
  const good = {
    'current-context': 'here',
    contexts: [{ name: 'here', context: { cluster: 'one', user: 'me' } }],
    clusters: [{ name: 'one', cluster: { server: 'https://one.example.com:6443' } }],
    users: [{ name: 'me', user: { token: 'in-the-file' } }],
  };
  const config = (changes: object): string => write('config', JSON.stringify({ ...good, ...changes }));
  const read = (...files: string[]) => connectionTo({ kubeconfig: files });
  const user = (content: object): object => ({ users: [{ name: 'me', user: content }] });
  const cluster = (content: object): object => ({ clusters: [{ name: 'one', cluster: content }] });

  it('in YAML says where the server is and who we are', async () => {
    const file = write(
      'config',
      `apiVersion: v1
kind: Config
preferences: {}
current-context: b
contexts:
- {name: a, context: {cluster: wrong, user: wrong}}
- name: b
  context: {cluster: one, user: me, namespace: default}
clusters:
- {name: wrong, cluster: {server: "http://127.0.0.1:1"}}
- {name: one, cluster: {server: "https://one.example.com/prefix/"}}
users:
- name: wrong
  user: {exec: {command: get-token}}
- name: me
  user:
    token: secret
`,
    );
    const { server, ...rest } = await read(file);
    expect(server.href).toBe('https://one.example.com/prefix/');
    expect(rest).toEqual({ tls: {}, token: 'secret' });
  });

  it('may have no user, or one of whom it says nothing', async () => {
    const contexts = [{ name: 'here', context: { cluster: 'one' } }];
    expect(await read(config({ contexts, users: null }))).not.toHaveProperty('token');
    expect(await read(config({ users: [{ name: 'me' }] }))).not.toHaveProperty('token');
  });

  it('may name a file with the token, read each time', async () => {
    write('token', 'one\n');
    const file = config(user({ token: 'in-the-file', tokenFile: 'token' }));
    expect(await read(file)).toMatchObject({ token: 'one' });
    write('token', 'two');
    expect(await read(file)).toMatchObject({ token: 'two' });
  });

  it('may be several files: the first word counts, and some may be missing', async () => {
    const first = write('first', JSON.stringify({ 'current-context': 'here', contexts: good.contexts }));
    const second = config({ 'current-context': 'elsewhere' });
    const third = write('third', JSON.stringify({ ...good, ...user({ token: 'of-the-third' }) }));
    const found = await read(first, join(directory, 'missing'), second, third);
    expect(found).toMatchObject({ token: 'in-the-file' });
  });

  it('of a server behind a path has that before each request', async () => {
    const server = await ApiServerStandIn.start();
    for (const end of ['', '/']) {
      const file = server.writeKubeconfig(join(directory, 'config'), {
        cluster: { server: `${server.url}/k8s/clusters/c-1${end}` },
      });
      await ask({ kubeconfig: [file] });
    }
    expect(server.paths()).toEqual([`/k8s/clusters/c-1${path}`, `/k8s/clusters/c-1${path}`]);
    await server.close();
  });

  it.each([
    [{ 'current-context': '' }, 'it needs a current-context'],
    [{ contexts: [] }, 'there is no context here'],
    [{ clusters: null }, 'there is no cluster one'],
    [{ users: [{ name: 'other', user: {} }] }, 'there is no user me'],
    [cluster({ server: 'one.example.com' }), 'server must be a URL of http or https, not "one.example.com"'],
    [cluster({ server: 'https://x', 'proxy-url': 'http://p' }), 'cluster one: proxy-url is not supported'],
    [
      user({ exec: { command: 'aws' } }),
      'user me: exec is not supported; use a token, a tokenFile or a client certificate',
    ],
    [
      user({ 'auth-provider': { name: 'oidc' } }),
      'user me: auth-provider is not supported; use a token, a tokenFile or a client certificate',
    ],
    [
      user({ username: 'a', password: 'secret' }),
      'user me: username is not supported; use a token, a tokenFile or a client certificate',
    ],
    [user({ token: 5 }), 'users.0.user.token: Invalid input: expected string, received number'],
  ])('that cannot be used is refused: %j', async (changes, problem) => {
    const file = config(changes);
    await expect(read(file)).rejects.toMatchObject({
      kind: 'precondition',
      message: `KUBECONFIG ${file}: ${problem}`,
    });
  });

  it('that is missing, empty or no YAML is refused, without a word of what is in it', async () => {
    const missing = join(directory, 'missing');
    await expect(read(missing)).rejects.toThrow(`KUBECONFIG ${missing}: ENOENT`);
    const empty = write('empty', '');
    await expect(read(empty)).rejects.toThrow(`KUBECONFIG ${empty}: Invalid input: expected object`);
    const broken = write('broken', 'users:\n- name: me\n  user: {token: "very-secret}\n');
    const problem = await read(broken).catch(String);
    expect(problem).toContain(`KUBECONFIG ${broken}: `);
    expect(problem).not.toMatch(/very-secret|\n/);
  });
});
