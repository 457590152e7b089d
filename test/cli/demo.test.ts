import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lacks } from '../support/requirements.ts';
import { mountsBelow } from '../support/scenario.ts';

const root = join(import.meta.dirname, '../..');

function demo(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['src/main.ts', 'demo', ...args], {
    cwd: root,
    encoding: 'utf8',
  });
  return { status, output: stdout + stderr };
}

/** What a demo could leave behind. */
const traces = () => readdirSync(tmpdir()).filter((name) => name.startsWith('flexcsi-demo-'));

describe('flexcsi demo', () => {
  it.skipIf(lacks('root', 'loop'))('shows a whole life of a loop volume, and leaves nothing behind', () => {
    const { status, output } = demo();
    expect(output).not.toContain('✗');
    expect(output).toContain('All verified. Nothing is left behind.');
    expect(status).toBe(0);
    for (const rpc of [
      'ControllerPublishVolume',
      'NodeStageVolume',
      'NodePublishVolume',
      'NodeGetVolumeStats',
      'ControllerExpandVolume',
      'NodeUnpublishVolume',
      'NodeUnstageVolume',
      'ControllerUnpublishVolume',
    ]) {
      expect(output).toContain(rpc);
    }
    expect(output).toMatch(/→ driver attach \{…\} .*Success \/dev\/loop\d+/);
    expect(output).toMatch(/the file system +has grown from .* ✓/);
    expect(traces()).toEqual([]);
    expect(mountsBelow(tmpdir()).filter((path) => path.includes('flexcsi-demo-'))).toEqual([]);
    const attached = spawnSync('losetup', ['--list', '--output', 'BACK-FILE'], { encoding: 'utf8' }).stdout;
    expect(attached).not.toContain('flexcsi-demo-');
  });

  it.skipIf(lacks('mounts'))('shows any driver', () => {
    const data = mkdtempSync(join(tmpdir(), 'flexcsi-data-'));
    const { status, output } = demo('--driver', 'drivers/flexcsi~dir/dir', '--option', `path=${data}`);
    expect(status).toBe(0);
    expect(output).toContain('as dir.flexcsi');
    expect(output).toMatch(/→ driver mount <target> \{…\} +Success/);
    expect(readFileSync(join(data, 'hello.txt'), 'utf8')).toContain('written by the first pod');
    rmSync(data, { recursive: true });
  });

  it('fails, and shows where, when the driver does', () => {
    const { status, output } = demo(
      '--driver',
      'drivers/flexcsi~dir/dir',
      '--option',
      'path=/does/not/exist',
      '--secret',
      'password=Secret-canary',
    );
    expect(status).toBe(1);
    expect(output).toContain('option path: there is no such directory on this node');
    expect(output).toContain('Not verified');
    expect(output).not.toContain('Secret-canary');
    expect(traces()).toEqual([]);
  });

  it('says what an argument should be', () => {
    const { status, output } = demo('--option', 'no-equals-sign');
    expect(status).toBe(1);
    expect(output).toContain('expected key=value');
  });
});
