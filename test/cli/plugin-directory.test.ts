/** Kubelet over several drivers of a plugin directory at once, while drivers come, change, break and go. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { serve } from '../../src/cli/serve.ts';
import type { Serving } from '../../src/cli/serving.ts';
import type { ServeOptions } from '../../src/cli/settings.ts';
import { silentLogger } from '../../src/log.ts';
import { CsiClient } from '../support/csi-client.ts';
import { usualOptions } from '../support/plugin.ts';
import { PluginWatcher } from '../support/plugin-watcher.ts';
import { lacks } from '../support/requirements.ts';
import {
  attachFalse,
  failureOf,
  isMounted,
  mountCapability,
  mountsBelow,
  mountsTmpfs,
  success,
  unmounts,
} from '../support/scenario.ts';
import { answer, ScriptedDriver } from '../support/scripted-driver.ts';

const soon = { timeout: 30_000 };
const notSupported = { prints: answer('Not supported'), exit: 1 };

let directory: string;
let drivers: string;
let kubelet: string;
let watcher: PluginWatcher;
let serving: Serving | undefined;
const clients: CsiClient[] = [];

beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'flexcsi-directory-')));
  drivers = join(directory, 'drivers');
  kubelet = join(directory, 'kubelet');
  for (const path of [drivers, join(kubelet, 'plugins'), join(kubelet, 'plugins_registry')]) {
    mkdirSync(path, { recursive: true });
  }
  watcher = new PluginWatcher(join(kubelet, 'plugins_registry'));
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await serving?.stop();
  serving = undefined;
  await watcher.close();
  for (const mountPoint of mountsBelow(directory)) execFileSync('umount', [mountPoint]);
  rmSync(directory, { recursive: true });
});

async function start(options: Partial<ServeOptions> = {}): Promise<Serving> {
  serving = await serve(
    {
      ...usualOptions,
      pluginDir: drivers,
      stateDir: join(directory, 'state'),
      kubeletDir: kubelet,
      ...options,
    },
    { log: silentLogger(), lookEveryMs: 100, goneMs: 500 },
  );
  return serving;
}

/** A driver that mounts a tmpfs, installed aside and renamed. */
function install(name: string, init = attachFalse): ScriptedDriver {
  const driver = ScriptedDriver.install(drivers, name);
  for (const [verb, what] of Object.entries({ init, mount: mountsTmpfs, unmount: unmounts })) {
    driver.script(verb, what);
  }
  return driver;
}

/** A driver that attaches, and mounts a tmpfs for the device. */
function installStaged(name: string): ScriptedDriver {
  const driver = install(name, answer('Success', { capabilities: { attach: true } }));
  driver.script('attach', answer('Success', { device: '/dev/shelf' }));
  driver.script('waitforattach', answer('Success', { device: '/dev/shelf' }));
  driver.script('mountdevice', mountsTmpfs);
  driver.script('unmountdevice', unmounts);
  driver.script('detach', success);
  driver.script('mount', notSupported);
  driver.script('unmount', notSupported);
  return driver;
}

/** Attach and stage, as Kubernetes does before the first pod. */
async function stage(client: CsiClient, volume: string): Promise<string> {
  const staging_target_path = join(kubelet, 'plugins/kubernetes.io/csi', volume, 'globalmount');
  mkdirSync(staging_target_path, { recursive: true });
  const request = { volume_id: volume, volume_capability: mountCapability };
  const { publish_context } = await client.controller('ControllerPublishVolume', {
    ...request,
    node_id: 'node-1',
  });
  await client.node('NodeStageVolume', { ...request, publish_context, staging_target_path });
  expect(isMounted(staging_target_path)).toBe(true);
  return staging_target_path;
}

async function registered(...names: string[]): Promise<void> {
  await vi.waitFor(() => expect([...watcher.registered.keys()].sort()).toEqual(names.sort()), soon);
}

/** A client of the socket that kubelet was told of. */
function clientOf(name: string): CsiClient {
  const client = new CsiClient(watcher.registered.get(name)?.endpoint ?? '');
  clients.push(client);
  return client;
}

