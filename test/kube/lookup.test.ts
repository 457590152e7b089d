import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ClusterLookup, type LookupSettings } from '../../src/kube/lookup.ts';
import type { Logger } from '../../src/log.ts';
import { ApiServerStandIn, claim, persistentVolume } from '../support/api-server.ts';

const driver = 'loop.flexcsi';
const claimRef = { namespace: 'default', name: 'data', uid: 'uid-1' };

let directory: string;
let server: ApiServerStandIn;
let told: string[];
let log: Logger;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'flexcsi-lookup-'));
  server = await ApiServerStandIn.start();
  told = [];
  log = pino(
    { level: 'info', base: null, timestamp: false },
    {
      write: (line: string) => {
        const { level, msg, problem } = JSON.parse(line);
        told.push([pino.levels.labels[level], msg, ...(problem === undefined ? [] : [problem])].join(' | '));
      },
    },
  );
});

afterEach(async () => {
  await server.close();
  rmSync(directory, { recursive: true });
});

/** Of this test's API server, by a kubeconfig. */
function look(settings: Partial<LookupSettings> = {}): ClusterLookup {
  const KUBECONFIG = server.writeKubeconfig(join(directory, 'kubeconfig-here'));
  return new ClusterLookup({ optionsOf: (own) => own, log, environment: { KUBECONFIG }, ...settings });
}

function put(wish: Parameters<typeof persistentVolume>[0]): void {
  server.volumes.set(wish.name, persistentVolume(wish));
}

describe('a volume', () => {
  it('is found by its name, with its options, file system, capacity and what its claim has', async () => {
    put({ name: 'pv-1', attributes: { share: '//nas/a' }, fsType: 'xfs', capacity: '2Gi', claim: claimRef });
    server.claims.set('default/data', claim('uid-1', '1536Mi'));
    expect(await look().of(driver).find('pv-1')).toEqual({
      options: { share: '//nas/a' },
      fsType: 'xfs',
      capacityBytes: 2_147_483_648n,
      claimedBytes: 1_610_612_736n,
    });
    expect(server.paths()).toEqual([
      '/api/v1/persistentvolumes/pv-1',
      '/api/v1/namespaces/default/persistentvolumeclaims/data',
    ]);
    expect(told).toEqual([]);
  });

  it('may have neither attributes, a file system nor a claim', async () => {
    put({ name: 'pv-1' });
    const found = await look().of(driver).find('pv-1');
    expect(found).toEqual({ options: {}, fsType: '', capacityBytes: 1_073_741_824n });
  });

  it('has the options that its attributes are turned into, every key of them', async () => {
    const attributes = JSON.parse(
      '{"__proto__":"a","constructor":"b","storage.kubernetes.io/csiProvisionerIdentity":"c"}',
    );
    put({ name: 'pv-1', attributes });
    const optionsOf = (own: Readonly<Record<string, string>>) =>
      Object.fromEntries(Object.entries(own).filter(([key]) => !key.includes('/')));
    const found = await look({ optionsOf }).of(driver).find('pv-1');
    expect(JSON.stringify(found?.options)).toBe('{"__proto__":"a","constructor":"b"}');
  });

  it.each([
    ['of no claim', undefined, undefined],
    ['of an administrator, not bound yet', { namespace: 'default', name: 'data' }, claim('uid-1', '1Gi')],
    ['whose claim is gone', claimRef, undefined],
    ['whose claim was made anew', claimRef, claim('uid-2', '1Gi')],
    ['whose claim has no capacity yet', claimRef, claim('uid-1')],
    ['whose claim says nonsense', claimRef, claim('uid-1', 'large')],
  ])('%s has no claimed size', async (_what, reference, object) => {
    put({ name: 'pv-1', ...(reference === undefined ? {} : { claim: reference }) });
    if (object !== undefined) server.claims.set('default/data', object);
    const found = await look().of(driver).find('pv-1');
    expect(found).toEqual({ options: {}, fsType: '', capacityBytes: 1_073_741_824n });
    expect(server.paths()).toHaveLength(reference === claimRef ? 2 : 1);
    expect(told).toEqual([]);
  });

  it('has the size of now, each time', async () => {
    put({ name: 'pv-1', claim: claimRef });
    server.claims.set('default/data', claim('uid-1', '1Gi'));
    const lookup = look().of(driver);
    await lookup.find('pv-1');
    put({ name: 'pv-1', claim: claimRef, capacity: '2Gi' });
    server.claims.set('default/data', claim('uid-1', '2Gi'));
    const found = await lookup.find('pv-1');
    expect(found).toMatchObject({ capacityBytes: 2_147_483_648n, claimedBytes: 2_147_483_648n });
  });

  it('without a size that could be one has none', async () => {
    put({ name: 'pv-1', capacity: '-1Gi' });
    expect(await look().of(driver).find('pv-1')).toEqual({ options: {}, fsType: '' });
  });
});

