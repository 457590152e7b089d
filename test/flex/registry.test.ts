/** The scenarios of the `probe.*` recordings, with real files and drivers. */
import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { Failure } from '../../src/errors.ts';
import { Registry, SingleDriver } from '../../src/flex/registry.ts';
import * as verbs from '../../src/flex/verbs.ts';
import { silentLogger } from '../../src/log.ts';
import { createRun } from '../../src/process.ts';
import { answering, Journal, temporaryDirectory, writeScript } from './drivers.ts';

const common = { run: createRun(), log: silentLogger(), timeoutMs: 20_000 };
const failing = '{"status":"Failure","message":"not yet"}';

class PluginDirectory {
  readonly root = temporaryDirectory();
  readonly directory = join(this.root, 'plugins');
  readonly journal = new Journal(this.root);
  readonly registry = new Registry({ ...common, directory: this.directory });

  constructor() {
    mkdirSync(this.directory);
    onTestFinished(() => this.registry.release());
  }

  path(...names: string[]): string {
    return join(this.directory, ...names);
  }

  /** Writes a driver aside and renames it into place, as installers do. */
  install(file: string, answer?: string, exit?: number): void {
    const aside = this.path(file, '..', '.tmp');
    writeScript(aside, answering(this.journal, answer, exit));
    renameSync(aside, this.path(file));
  }

  async start(): Promise<string[]> {
    await this.registry.start();
    await this.registry.look();
    return this.#calls();
  }

  /** Which drivers are called when these are looked up, and what is found: `attach` of each. */
  async find(...names: string[]): Promise<{ calls: string[]; found: (boolean | undefined)[] }> {
    const found = [];
    for (const name of names) found.push((await this.registry.find(name))?.capabilities.attach);
    // Other drivers' init runs beside the look-up.
    await this.registry.look();
    return { calls: this.#calls(), found };
  }

  #calls(): string[] {
    return this.journal.next().map((line) => line.replace(`${this.directory}/`, ''));
  }
}

const golden = 'example.com~golden/golden';
const name = 'example.com/golden';

