import { lstatSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Registration, registrationSocket } from '../../src/kube/registration.ts';
import { silentLogger } from '../../src/log.ts';
import { type Plugin, startPlugin } from '../support/plugin.ts';
import { PluginWatcher } from '../support/plugin-watcher.ts';
import { ScriptedDriver } from '../support/scripted-driver.ts';

const log = silentLogger();
const soon = { timeout: 20_000 };

let directory: string;
let plugin: Plugin;
let registration: Registration;
let watcher: PluginWatcher | undefined;

beforeEach(async () => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'flexcsi-registration-')));
  const driver = ScriptedDriver.install(join(directory, 'drivers'));
  plugin = await startPlugin({ driver: driver.file, directory: join(directory, 'plugin'), nodeId: 'node-7' });
  const settings = { directory: join(directory, 'registry'), name: 'scripted.example.com' };
  registration = new Registration({ ...settings, endpoint: plugin.socket, lookEveryMs: 50 }, log);
});

afterEach(async () => {
  await registration.stop();
  await watcher?.close();
  watcher = undefined;
  await plugin.stop();
  rmSync(directory, { recursive: true });
});

function watchRegistry(): PluginWatcher {
  mkdirSync(join(directory, 'registry'));
  watcher = new PluginWatcher(join(directory, 'registry'));
  return watcher;
}

describe('registration with kubelet', () => {
  it('tells what is served, where, and hears that it is taken', async () => {
    const kubelet = watchRegistry();
    await registration.start();
    await vi.waitFor(() => expect(registration.state).toEqual({ state: 'registered' }), soon);
    expect(kubelet.registered.get('scripted.example.com')).toEqual({
      type: 'CSIPlugin',
      name: 'scripted.example.com',
      endpoint: plugin.socket,
      supported_versions: ['1.0.0'],
      nodeId: 'node-7',
    });
    const [socket = '', ...others] = readdirSync(join(directory, 'registry'));
    expect([socket, ...others]).toEqual(['scripted.example.com-reg.sock']);
    expect(lstatSync(join(directory, 'registry', socket)).mode & 0o777).toBe(0o600);
    await registration.stop();
    expect(readdirSync(join(directory, 'registry'))).toEqual([]);
    await vi.waitFor(() => expect(kubelet.events.at(-1)).toBe('scripted.example.com: removed'), soon);
  });

  it('is made again when somebody removes the socket', async () => {
    const kubelet = watchRegistry();
    await registration.start();
    await vi.waitFor(() => expect(kubelet.registered.size).toBe(1), soon);
    unlinkSync(join(directory, 'registry', 'scripted.example.com-reg.sock'));
    await vi.waitFor(() => {
      expect(kubelet.events).toEqual([
        'scripted.example.com: registered',
        'scripted.example.com: removed',
        'scripted.example.com: registered',
      ]);
    }, soon);
    await vi.waitFor(() => expect(registration.state).toEqual({ state: 'registered' }), soon);
  });

  it('is made again after a refusal, with the words of kubelet in its state', async () => {
    const kubelet = watchRegistry();
    let refuses = true;
    kubelet.check = () => {
      if (refuses) throw new Error('no such version');
    };
    await registration.start();
    await vi.waitFor(() => {
      expect(registration.state).toEqual({ state: 'refused', problem: 'no such version' });
    }, soon);
    refuses = false;
    await vi.waitFor(() => expect(registration.state).toEqual({ state: 'registered' }), soon);
    expect(kubelet.events).toContain('scripted.example.com: no such version');
  });

  it('waits for a directory that is not there yet', async () => {
    await registration.start();
    expect(registration.state.state).toBe('waiting');
    expect(registration.state.problem).toMatch(/the directory .*\/registry does not exist/);
    const kubelet = watchRegistry();
    await vi.waitFor(() => expect(kubelet.registered.size).toBe(1), soon);
    expect(registration.state).toEqual({ state: 'registered' });
  });

  it('takes the place of a socket that a killed process has left, not that of a live one', async () => {
    watchRegistry();
    const other = new Registration(
      { directory: join(directory, 'registry'), name: 'scripted.example.com', endpoint: '/x' },
      log,
    );
    await other.start();
    await registration.start();
    expect(registration.state.problem).toMatch(/another process is serving/);
    await other.stop();
    await vi.waitFor(() => expect(registration.state).toEqual({ state: 'registered' }), soon);
  });
});

describe('the registration socket', () => {
  it('has a name that fits, whatever the driver is called', () => {
    expect(registrationSocket('/r', 'a.b')).toBe('/r/a.b-reg.sock');
    const long = registrationSocket(`/${'d'.repeat(60)}`, 'n'.repeat(63));
    expect(long).toMatch(/^\/d+\/[0-9a-f]{16}-reg\.sock$/);
    expect(long.length).toBeLessThanOrEqual(107);
  });
});