describe('a volume that is not named by its handle', () => {
  it('is found in the list, on whichever page, and without a list from then on', async () => {
    server.largestPage = 2;
    for (const name of ['a', 'b', 'c', 'd', 'e']) put({ name, handle: `handle-of-${name}` });
    const lookup = look().of(driver);
    expect(await lookup.find('handle-of-e')).toMatchObject({ capacityBytes: 1_073_741_824n });
    expect(server.paths()).toEqual([
      '/api/v1/persistentvolumes/handle-of-e',
      '/api/v1/persistentvolumes?limit=500',
      '/api/v1/persistentvolumes?limit=500&continue=2',
      '/api/v1/persistentvolumes?limit=500&continue=4',
      '/api/v1/persistentvolumes/e',
    ]);
    await lookup.find('handle-of-e');
    expect(server.paths()).toEqual(['/api/v1/persistentvolumes/e']);
  });

  it.each(['//nas/share', 'a/status', '../nodes', 'Upper', 'a b', 'ü', '', 'x'.repeat(254)])(
    'is not asked for by a handle that is no name: %j',
    async (handle) => {
      put({ name: 'pv-1', handle });
      expect(await look().of(driver).find(handle)).toBeDefined();
      expect(server.paths()).toEqual([
        '/api/v1/persistentvolumes?limit=500',
        '/api/v1/persistentvolumes/pv-1',
      ]);
    },
  );

  it.each([
    ['of another driver', { name: 'pv-1', driver: 'nfs.flexcsi' }],
    ['with another handle', { name: 'pv-1', handle: 'other' }],
  ])('is told from one of its name %s', async (_what, wish) => {
    put(wish);
    put({ name: 'right', handle: 'pv-1', attributes: { it: 'is me' } });
    expect(await look().of(driver).find('pv-1')).toMatchObject({ options: { it: 'is me' } });
  });

  it('is told from a FlexVolume of its name', async () => {
    const flexVolume = { driver: 'flexcsi/loop', options: { it: 'was me' } };
    server.volumes.set('pv-1', {
      metadata: { name: 'pv-1' },
      spec: { capacity: { storage: '1Gi' }, flexVolume },
    });
    expect(await look().of(driver).find('pv-1')).toBeUndefined();
  });

  it('may have several PersistentVolumes, of which the bound one counts', async () => {
    put({ name: 'a', handle: 'h', phase: 'Released', attributes: { is: 'old' } });
    put({ name: 'b', handle: 'h', attributes: { is: 'bound' } });
    put({ name: 'c', handle: 'h', phase: 'Available', attributes: { is: 'new' } });
    expect(await look().of(driver).find('h')).toMatchObject({ options: { is: 'bound' } });
  });

  it('is not guessed at: several are as good as none, and that is said once', async () => {
    put({ name: 'a', handle: 'h' });
    put({ name: 'b', handle: 'h' });
    const lookup = look().of(driver);
    expect(await lookup.find('h')).toBeUndefined();
    expect(await lookup.find('h')).toBeUndefined();
    expect(told).toEqual([
      'warn | several PersistentVolumes have this handle, and not exactly one of them is bound: none is looked at',
    ]);
  });

  it('that moves to another name is found there', async () => {
    put({ name: 'a', handle: 'h', attributes: { is: 'a' } });
    const lookup = look({ limits: { listedMs: 0 } }).of(driver);
    await lookup.find('h');
    server.volumes.clear();
    put({ name: 'b', handle: 'h', attributes: { is: 'b' } });
    expect(await lookup.find('h')).toMatchObject({ options: { is: 'b' } });
  });
});

describe('a volume that is not there', () => {
  it('is not looked for where it once was', async () => {
    put({ name: 'a', handle: 'h' });
    const lookup = look().of(driver);
    await lookup.find('h');
    server.volumes.clear();
    expect(await lookup.find('h')).toBeUndefined();
    server.paths();
    expect(await lookup.find('h')).toBeUndefined();
    expect(server.paths()[0]).toBe('/api/v1/persistentvolumes/h');
  });

  it('is not looked for in a new list each time', async () => {
    put({ name: 'other' });
    const cluster = look();
    expect(await cluster.of(driver).find('pv-1')).toBeUndefined();
    expect(await cluster.of(driver).find('pv-2')).toBeUndefined();
    expect(await cluster.of('nfs.flexcsi').find('pv-3')).toBeUndefined();
    expect(server.paths()).toEqual([
      '/api/v1/persistentvolumes/pv-1',
      '/api/v1/persistentvolumes?limit=500',
      '/api/v1/persistentvolumes/pv-2',
      '/api/v1/persistentvolumes/pv-3',
    ]);
    expect(told).toEqual([]);
  });

  it('is looked for again when the list is old', async () => {
    const lookup = look({ limits: { listedMs: 0 } }).of(driver);
    expect(await lookup.find('h')).toBeUndefined();
    put({ name: 'pv-1', handle: 'h' });
    expect(await lookup.find('h')).toBeDefined();
  });
});