describe('Registry', () => {
  it('follows a driver that appears, changes and vanishes', async () => {
    const plugins = new PluginDirectory();
    const init = [`${golden} init`];
    expect(await plugins.start()).toEqual([]);
    expect(await plugins.find(name)).toEqual({ calls: [], found: [undefined] });

    plugins.install(golden);
    expect(await plugins.find(name)).toEqual({ calls: init, found: [true] });
    expect(await plugins.find(name)).toEqual({ calls: [], found: [true] });

    plugins.install(golden, '{"status":"Success","capabilities":{"attach":false}}');
    expect(await plugins.find(name)).toEqual({ calls: init, found: [false] });

    writeFileSync(plugins.path('example.com~golden/log'), 'x');
    expect(await plugins.find(name)).toEqual({ calls: init, found: [false] });
    writeFileSync(plugins.path('example.com~golden/.log'), 'x');
    expect(await plugins.find(name)).toEqual({ calls: [], found: [false] });
    mkdirSync(plugins.path('example.com~golden/lib'));
    writeFileSync(plugins.path('example.com~golden/lib/x'), 'x');
    expect(await plugins.find(name)).toEqual({ calls: init, found: [false] });

    rmSync(plugins.path(golden));
    expect(await plugins.find(name)).toEqual({ calls: [], found: [undefined] });
    expect(plugins.registry.names()).toEqual([]);
    expect(plugins.registry.problems().get(name)?.message).toContain('was removed');
    plugins.install(golden);
    expect(await plugins.find(name)).toEqual({ calls: init, found: [true] });

    rmSync(plugins.path('example.com~golden'), { recursive: true });
    expect(await plugins.find(name)).toEqual({ calls: [], found: [undefined] });
    expect(plugins.registry.problems()).toEqual(new Map());
    plugins.install(golden);
    expect(await plugins.find(name)).toEqual({ calls: init, found: [true] });
  });

  it('finds what is there at the start, and initialises again only what has changed', async () => {
    const plugins = new PluginDirectory();
    plugins.install(golden);
    plugins.install('solo/solo');
    plugins.install('.hidden~x/x');
    writeFileSync(plugins.path('plain'), '');
    expect(await plugins.start()).toEqual([`${golden} init`, 'solo/solo init']);
    expect(plugins.registry.names()).toEqual([name, 'solo']);
    expect(await plugins.find(name, 'solo', '.hidden/x', 'hidden/x', 'plain')).toEqual({
      calls: [],
      found: [true, true, undefined, undefined, undefined],
    });

    utimesSync(plugins.path('solo/solo'), 1, 1);
    expect(await plugins.find(name)).toEqual({ calls: ['solo/solo init'], found: [true] });

    renameSync(plugins.path('.hidden~x'), plugins.path('shown~x'));
    expect(await plugins.find('shown/x')).toEqual({ calls: ['shown~x/x init'], found: [true] });

    renameSync(plugins.path('shown~x'), join(plugins.root, 'away'));
    expect(await plugins.find('shown/x', name)).toEqual({ calls: [], found: [true, true] });
    expect(plugins.registry.problems().get('shown/x')?.message).toContain('does not exist');
    renameSync(join(plugins.root, 'away'), plugins.path('shown~x'));
    expect(await plugins.find('shown/x')).toEqual({ calls: ['shown~x/x init'], found: [true] });
  });

  it('keeps one broken driver from hurting another, and leaves it alone until it changes', async () => {
    const plugins = new PluginDirectory();
    plugins.install(golden);
    plugins.install('bad~one/one', failing, 1);
    mkdirSync(plugins.path('bad~empty'));
    plugins.install('bad~two/two');
    chmodSync(plugins.path('bad~two/two'), 0o644);
    expect(await plugins.start()).toEqual(['bad~one/one init', `${golden} init`]);
    const bad = ['bad/one', 'bad/two', 'bad/empty'];
    expect(await plugins.find(name, ...bad)).toEqual({
      calls: [],
      found: [true, undefined, undefined, undefined],
    });
    expect([...plugins.registry.problems().keys()].sort()).toEqual([...bad].sort());
    plugins.install('bad~two/two');
    expect(await plugins.find('bad/two')).toEqual({ calls: ['bad~two/two init'], found: [true] });
    expect(plugins.registry.names()).toEqual(['bad/empty', 'bad/one', 'bad/two', name]);
  });

  it('tries again at every look-up after a change, with the old driver in use meanwhile', async () => {
    const plugins = new PluginDirectory();
    const init = [`${golden} init`];
    plugins.install(golden);
    expect(await plugins.start()).toEqual(init);
    const answer = join(plugins.root, 'answer');
    writeFileSync(answer, failing);
    writeScript(plugins.path(golden), `echo "$0 $1" >> ${plugins.journal.file}; cat ${answer}`);
    // The look-up itself and the look that `find` adds here: two.
    expect(await plugins.find(name)).toEqual({ calls: [...init, ...init], found: [true] });
    expect(await plugins.find(name)).toEqual({ calls: [...init, ...init], found: [true] });
    expect(plugins.registry.problems().get(name)?.message).toContain('not yet');
    writeFileSync(answer, '{"status":"Success","capabilities":{"attach":false}}');
    expect(await plugins.find(name)).toEqual({ calls: init, found: [false] });
    expect(await plugins.find(name)).toEqual({ calls: [], found: [false] });
    expect(plugins.registry.problems()).toEqual(new Map());
  });

  it('initialises drivers of any name, but finds only those with a valid one', async () => {
    const plugins = new PluginDirectory();
    const files = [
      'UPPER~drv/drv',
      'a~b~c/c',
      'under_score~drv/drv',
      'vendor~-bad/-bad',
      'vendor~Drv_1.x/Drv_1.x',
    ];
    for (const file of files) plugins.install(file);
    expect(await plugins.start()).toEqual(files.map((file) => `${file} init`).sort());
    expect(
      await plugins.find('a/b/c', 'UPPER/drv', 'vendor/Drv_1.x', 'under_score/drv', 'vendor/-bad'),
    ).toEqual({
      calls: [],
      found: [undefined, undefined, true, undefined, undefined],
    });
    expect(plugins.registry.names()).toEqual(['vendor/Drv_1.x']);
    expect([...plugins.registry.problems().keys()].sort()).toEqual([
      'UPPER/drv',
      'a/b/c',
      'under_score/drv',
      'vendor/-bad',
    ]);
  });

  it('forgets what was not supported once the driver has changed', async () => {
    const plugins = new PluginDirectory();
    plugins.install(golden, '{"status":"Not supported"}');
    await plugins.start();
    const text = (status: string) =>
      `echo "$0 $1" >> ${plugins.journal.file}; [ "$1" = init ] && exec echo '{"status":"Success"}'; echo '{"status":"${status}"}'`;
    writeScript(plugins.path(golden), text('Not supported'));
    const source = plugins.registry.source(name);
    const call = verbs.attach({}, 'node-1');
    expect(await (await source.current()).call(call)).toEqual({ supported: false });
    expect(await (await source.current()).call(call)).toEqual({ supported: false });
    writeScript(plugins.path(golden), text('Success'));
    expect(await (await source.current()).call(call)).toMatchObject({ supported: true });
  });

  it('sees a link to a directory only when it appears while running, and links to executables always', async () => {
    const plugins = new PluginDirectory();
    const outside = join(plugins.root, 'outside');
    writeScript(join(outside, 'x'), answering(plugins.journal));
    symlinkSync(outside, plugins.path('early~x'));
    mkdirSync(plugins.path('linked~x'));
    symlinkSync(join(outside, 'x'), plugins.path('linked~x/x'));
    expect(await plugins.start()).toEqual(['linked~x/x init']);
    expect(await plugins.find('early/x', 'linked/x')).toEqual({ calls: [], found: [undefined, true] });

    symlinkSync(outside, plugins.path('late~x'));
    expect(await plugins.find('late/x')).toEqual({ calls: ['late~x/x init'], found: [true] });
    rmSync(plugins.path('early~x'));
    symlinkSync(outside, plugins.path('early~x'));
    expect(await plugins.find('early/x')).toEqual({ calls: ['early~x/x init'], found: [true] });
    rmSync(plugins.path('late~x'));
    expect(await plugins.find('late/x')).toEqual({ calls: [], found: [undefined] });
  });

  it('runs one init for look-ups at the same time', async () => {
    const plugins = new PluginDirectory();
    await plugins.registry.start();
    plugins.install(golden);
    const found = await Promise.all(Array.from({ length: 20 }, () => plugins.registry.find(name)));
    expect(new Set(found).size).toBe(1);
    expect(found[0]).toBeDefined();
    expect(plugins.journal.next()).toHaveLength(1);
  });

  it('does not let a driver that hangs in init delay the others', async () => {
    const plugins = new PluginDirectory();
    const go = join(plugins.root, 'go');
    writeScript(
      plugins.path('slow/slow'),
      `while [ ! -e ${go} ]; do sleep 0.05; done; echo '{"status":"Success"}'`,
    );
    plugins.install(golden);
    await plugins.registry.start();
    expect(await plugins.registry.find(name)).toBeDefined();
    expect(plugins.registry.names()).toEqual([name, 'slow']);
    writeFileSync(go, '');
    expect(await plugins.registry.find('slow')).toBeDefined();
  });

  it('takes a directory that is missing for an empty one, and keeps its drivers when it cannot be read', async () => {
    const plugins = new PluginDirectory();
    rmSync(plugins.directory, { recursive: true });
    expect(await plugins.start()).toEqual([]);
    mkdirSync(plugins.directory);
    plugins.install(golden);
    expect(await plugins.find(name)).toEqual({ calls: [`${golden} init`], found: [true] });

    renameSync(plugins.directory, join(plugins.root, 'moved'));
    writeFileSync(plugins.directory, 'not a directory');
    expect((await plugins.find(name)).found).toEqual([true]);
    const other = new Registry({ ...common, directory: plugins.directory });
    await expect(other.start()).rejects.toThrow(Failure);
  });

  it('gives a source that tries a driver which came too early again, and says what is wrong', async () => {
    const plugins = new PluginDirectory();
    const ready = join(plugins.root, 'ready');
    writeScript(plugins.path(golden), `cat ${ready} || echo '${failing}'`);
    await plugins.start();
    const source = plugins.registry.source(name);
    await expect(source.current()).rejects.toThrow('driver example.com/golden: ');
    writeFileSync(ready, '{"status":"Success"}');
    expect(await plugins.registry.find(name)).toBeUndefined();
    expect((await source.current()).name).toBe(name);
    await expect(plugins.registry.source('no/such').current()).rejects.toThrow(/^driver no\/such: not in /);
  });

  it('gives a source that keeps a driver which was removed, and takes the next one of its name', async () => {
    const plugins = new PluginDirectory();
    plugins.install(golden);
    await plugins.start();
    const source = plugins.registry.source(name);
    const first = await source.current();
    rmSync(plugins.path('example.com~golden'), { recursive: true });
    expect(await source.current()).toBe(first);
    await plugins.registry.list();
    expect(plugins.registry.names()).toEqual([]);
    expect(await source.current()).toBe(first);

    plugins.install(golden, '{"status":"Success","capabilities":{"attach":false}}');
    expect((await source.current()).capabilities.attach).toBe(false);
    expect(plugins.registry.names()).toEqual([name]);
  });
});

