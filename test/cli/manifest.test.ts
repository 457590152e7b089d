import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { answer, ScriptedDriver } from '../support/scripted-driver.ts';

const main = join(import.meta.dirname, '../../src/main.ts');

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'flexcsi-manifest-'));
});

afterEach(() => rmSync(directory, { recursive: true }));

function install(name: string, capabilities: object): ScriptedDriver {
  const driver = ScriptedDriver.install(join(directory, 'drivers'), name);
  driver.script('init', answer('Success', { capabilities }));
  return driver;
}

function flexcsi(...args: string[]) {
  return spawnSync(process.execPath, [main, 'manifest', ...args], { encoding: 'utf8' });
}

const plain = {
  attach: true,
  fsGroup: true,
  provision: false,
  snapshot: false,
  modifyvolume: false,
  getcapacity: false,
  topology: false,
};

describe('flexcsi manifest', () => {
  it('prints chart values of all drivers of a directory, from their init', () => {
    install('example.com/plain', {});
    install('example.com/rich', {
      ...{ attach: false, fsGroup: false, provision: true, snapshot: true, getcapacity: true },
      ...{ modifyvolume: 'iops', topology: { 'example.com/zone': 'a' } },
    });
    const { stdout, stderr, status } = flexcsi('--plugin-dir', join(directory, 'drivers'));
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(parse(stdout)).toEqual({
      drivers: [
        { driver: 'example.com/plain', capabilities: plain },
        {
          driver: 'example.com/rich',
          capabilities: {
            ...{ attach: false, fsGroup: false, provision: true, snapshot: true },
            ...{ modifyvolume: true, getcapacity: true, topology: true },
          },
        },
      ],
    });
  });

  it('prints CSIDriver objects, with the names of the configuration', () => {
    install('example.com/a', { fsGroup: false });
    install('example.com/b_c', { attach: false });
    const config = join(directory, 'config.yaml');
    writeFileSync(config, 'drivers:\n  example.com/b_c:\n    name: bc.example.com\n');
    const { stdout, status } = flexcsi(
      ...['--plugin-dir', join(directory, 'drivers'), '--config', config, '--output', 'objects'],
    );
    expect(status).toBe(0);
    const of = (name: string, attachRequired: boolean, fsGroupPolicy: string) => ({
      apiVersion: 'storage.k8s.io/v1',
      kind: 'CSIDriver',
      metadata: { name },
      spec: { attachRequired, podInfoOnMount: true, fsGroupPolicy, volumeLifecycleModes: ['Persistent'] },
    });
    expect(parseAllDocuments(stdout).map((document) => document.toJS())).toEqual([
      of('a.example.com', true, 'None'),
      of('bc.example.com', false, 'File'),
    ]);
    expect(
      parse(flexcsi('--plugin-dir', join(directory, 'drivers'), '--config', config).stdout).drivers[1],
    ).toMatchObject({ driver: 'example.com/b_c', name: 'bc.example.com' });
  });

  it('leaves out drivers that are broken or have no name, says why, and ends with 1', () => {
    install('example.com/good', {});
    install('example.com/under_score', {});
    const broken = install('example.com/broken', {});
    broken.script('init', { prints: answer('Failure', { message: 'no licence' }), exit: 1 });
    const { stdout, stderr, status } = flexcsi('--plugin-dir', join(directory, 'drivers'));
    expect(status).toBe(1);
    expect(parse(stdout)).toEqual({ drivers: [{ driver: 'example.com/good', capabilities: plain }] });
    expect(stderr.split('\n')).toEqual([
      expect.stringMatching(/^# flexcsi: left out: driver example.com\/broken: .*no licence/),
      expect.stringMatching(/^# flexcsi: left out: driver example.com\/under_score: its CSI name would be/),
      '',
    ]);
  });

  it('describes a single driver, and says what is wrong with it', () => {
    const driver = install('example.com/one', { attach: false });
    expect(parse(flexcsi('--driver', driver.file).stdout).drivers).toEqual([
      { driver: 'example.com/one', capabilities: { ...plain, attach: false } },
    ]);
    expect(flexcsi('--driver', '/no/such').stderr).toMatch(/^flexcsi: driver such: .*does not exist/);
    expect(flexcsi().stderr).toBe('flexcsi: either --driver or --plugin-dir is required\n');
    expect(flexcsi('--plugin-dir', directory).stderr).toMatch(
      /^(# flexcsi: left out: driver drivers: |flexcsi: --plugin-dir: no driver)/,
    );
  });
});