describe('finds at the same time', () => {
  it('of one volume share the requests', async () => {
    put({ name: 'pv-1', claim: claimRef });
    const cluster = look();
    let open = (): void => {};
    server.gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const finds = Array.from({ length: 20 }, () => cluster.of(driver).find('pv-1'));
    open();
    for (const find of finds) expect(await find).toMatchObject({ capacityBytes: 1_073_741_824n });
    expect(server.paths()).toHaveLength(2);
    await cluster.of(driver).find('pv-1');
    expect(server.paths()).toHaveLength(2);
  });

  it('of several volumes share the list', async () => {
    for (const name of ['a', 'b', 'c']) put({ name, handle: `handle-of-${name}` });
    const lookup = look().of(driver);
    const found = await Promise.all(['a', 'b', 'c', 'd'].map((name) => lookup.find(`handle-of-${name}`)));
    expect(found.map((volume) => volume !== undefined)).toEqual([true, true, true, false]);
    expect(server.paths().filter((path) => path.includes('limit'))).toHaveLength(1);
  });
});

describe('an API server that does not tell', () => {
  const because = 'only what is on record here, and what the driver says, is known of volumes meanwhile';
  const role =
    'the ClusterRole of flexcsi must allow get and list of persistentvolumes, and get of persistentvolumeclaims';

  it('for lack of RBAC is no error: what lacks is said once, and when it is there', async () => {
    put({ name: 'pv-1' });
    const lookup = look().of(driver);
    server.fault = () => 403;
    expect(await lookup.find('pv-1')).toBeUndefined();
    expect(await lookup.find('pv-2')).toBeUndefined();
    expect(server.paths()).toHaveLength(2);
    expect(told.splice(0)).toEqual([
      `warn | the Kubernetes API: cannot get persistentvolumes: ${role} | /api/v1/persistentvolumes/pv-1 is refused by the test with 403`,
    ]);
    server.fault = () => undefined;
    expect(await lookup.find('pv-1')).toBeDefined();
    expect(await lookup.find('pv-1')).toBeDefined();
    expect(told).toEqual(['info | the Kubernetes API: can get persistentvolumes again']);
  });

  it('what lacks may be the list, or the claim: then the volume is known without its claim', async () => {
    put({ name: 'pv-1', handle: 'h', claim: claimRef });
    put({ name: 'pv-2', claim: claimRef });
    const lookup = look().of(driver);
    server.fault = (path) => (/limit|claims/.test(path) ? 403 : undefined);
    for (let times = 0; times < 2; times += 1) {
      expect(await lookup.find('h')).toBeUndefined();
      expect(await lookup.find('pv-2')).toEqual({ options: {}, fsType: '', capacityBytes: 1_073_741_824n });
    }
    expect(told.map((line) => line.replace(/ \| \/.*/, ''))).toEqual([
      `warn | the Kubernetes API: cannot list persistentvolumes: ${role}`,
      `warn | the Kubernetes API: cannot get persistentvolumeclaims: ${role}`,
    ]);
  });

  it.each([
    [500, 'is refused by the test with 500'],
    [429, 'is refused by the test with 429'],
    ['nonsense', 'the answer for /api/v1/persistentvolumes/pv-1 is not what was asked for'],
  ] as const)('but answers %s is no error', async (fault, problem) => {
    put({ name: 'pv-1' });
    server.fault = () => fault;
    const lookup = look().of(driver);
    expect(await lookup.find('pv-1')).toBeUndefined();
    expect(await lookup.find('pv-1')).toBeUndefined();
    expect(told).toHaveLength(1);
    expect(told[0]).toContain(`warn | the Kubernetes API: cannot get persistentvolumes: ${because}`);
    expect(told[0]).toContain(problem);
    server.fault = () => undefined;
    expect(await lookup.find('pv-1')).toBeDefined();
  });

  it('says another reason as well', async () => {
    const lookup = look().of(driver);
    for (const fault of [500, 500, 403, 403, 500] as const) {
      server.fault = () => fault;
      await lookup.find('pv-1');
    }
    expect(told.map((line) => /with (\d+)/.exec(line)?.[1])).toEqual(['500', '403', '500']);
  });

  it('takes a 404 only from an API server for an answer', async () => {
    server.fault = () => 404;
    const lookup = look().of(driver);
    expect(await lookup.find('pv-1')).toBeUndefined();
    expect(told).toHaveLength(1);
  });

  it.each(['silence', 'cut short'] as const)('is left alone for a while after %s', async (fault) => {
    put({ name: 'pv-1' });
    put({ name: 'pv-2' });
    server.fault = () => fault;
    const lookup = look({ limits: { timeoutMs: 200, pauseMs: 3_600_000 } }).of(driver);
    expect(await lookup.find('pv-1')).toBeUndefined();
    server.fault = () => undefined;
    expect(await lookup.find('pv-2')).toBeUndefined();
    expect(server.paths()).toEqual(['/api/v1/persistentvolumes/pv-1']);
    expect(told).toEqual([
      `warn | the Kubernetes API: cannot get persistentvolumes: ${because} | ${fault === 'silence' ? 'no answer within 200 ms' : 'aborted'}`,
    ]);
  });

  it('is asked again after that while', async () => {
    put({ name: 'pv-1' });
    server.fault = () => 'silence';
    const lookup = look({ limits: { timeoutMs: 200, pauseMs: 0 } }).of(driver);
    expect(await lookup.find('pv-1')).toBeUndefined();
    server.fault = () => undefined;
    expect(await lookup.find('pv-1')).toBeDefined();
    expect(told.at(-1)).toBe('info | the Kubernetes API: can get persistentvolumes again');
  });

  it('in the middle of a list tells nothing of it', async () => {
    server.largestPage = 1;
    put({ name: 'a', handle: 'handle-of-a' });
    put({ name: 'b', handle: 'handle-of-b' });
    const lookup = look().of(driver);
    server.fault = (path) => (path.includes('continue') ? 500 : undefined);
    expect(await lookup.find('handle-of-a')).toBeUndefined();
    server.fault = () => undefined;
    expect(await lookup.find('handle-of-a')).toBeDefined();
  });

  it('is not there at all', async () => {
    const gone = await ApiServerStandIn.start();
    const KUBECONFIG = gone.writeKubeconfig(join(directory, 'kubeconfig'));
    const { port } = gone;
    await gone.close();
    const lookup = look({ environment: { KUBECONFIG } }).of(driver);
    expect(await lookup.find('pv-1')).toBeUndefined();
    expect(told).toEqual([
      `warn | the Kubernetes API: cannot get persistentvolumes: ${because} | connect ECONNREFUSED 127.0.0.1:${port}`,
    ]);
  });
});