describe('SingleDriver', () => {
  function single(file: string): SingleDriver {
    const source = new SingleDriver({ ...common, file, name: 'vendor/x' });
    onTestFinished(() => source.release());
    return source;
  }

  it('tries init at every call until it succeeds, then keeps the driver', async () => {
    const root = temporaryDirectory();
    const journal = new Journal(root);
    const answer = join(root, 'answer');
    writeFileSync(answer, failing);
    const file = writeScript(join(root, 'bin', 'driver'), `echo "$1" >> ${journal.file}; cat ${answer}`);
    const source = single(file);
    for (let n = 0; n < 3; n += 1) await expect(source.current()).rejects.toThrow('reason: not yet');
    expect(journal.next()).toHaveLength(3);
    writeFileSync(answer, '{"status":"Success"}');
    const driver = await source.current();
    expect(await source.current()).toBe(driver);
    expect(journal.next()).toHaveLength(1);
  });

  it('becomes ready when the executable appears', async () => {
    const root = temporaryDirectory();
    const file = join(root, 'driver');
    const source = single(file);
    await expect(source.current()).rejects.toMatchObject({ kind: 'driver-unusable' });
    writeScript(file, answering(new Journal(root)));
    expect((await source.current()).file).toBe(file);
  });

  it('takes a new driver, and keeps the old one while init of the new one fails', async () => {
    const root = temporaryDirectory();
    const journal = new Journal(root);
    const file = writeScript(join(root, 'bin', 'driver'), answering(journal));
    const source = single(file);
    const first = await source.current();
    writeScript(file, answering(journal, failing, 1));
    expect(await source.current()).toBe(first);
    expect(await source.current()).toBe(first);
    writeScript(file, answering(journal, '{"status":"Success","capabilities":{"attach":false}}'));
    const second = await source.current();
    expect(second).not.toBe(first);
    expect(second.capabilities.attach).toBe(false);
    expect(journal.next()).toHaveLength(4);
  });

  it('keeps a driver whose file is gone, whose calls then say so, and takes it when it is back', async () => {
    const root = temporaryDirectory();
    const journal = new Journal(root);
    const file = writeScript(join(root, 'vendor~x', 'x'), answering(journal));
    const source = single(file);
    const driver = await source.current();
    rmSync(join(root, 'vendor~x'), { recursive: true });
    expect(await source.current()).toBe(driver);
    await expect(driver.call(verbs.unmount('/t'))).rejects.toThrow(`${file} does not exist`);
    writeScript(file, answering(journal));
    expect(await source.current()).not.toBe(driver);
  });

  it("looks at what lies beside the file only in a directory of the driver's own", async () => {
    const root = temporaryDirectory();
    const journal = new Journal(root);
    const lone = single(writeScript(join(root, 'bin', 'driver'), answering(journal)));
    const own = single(writeScript(join(root, 'vendor~x', 'x'), answering(journal)));
    await lone.current();
    await own.current();
    expect(journal.next()).toHaveLength(2);
    writeFileSync(join(root, 'bin', 'other'), '');
    writeFileSync(join(root, 'vendor~x', 'other'), '');
    await lone.current();
    await own.current();
    expect(journal.next()).toEqual([`${join(root, 'vendor~x', 'x')} init`]);
  });

  it('runs one init for callers at the same time', async () => {
    const root = temporaryDirectory();
    const journal = new Journal(root);
    const source = single(writeScript(join(root, 'driver'), answering(journal, failing, 1)));
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => source.current()));
    expect(results.every(({ status }) => status === 'rejected')).toBe(true);
    expect(journal.next()).toHaveLength(1);
  });

  it('warns of the same failure once', async () => {
    const log = silentLogger();
    const warn = vi.spyOn(log, 'warn');
    const source = new SingleDriver({ ...common, log, file: '/no/such/driver', name: 'x' });
    await expect(source.current()).rejects.toThrow();
    await expect(source.current()).rejects.toThrow();
    expect(warn).toHaveBeenCalledTimes(1);
  });
});