function target(volume: string): string {
  const path = join(kubelet, 'pods/pod-1/volumes/kubernetes.io~csi', volume, 'mount');
  mkdirSync(dirname(path), { recursive: true });
  return path;
}

async function publish(client: CsiClient, volume: string, staging_target_path = ''): Promise<string> {
  const target_path = target(volume);
  const request = { volume_id: volume, target_path, staging_target_path };
  await client.node('NodePublishVolume', { ...request, volume_capability: mountCapability });
  expect(isMounted(target_path)).toBe(true);
  return target_path;
}

async function unpublish(client: CsiClient, volume: string): Promise<void> {
  await client.node('NodeUnpublishVolume', { volume_id: volume, target_path: target(volume) });
  expect(existsSync(target(volume))).toBe(false);
}

const statusOf = (driver: string) => serving?.drivers().find((one) => one.driver === driver);

describe.skipIf(lacks('mounts'))('a plugin directory', () => {
  it('serves each driver under its own name, socket, records and registration', async () => {
    install('example.com/one');
    install('example.com/two');
    install('plain');
    await start();
    await registered('one.example.com', 'two.example.com', 'plain.flexvolume');
    expect(watcher.registered.get('one.example.com')).toMatchObject({
      endpoint: join(kubelet, 'plugins/one.example.com/csi.sock'),
      nodeId: 'node-1',
    });
    const [one, two] = [clientOf('one.example.com'), clientOf('two.example.com')];
    await Promise.all([publish(one, 'a'), publish(two, 'b')]);
    expect(readdirSync(join(directory, 'state')).sort()).toEqual([
      'one.example.com',
      'plain.flexvolume',
      'two.example.com',
    ]);
    expect(readdirSync(join(directory, 'state/one.example.com/volumes'))).toHaveLength(1);
    expect(serving?.drivers()).toEqual(
      ['example.com/one', 'example.com/two', 'plain'].map((driver) => ({
        driver,
        name: expect.any(String),
        serving: true,
        registration: 'registered',
      })),
    );
    await Promise.all([unpublish(one, 'a'), unpublish(two, 'b')]);
    await serving?.stop();
    serving = undefined;
    await registered();
    expect(readdirSync(join(kubelet, 'plugins/one.example.com'))).toEqual([]);
  });

  it('goes on with the others while one is replaced, one breaks and one comes', async () => {
    const stays = installStaged('example.com/stays');
    const changes = install('example.com/changes');
    const breaks = install('example.com/breaks');
    await start();
    await registered('stays.example.com', 'changes.example.com', 'breaks.example.com');
    const [a, b, c] = ['stays', 'changes', 'breaks'].map((name) => clientOf(`${name}.example.com`));
    if (a === undefined || b === undefined || c === undefined) throw new Error('no client');
    const staged = await stage(a, 'a');
    await Promise.all([publish(a, 'a', staged), publish(b, 'b'), publish(c, 'c')]);
    stays.forget();

    // Aside and renamed, with other capabilities.
    const aside = join(drivers, '.changes');
    execFileSync('cp', ['-a', dirname(changes.file), aside]);
    renameSync(dirname(changes.file), join(drivers, '.old'));
    renameSync(aside, dirname(changes.file));
    changes.script('init', answer('Success', { capabilities: { attach: false, supportsMetrics: false } }));
    breaks.script('init', { prints: answer('Failure', { message: 'no licence' }), exit: 1 });
    writeFileSync(breaks.file, `${readFileSync(breaks.file, 'utf8')}\n# changed\n`);
    install('example.com/comes');
    await registered('stays.example.com', 'changes.example.com', 'breaks.example.com', 'comes.example.com');
    await vi.waitFor(() => {
      expect(statusOf('example.com/breaks')).toMatchObject({
        serving: true,
        problem: expect.stringContaining('no licence'),
      });
    }, soon);
    await vi.waitFor(async () => {
      const { capabilities } = await b.node('NodeGetCapabilities', {});
      expect(JSON.stringify(capabilities)).not.toContain('GET_VOLUME_STATS');
    }, soon);
    expect(statusOf('example.com/stays')).not.toHaveProperty('problem');
    // init of one is no reason for init of another.
    expect(stays.verbs()).toEqual([]);

    // What was mounted before is unmounted, by the broken one's old self, too.
    await Promise.all([unpublish(a, 'a'), unpublish(b, 'b'), unpublish(c, 'c')]);
    await a.node('NodeUnstageVolume', { volume_id: 'a', staging_target_path: staged });
    await a.controller('ControllerUnpublishVolume', { volume_id: 'a', node_id: 'node-1' });
    expect(isMounted(staged)).toBe(false);
    await publish(clientOf('comes.example.com'), 'd');
    await unpublish(clientOf('comes.example.com'), 'd');
  });

  it('serves a driver that is gone for as long as volumes of it are in use', async () => {
    const goes = install('example.com/goes');
    install('example.com/stays');
    await start();
    await registered('goes.example.com', 'stays.example.com');
    const client = clientOf('goes.example.com');
    await publish(client, 'a');
    const path = dirname(goes.file);
    renameSync(path, join(directory, 'away'));
    const moved = goes.file;
    rmSync(join(directory, 'away'), { recursive: true });
    expect(existsSync(moved)).toBe(false);
    await vi.waitFor(() => {
      expect(statusOf('example.com/goes')?.problem).toMatch(/goes\/?.*was removed: install it there again/);
    }, soon);
    // Unmounting is the driver's business: it is not guessed what else that has to undo.
    const request = { volume_id: 'a', target_path: target('a') };
    expect(await failureOf(client.node('NodeUnpublishVolume', request))).toMatch(
      /^INTERNAL: driver example.com\/goes: unmount was not started: .* does not exist: install it there/,
    );
    expect(isMounted(target('a'))).toBe(true);
    // What needs no call is done.
    await client.node('NodeUnpublishVolume', { volume_id: 'x', target_path: target('x') });
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(watcher.registered.has('goes.example.com')).toBe(true);

    install('example.com/goes');
    await vi.waitFor(() => unpublish(client, 'a'), soon);
    await vi.waitFor(() => expect(statusOf('example.com/goes')).not.toHaveProperty('problem'), soon);
    rmSync(dirname(goes.file), { recursive: true });
    await registered('stays.example.com');
    await vi.waitFor(() => expect(statusOf('example.com/goes')).toBeUndefined(), soon);
  });

  it('serves a driver with volumes in use after a restart, too, when it is gone or its init fails', async () => {
    const goes = install('example.com/goes');
    const breaks = install('example.com/breaks');
    await start();
    await registered('goes.example.com', 'breaks.example.com');
    await publish(clientOf('goes.example.com'), 'a');
    await publish(clientOf('breaks.example.com'), 'b');
    await serving?.stop();
    rmSync(dirname(goes.file), { recursive: true });
    breaks.script('init', { prints: answer('Failure', { message: 'no licence' }), exit: 1 });
    await start();
    await registered('goes.example.com', 'breaks.example.com');
    const [gone, broken] = [clientOf('goes.example.com'), clientOf('breaks.example.com')];
    const { capabilities } = await gone.node('NodeGetCapabilities', {});
    expect(JSON.stringify(capabilities)).toContain('VOLUME_MOUNT_GROUP');
    await vi.waitFor(() => {
      expect(statusOf('example.com/goes')).toMatchObject({
        serving: true,
        problem: expect.stringMatching(/goes was removed: install it there again/),
      });
      expect(statusOf('example.com/breaks')).toMatchObject({
        serving: true,
        problem: expect.stringContaining('no licence'),
      });
    }, soon);

    // Nothing new, but what is there can go.
    const request = { volume_id: 'c', volume_capability: mountCapability, target_path: target('c') };
    expect(await failureOf(broken.node('NodePublishVolume', request))).toMatch(/no licence/);
    await unpublish(broken, 'b');
    expect(
      await failureOf(gone.node('NodeUnpublishVolume', { volume_id: 'a', target_path: target('a') })),
    ).toMatch(/^INTERNAL: driver example.com\/goes: unmount was not started: .* install it there/);
    install('example.com/goes');
    await vi.waitFor(() => unpublish(gone, 'a'), soon);
    await vi.waitFor(() => expect(statusOf('example.com/goes')).not.toHaveProperty('problem'), soon);

    // Without volumes both are as any other driver.
    await serving?.stop();
    rmSync(dirname(goes.file), { recursive: true });
    await start();
    await vi.waitFor(() => expect(statusOf('example.com/breaks')?.problem).toContain('no licence'), soon);
    expect(serving?.drivers().map(({ driver, serving: is }) => [driver, is])).toEqual([
      ['example.com/breaks', false],
    ]);
    await registered();
  });

  it('serves only those that are listed, and others until their last volume is gone', async () => {
    const config = join(directory, 'config.yaml');
    writeFileSync(config, 'drivers:\n  example.com/c:\n    name: old.example.com\n');
    for (const name of ['a', 'b', 'c']) install(`example.com/${name}`);
    const unlisted = install('example.com/d');
    const only = ['example.com/a', 'example.com/b', 'example.com/c', 'example.com/missing'];
    await start({ only, config });
    await registered('a.example.com', 'b.example.com', 'old.example.com');
    expect(statusOf('example.com/missing')?.problem).toMatch(
      /missing is not there: install it, or take it out of --only$/,
    );
    await publish(clientOf('b.example.com'), 'b');
    await publish(clientOf('old.example.com'), 'c');
    expect(unlisted.verbs()).toEqual([]);

    await serving?.stop();
    await start({ only: ['example.com/a', 'example.com/c'] });
    await registered('a.example.com', 'b.example.com', 'c.example.com', 'old.example.com');
    await vi.waitFor(() => {
      const problems = serving?.drivers().flatMap(({ problem = [] }) => problem);
      expect(problems).toEqual([
        expect.stringMatching(/^driver example.com\/b is not to be served as b.example.com any more/),
        expect.stringMatching(/^driver example.com\/c is not to be served as old.example.com any more/),
      ]);
    }, soon);
    await unpublish(clientOf('b.example.com'), 'b');
    await registered('a.example.com', 'c.example.com', 'old.example.com');
    await unpublish(clientOf('old.example.com'), 'c');
    await registered('a.example.com', 'c.example.com');
    await vi.waitFor(() => {
      expect(serving?.drivers().map(({ driver }) => driver)).toEqual(['example.com/a', 'example.com/c']);
    }, soon);
    expect(unlisted.verbs()).toEqual([]);
  });

  it('hands the volumes of a driver over to the one that has its CSI name after a restart', async () => {
    const old = install('example.com/old');
    await start();
    await registered('old.example.com');
    await publish(clientOf('old.example.com'), 'a');
    await serving?.stop();
    renameSync(dirname(old.file), join(drivers, 'example.com~new'));
    renameSync(join(drivers, 'example.com~new/old'), join(drivers, 'example.com~new/new'));
    const config = join(directory, 'config.yaml');
    writeFileSync(config, 'drivers:\n  example.com/new:\n    name: old.example.com\n');
    await start({ config });
    await registered('old.example.com');
    await unpublish(clientOf('old.example.com'), 'a');
    expect(serving?.drivers()).toEqual([
      { driver: 'example.com/new', name: 'old.example.com', serving: true, registration: 'registered' },
    ]);
  });

  it('ignores what is no driver, and serves one when it is complete', async () => {
    mkdirSync(join(drivers, '.example.com~hidden'));
    mkdirSync(join(drivers, 'example.com~late'));
    writeFileSync(join(drivers, 'README'), 'text');
    mkdirSync(join(drivers, 'example.com~under_score'));
    writeFileSync(
      join(drivers, 'example.com~under_score/under_score'),
      '#!/bin/sh\necho \'{"status":"Success"}\'\n',
    );
    chmodSync(join(drivers, 'example.com~under_score/under_score'), 0o755);
    install('example.com/good');
    await start();
    await registered('good.example.com');
    await vi.waitFor(() => {
      expect(statusOf('example.com/late')?.problem).toMatch(
        /late\/?late does not exist: install it there|does not exist/,
      );
      expect(statusOf('example.com/under_score')?.problem).toMatch(
        /its CSI name would be "under_score.example.com", which is no DNS name .*drivers: example.com\/under_score: name/,
      );
    }, soon);
    expect(serving?.drivers().map(({ driver }) => driver)).toEqual([
      'example.com/good',
      'example.com/late',
      'example.com/under_score',
    ]);
    rmSync(join(drivers, 'example.com~late'), { recursive: true });
    install('example.com/late');
    await registered('good.example.com', 'late.example.com');
  });

  it('keeps an init that hangs from nobody but its own driver', async () => {
    const hangs = install('example.com/hangs');
    hangs.script('init', { sleepMs: 600_000 });
    install('example.com/good');
    await start({ driverTimeout: 20_000 });
    await registered('good.example.com');
    const client = clientOf('good.example.com');
    await publish(client, 'a');
    await unpublish(client, 'a');
    expect(statusOf('example.com/hangs')).toEqual({ driver: 'example.com/hangs', serving: false });
    hangs.script('init', attachFalse);
    await registered('good.example.com', 'hangs.example.com');
  });

  it('takes names from the configuration, and refuses the second driver of one name', async () => {
    const config = join(directory, 'config.yaml');
    writeFileSync(config, 'drivers:\n  example.com/b:\n    name: A.example.com\n');
    writeFileSync(config, 'drivers:\n  example.com/b:\n    name: a.example.com\n');
    install('example.com/a');
    install('example.com/b');
    await start({ config });
    await registered('a.example.com');
    await vi.waitFor(() => {
      const problems = serving?.drivers().map(({ problem }) => problem);
      expect(problems?.filter(Boolean)).toEqual([
        expect.stringMatching(
          /^driver example.com\/[ab]: its CSI name would be a.example.com, which driver example.com\/[ab] has: set/,
        ),
      ]);
    }, soon);
  });
});