describe('without a cluster', () => {
  it('nothing is found, and nothing said', async () => {
    for (const environment of [
      {},
      { KUBECONFIG: '' },
      { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(server.port) },
    ]) {
      const lookup = look({ environment, serviceAccount: join(directory, 'none') }).of(driver);
      expect(await lookup.find('pv-1')).toBeUndefined();
    }
    expect(server.paths()).toEqual([]);
    expect(told).toEqual([]);
  });

  it('nothing of what asks is loaded', () => {
    const loaded = filesLoadedBy({ HOME: directory });
    expect(loaded).toEqual(['src/kube/lookup.ts', 'src/kube/place.ts']);
  });

  it('nor with one, before something is looked up', () => {
    const KUBECONFIG = server.writeKubeconfig(join(directory, 'kubeconfig'));
    expect(filesLoadedBy({ KUBECONFIG }, false)).toEqual(['src/kube/lookup.ts', 'src/kube/place.ts']);
    expect(filesLoadedBy({ KUBECONFIG: '/nonexistent' })).toContain('src/kube/persistent-volumes.ts');
  });
});

/** The project's files, and built-in network modules, that a process loads that has the look-up and (if so) finds. */
function filesLoadedBy(environment: Record<string, string>, finds = true): string[] {
  const root = join(import.meta.dirname, '..', '..');
  const script = `
    import { registerHooks } from 'node:module';
    const loaded = [];
    registerHooks({ load: (url, context, next) => { loaded.push(url); return next(url, context); } });
    const { ClusterLookup } = await import(${JSON.stringify(join(root, 'src/kube/lookup.ts'))});
    const log = { debug() {}, info() {}, warn() {} };
    const lookup = new ClusterLookup({ optionsOf: (own) => own, log }).of('loop.flexcsi');
    if (${finds}) await lookup.find('pv-1');
    console.log(JSON.stringify(loaded));`;
  const output = execFileSync(process.execPath, ['--input-type=module', '--eval', script], {
    env: environment,
    encoding: 'utf8',
  });
  const urls: string[] = JSON.parse(output);
  return urls
    .filter((url) => url.startsWith('file:') || /^node:(https?|net|tls)$/.test(url))
    .map((url) => url.replace(`file://${root}/`, ''));
}
