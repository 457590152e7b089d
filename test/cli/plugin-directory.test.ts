/** Kubelet over several drivers of a plugin directory at once, while drivers come, change, break and go. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import type { ServeOptions } from '../../src/cli/settings.ts';
import { lacks } from '../support/requirements.ts';
import { attachFalse, failureOf, isMounted, mountCapability } from '../support/scenario.ts';
import { answer } from '../support/scripted-driver.ts';
import { noLicence, soon, useDirectorySite } from './directory-site.ts';

const current = useDirectorySite();

describe.skipIf(lacks('mounts'))('a plugin directory', () => {
  it('serves each driver under its own name, socket, records and registration', async () => {
    const site = current();
    site.install('example.com/one');
    site.install('example.com/two');
    site.install('plain');
    await site.start();
    await site.registered('one.example.com', 'two.example.com', 'plain.flexvolume');
    expect(site.watcher.registered.get('one.example.com')).toMatchObject({
      endpoint: join(site.kubelet, 'plugins/one.example.com/csi.sock'),
      nodeId: 'node-1',
    });
    const [one, two] = [site.clientOf('one.example.com'), site.clientOf('two.example.com')];
    await Promise.all([site.publish(one, 'a'), site.publish(two, 'b')]);
    expect(readdirSync(join(site.directory, 'state')).sort()).toEqual([
      'one.example.com',
      'plain.flexvolume',
      'two.example.com',
    ]);
    expect(readdirSync(join(site.directory, 'state/one.example.com/volumes'))).toHaveLength(1);
    expect(site.serving?.drivers()).toEqual(
      ['example.com/one', 'example.com/two', 'plain'].map((driver) => ({
        driver,
        name: expect.any(String),
        serving: true,
        registration: 'registered',
      })),
    );
    await Promise.all([site.unpublish(one, 'a'), site.unpublish(two, 'b')]);
    await site.serving?.stop();
    site.serving = undefined;
    await site.registered();
    expect(readdirSync(join(site.kubelet, 'plugins/one.example.com'))).toEqual([]);
  });

  it('goes on with the others while one is replaced, one breaks and one comes', async () => {
    const site = current();
    const stays = site.installStaged('example.com/stays');
    const changes = site.install('example.com/changes');
    const breaks = site.install('example.com/breaks');
    await site.start();
    await site.registered('stays.example.com', 'changes.example.com', 'breaks.example.com');
    const [a, b, c] = ['stays', 'changes', 'breaks'].map((name) => site.clientOf(`${name}.example.com`));
    if (a === undefined || b === undefined || c === undefined) throw new Error('no client');
    const staged = await site.stage(a, 'a');
    await Promise.all([site.publish(a, 'a', staged), site.publish(b, 'b'), site.publish(c, 'c')]);
    stays.forget();

    // Aside and renamed, with other capabilities.
    const aside = join(site.drivers, '.changes');
    execFileSync('cp', ['-a', dirname(changes.file), aside]);
    renameSync(dirname(changes.file), join(site.drivers, '.old'));
    renameSync(aside, dirname(changes.file));
    changes.script('init', answer('Success', { capabilities: { attach: false, supportsMetrics: false } }));
    breaks.script('init', noLicence);
    writeFileSync(breaks.file, `${readFileSync(breaks.file, 'utf8')}\n# changed\n`);
    site.install('example.com/comes');
    await site.registered(
      'stays.example.com',
      'changes.example.com',
      'breaks.example.com',
      'comes.example.com',
    );
    await vi.waitFor(() => {
      expect(site.statusOf('example.com/breaks')).toMatchObject({
        serving: true,
        problem: expect.stringContaining('no licence'),
      });
    }, soon);
    await vi.waitFor(async () => {
      const { capabilities } = await b.node('NodeGetCapabilities', {});
      expect(JSON.stringify(capabilities)).not.toContain('GET_VOLUME_STATS');
    }, soon);
    expect(site.statusOf('example.com/stays')).not.toHaveProperty('problem');
    // init of one is no reason for init of another.
    expect(stays.verbs()).toEqual([]);

    // What was mounted before is unmounted, by the broken one's old self, too.
    await Promise.all([site.unpublish(a, 'a'), site.unpublish(b, 'b'), site.unpublish(c, 'c')]);
    await a.node('NodeUnstageVolume', { volume_id: 'a', staging_target_path: staged });
    await a.controller('ControllerUnpublishVolume', { volume_id: 'a', node_id: 'node-1' });
    expect(isMounted(staged)).toBe(false);
    await site.publish(site.clientOf('comes.example.com'), 'd');
    await site.unpublish(site.clientOf('comes.example.com'), 'd');
  });

  it('serves a driver that is gone for as long as volumes of it are in use', async () => {
    const site = current();
    const goes = site.install('example.com/goes');
    site.install('example.com/stays');
    await site.start();
    await site.registered('goes.example.com', 'stays.example.com');
    const client = site.clientOf('goes.example.com');
    await site.publish(client, 'a');
    const path = dirname(goes.file);
    renameSync(path, join(site.directory, 'away'));
    const moved = goes.file;
    rmSync(join(site.directory, 'away'), { recursive: true });
    expect(existsSync(moved)).toBe(false);
    await vi.waitFor(() => {
      expect(site.statusOf('example.com/goes')?.problem).toMatch(
        /goes\/?.*was removed: install it there again/,
      );
    }, soon);
    // Unmounting is the driver's business: it is not guessed what else that has to undo.
    const request = { volume_id: 'a', target_path: site.target('a') };
    expect(await failureOf(client.node('NodeUnpublishVolume', request))).toMatch(
      /^INTERNAL: driver example.com\/goes: unmount was not started: .* does not exist: install it there/,
    );
    expect(isMounted(site.target('a'))).toBe(true);
    // What needs no call is done.
    await client.node('NodeUnpublishVolume', { volume_id: 'x', target_path: site.target('x') });
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(site.watcher.registered.has('goes.example.com')).toBe(true);

    site.install('example.com/goes');
    await vi.waitFor(() => site.unpublish(client, 'a'), soon);
    await vi.waitFor(() => expect(site.statusOf('example.com/goes')).not.toHaveProperty('problem'), soon);
    rmSync(dirname(goes.file), { recursive: true });
    await site.registered('stays.example.com');
    await vi.waitFor(() => expect(site.statusOf('example.com/goes')).toBeUndefined(), soon);
  });

  it('counts a driver that was moved away as gone', async () => {
    const site = current();
    const moved = site.install('example.com/moved');
    await site.start();
    await site.registered('moved.example.com');
    renameSync(dirname(moved.file), join(site.directory, 'backup'));
    await site.registered();
    await vi.waitFor(() => expect(site.serving?.drivers()).toEqual([]), soon);
    renameSync(join(site.directory, 'backup'), dirname(moved.file));
    await site.registered('moved.example.com');
  });

  it('makes the socket again when somebody has removed it, with its directory', async () => {
    const site = current();
    site.install('example.com/one');
    await site.start();
    await site.registered('one.example.com');
    const before = site.clientOf('one.example.com');
    await site.publish(before, 'a');
    const socket = join(site.kubelet, 'plugins/one.example.com/csi.sock');
    rmSync(dirname(socket), { recursive: true });
    await vi.waitFor(() => expect(existsSync(socket)).toBe(true), soon);
    await site.unpublish(site.clientOf('one.example.com'), 'a');
    await before.identity('Probe', {});
    await site.serving?.stop();
    expect(existsSync(socket)).toBe(false);
  });

  it('does not stop under a call, and stops all although one cannot be stopped well', async () => {
    const site = current();
    const slow = site.install('example.com/slow');
    site.install('example.com/odd');
    await site.start();
    await site.registered('slow.example.com', 'odd.example.com');
    slow.script('mount', { sleepMs: 3_000, prints: answer('Success') });
    const publishing = site.clientOf('slow.example.com').node('NodePublishVolume', {
      volume_id: 'a',
      target_path: site.target('a'),
      volume_capability: mountCapability,
    });
    await vi.waitFor(() => expect(slow.verbs()).toContain('mount'), soon);
    // Gone, and longer so than it is waited for: but it is at work.
    rmSync(dirname(slow.file), { recursive: true });
    const plugins = join(site.kubelet, 'plugins/odd.example.com');
    rmSync(plugins, { recursive: true });
    writeFileSync(plugins, '');
    await publishing;
    expect(site.statusOf('example.com/slow')?.serving).toBe(true);
    await site.serving?.stop();
  });

  it('ignores what is no driver, and serves one when it is complete', async () => {
    const site = current();
    mkdirSync(join(site.drivers, '.example.com~hidden'));
    mkdirSync(join(site.drivers, 'example.com~late'));
    writeFileSync(join(site.drivers, 'README'), 'text');
    mkdirSync(join(site.drivers, 'example.com~under_score'));
    writeFileSync(
      join(site.drivers, 'example.com~under_score/under_score'),
      '#!/bin/sh\necho \'{"status":"Success"}\'\n',
    );
    chmodSync(join(site.drivers, 'example.com~under_score/under_score'), 0o755);
    site.install('example.com/good');
    await site.start();
    await site.registered('good.example.com');
    await vi.waitFor(() => {
      expect(site.statusOf('example.com/late')?.problem).toMatch(
        /late\/?late does not exist: install it there|does not exist/,
      );
      expect(site.statusOf('example.com/under_score')?.problem).toMatch(
        /its CSI name would be "under_score.example.com", which is no DNS name .*drivers: example.com\/under_score: name/,
      );
    }, soon);
    expect(site.serving?.drivers().map(({ driver }) => driver)).toEqual([
      'example.com/good',
      'example.com/late',
      'example.com/under_score',
    ]);
    rmSync(join(site.drivers, 'example.com~late'), { recursive: true });
    site.install('example.com/late');
    await site.registered('good.example.com', 'late.example.com');
  });

  it('keeps an init that hangs from nobody but its own driver', async () => {
    const site = current();
    const hangs = site.install('example.com/hangs');
    hangs.script('init', { sleepMs: 600_000 });
    site.install('example.com/good');
    await site.start({ driverTimeout: 20_000 });
    await site.registered('good.example.com');
    const client = site.clientOf('good.example.com');
    await site.publish(client, 'a');
    await site.unpublish(client, 'a');
    expect(site.statusOf('example.com/hangs')).toEqual({ driver: 'example.com/hangs', serving: false });
    hangs.script('init', attachFalse);
    await site.registered('good.example.com', 'hangs.example.com');
  });

  it('takes names from the configuration, and refuses the second driver of one name', async () => {
    const site = current();
    const config = join(site.directory, 'config.yaml');
    writeFileSync(config, 'drivers:\n  example.com/b:\n    name: A.example.com\n');
    writeFileSync(config, 'drivers:\n  example.com/b:\n    name: a.example.com\n');
    site.install('example.com/a');
    site.install('example.com/b');
    await site.start({ config });
    await site.registered('a.example.com');
    await vi.waitFor(() => {
      const problems = site.serving?.drivers().map(({ problem }) => problem);
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
    const site = current();
    await expect(site.start(options as Partial<ServeOptions>)).rejects.toThrow(message);
  });

  it('says on /healthz that it lives, and how its drivers are', async () => {
    const site = current();
    site.install('example.com/good');
    const broken = site.install('example.com/broken');
    broken.script('init', noLicence);
    await site.start({ httpEndpoint: '127.0.0.1:48231', registration: 'none' });
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
    await expect(
      site.start({ httpEndpoint: '127.0.0.1:48231', stateDir: join(site.directory, 'b') }),
    ).rejects.toThrow(/^--http-endpoint 127.0.0.1:48231: .*another process has the port/);
  });

  it('serves nothing when the address of /healthz is taken', async () => {
    const site = current();
    const driver = site.install('example.com/one');
    const other = createServer().listen(48232, '127.0.0.1');
    await expect(site.start({ httpEndpoint: '127.0.0.1:48232' })).rejects.toThrow('--http-endpoint');
    other.close();
    expect(driver.verbs()).toEqual([]);
    expect(readdirSync(join(site.kubelet, 'plugins'))).toEqual([]);
  });
});