describe('flexcsi serve', () => {
  it.each([
    [{ driver: '/bin/true' }, 'either --driver (one driver) or --plugin-dir'],
    [{ pluginDir: undefined }, 'either --driver (one driver) or --plugin-dir'],
    [{ name: 'a.b' }, '--name is for --driver; with --plugin-dir set names in the file of --config'],
    [{ endpoint: 'unix:///run/csi.sock' }, '--endpoint has to hold {name}'],
    [{ nodeId: '' }, '--node-id is required'],
    [{ pluginDir: undefined, driver: '/bin/true', only: ['a'] }, '--only is for --plugin-dir'],
    [{ httpEndpoint: 'nowhere' }, '--http-endpoint must be <host>:<port> or :<port>, not "nowhere"'],
  ])('refuses %j', async (options, message) => {
    await expect(start(options as Partial<ServeOptions>)).rejects.toThrow(message);
  });

  it('says on /healthz that it lives, and how its drivers are', async () => {
    install('example.com/good');
    const broken = install('example.com/broken');
    broken.script('init', { prints: answer('Failure', { message: 'no licence' }), exit: 1 });
    await start({ httpEndpoint: '127.0.0.1:48231', registration: 'none' });
    await vi.waitFor(async () => {
      const response = await fetch('http://127.0.0.1:48231/healthz');
      expect(response.status).toBe(200);
      expect(await response.json()).toEqual({
        drivers: [
          { driver: 'example.com/broken', serving: false, problem: expect.stringContaining('no licence') },
          { driver: 'example.com/good', name: 'good.example.com', serving: true },
        ],
      });
    }, soon);
    expect((await fetch('http://127.0.0.1:48231/')).status).toBe(404);
    await expect(start({ httpEndpoint: '127.0.0.1:48231', stateDir: join(directory, 'b') })).rejects.toThrow(
      '--http-endpoint 127.0.0.1:48231: ',
    );
  });
});
