/** Drivers with volumes in use, after flexcsi was started again. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { lacks } from '../support/requirements.ts';
import { failureOf, mountCapability } from '../support/scenario.ts';
import { type DirectorySite, noLicence, soon, useDirectorySite } from './directory-site.ts';

const current = useDirectorySite();

function configure(site: DirectorySite, ...lines: readonly string[]): string {
  const config = join(site.directory, 'config.yaml');
  writeFileSync(config, ['drivers:', ...lines, ''].join('\n'));
  return config;
}

describe.skipIf(lacks('mounts'))('a plugin directory, after a restart,', () => {
  it('serves a driver with volumes in use after a restart, too, when it is gone or its init fails', async () => {
    const site = current();
    const goes = site.install('example.com/goes');
    const breaks = site.install('example.com/breaks');
    await site.start();
    await site.registered('goes.example.com', 'breaks.example.com');
    await site.publish(site.clientOf('goes.example.com'), 'a');
    await site.publish(site.clientOf('breaks.example.com'), 'b');
    await site.serving?.stop();
    rmSync(dirname(goes.file), { recursive: true });
    breaks.script('init', noLicence);
    await site.start();
    await site.registered('goes.example.com', 'breaks.example.com');
    const [gone, broken] = [site.clientOf('goes.example.com'), site.clientOf('breaks.example.com')];
    const { capabilities } = await gone.node('NodeGetCapabilities', {});
    expect(JSON.stringify(capabilities)).toContain('VOLUME_MOUNT_GROUP');
    await vi.waitFor(() => {
      expect(site.statusOf('example.com/goes')).toMatchObject({
        serving: true,
        problem: expect.stringMatching(/goes was removed: install it there again/),
      });
      expect(site.statusOf('example.com/breaks')).toMatchObject({
        serving: true,
        problem: expect.stringContaining('no licence'),
      });
    }, soon);

    // Nothing new, but what is there can go.
    const request = { volume_id: 'c', volume_capability: mountCapability, target_path: site.target('c') };
    expect(await failureOf(broken.node('NodePublishVolume', request))).toMatch(/no licence/);
    await site.unpublish(broken, 'b');
    expect(
      await failureOf(gone.node('NodeUnpublishVolume', { volume_id: 'a', target_path: site.target('a') })),
    ).toMatch(/^INTERNAL: driver example.com\/goes: unmount was not started: .* install it there/);
    site.install('example.com/goes');
    await vi.waitFor(() => site.unpublish(gone, 'a'), soon);
    await vi.waitFor(() => expect(site.statusOf('example.com/goes')).not.toHaveProperty('problem'), soon);

    // Without volumes both are as any other driver.
    await site.serving?.stop();
    rmSync(dirname(goes.file), { recursive: true });
    await site.start();
    await vi.waitFor(
      () => expect(site.statusOf('example.com/breaks')?.problem).toContain('no licence'),
      soon,
    );
    expect(site.serving?.drivers().map(({ driver, serving: is }) => [driver, is])).toEqual([
      ['example.com/breaks', false],
    ]);
    await site.registered();
  });

  it('serves only those that are listed, and others until their last volume is gone', async () => {
    const site = current();
    const config = join(site.directory, 'config.yaml');
    writeFileSync(config, 'drivers:\n  example.com/c:\n    name: old.example.com\n');
    for (const name of ['a', 'b', 'c']) site.install(`example.com/${name}`);
    const unlisted = site.install('example.com/d');
    const only = ['example.com/a', 'example.com/b', 'example.com/c', 'example.com/missing'];
    await site.start({ only, config });
    await site.registered('a.example.com', 'b.example.com', 'old.example.com');
    expect(site.statusOf('example.com/missing')?.problem).toMatch(
      /missing is not there: install it, or take it out of --only \(the chart's drivers\)$/,
    );
    await site.publish(site.clientOf('b.example.com'), 'b');
    await site.publish(site.clientOf('old.example.com'), 'c');
    expect(unlisted.verbs()).toEqual([]);

    await site.restart({ only: ['example.com/a', 'example.com/c'] });
    await site.registered('a.example.com', 'b.example.com', 'c.example.com', 'old.example.com');
    await vi.waitFor(() => {
      const problems = site.serving?.drivers().flatMap(({ problem = [] }) => problem);
      expect(problems).toEqual([
        expect.stringMatching(/^driver example.com\/b is not to be served as b.example.com any more/),
        expect.stringMatching(/^driver example.com\/c is not to be served as old.example.com any more/),
      ]);
    }, soon);
    await site.unpublish(site.clientOf('b.example.com'), 'b');
    await site.registered('a.example.com', 'c.example.com', 'old.example.com');
    await site.unpublish(site.clientOf('old.example.com'), 'c');
    await site.registered('a.example.com', 'c.example.com');
    await vi.waitFor(() => {
      expect(site.serving?.drivers().map(({ driver }) => driver)).toEqual(['example.com/a', 'example.com/c']);
    }, soon);
    expect(unlisted.verbs()).toEqual([]);
  });

  it('hands the volumes of a driver over to the one that has its CSI name after a restart', async () => {
    const site = current();
    const old = site.install('example.com/old');
    await site.start();
    await site.registered('old.example.com');
    await site.publish(site.clientOf('old.example.com'), 'a');
    await site.serving?.stop();
    renameSync(dirname(old.file), join(site.drivers, 'example.com~new'));
    renameSync(join(site.drivers, 'example.com~new/old'), join(site.drivers, 'example.com~new/new'));
    const config = join(site.directory, 'config.yaml');
    writeFileSync(config, 'drivers:\n  example.com/new:\n    name: old.example.com\n');
    await site.start({ config });
    await site.registered('old.example.com');
    await site.unpublish(site.clientOf('old.example.com'), 'a');
    expect(site.serving?.drivers()).toEqual([
      { driver: 'example.com/new', name: 'old.example.com', serving: true, registration: 'registered' },
    ]);
  });

  it('leaves a CSI name to the driver whose volumes are in use', async () => {
    const site = current();
    site.install('example.com/a');
    const b = site.install('example.com/b');
    const named = (driver: string) =>
      configure(site, `  example.com/${driver}:`, '    name: shelf.example.com');
    await site.start({ config: named('a'), only: ['example.com/a'] });
    await site.registered('shelf.example.com');
    await site.publish(site.clientOf('shelf.example.com'), 'v');
    await site.restart({ config: named('b'), only: ['example.com/b'] });
    await site.registered('shelf.example.com');
    await vi.waitFor(() => {
      expect(site.statusOf('example.com/b')?.problem).toMatch(
        /shelf.example.com, which driver example.com\/a has, with volumes in use from before/,
      );
    }, soon);
    await site.unpublish(site.clientOf('shelf.example.com'), 'v');
    expect(b.verbs()).not.toContain('unmount');
    // Now it is free.
    await vi.waitFor(() => expect(site.statusOf('example.com/b')).toMatchObject({ serving: true }), soon);
  });

  it('unmounts with a driver whose init hangs', async () => {
    const site = current();
    const hangs = site.install('example.com/hangs');
    await site.start();
    await site.registered('hangs.example.com');
    await site.publish(site.clientOf('hangs.example.com'), 'a');
    hangs.script('init', { sleepMs: 600_000 });
    await site.restart({ driverTimeout: 300_000 });
    await site.registered('hangs.example.com');
    await vi.waitFor(() => {
      expect(site.statusOf('example.com/hangs')?.problem).toMatch(/init has not ended for \d+ s/);
    }, soon);
    await site.unpublish(site.clientOf('hangs.example.com'), 'a');
  });

  it('finds the driver of volumes also where it is not on record what was served, and files are damaged', async () => {
    const site = current();
    const one = site.install('example.com/one');
    await site.start();
    await site.registered('one.example.com');
    await site.publish(site.clientOf('one.example.com'), 'a');
    await site.serving?.stop();
    const state = join(site.directory, 'state');
    const [record = ''] = readdirSync(join(state, 'one.example.com/volumes'));
    truncateSync(join(state, 'one.example.com/volumes', record));
    rmSync(join(state, 'one.example.com/served'), { recursive: true });
    // What is none of flexcsi's stops nobody.
    mkdirSync(join(state, 'lost+found'));
    mkdirSync(join(state, 'foreign/volumes'), { recursive: true });
    writeFileSync(join(state, 'foreign/volumes/x.json'), '');
    writeFileSync(join(state, 'foreign/served'), '');
    one.script('init', noLicence);
    await site.start();
    await site.registered('one.example.com');
    await site.unpublish(site.clientOf('one.example.com'), 'a');
    expect(existsSync(join(state, 'one.example.com/volumes', record))).toBe(false);
  });

  it('detaches what a driver has attached that is not listed any more, or broken', async () => {
    const site = current();
    const shelf = site.installStaged('example.com/shelf');
    site.install('example.com/other');
    await site.start();
    await site.registered('shelf.example.com', 'other.example.com');
    const request = { volume_id: 'a', node_id: 'node-2' };
    await site
      .clientOf('shelf.example.com')
      .controller('ControllerPublishVolume', { ...request, volume_capability: mountCapability });
    shelf.script('init', noLicence);
    await site.restart({ only: ['example.com/other'] });
    await site.registered('shelf.example.com', 'other.example.com');
    shelf.forget();
    await site.clientOf('shelf.example.com').controller('ControllerUnpublishVolume', request);
    expect(shelf.verbs()).toContain('detach');
    await site.registered('other.example.com');
  });
});
