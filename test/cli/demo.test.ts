import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
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

  it.skipIf(lacks('mounts'))('shows any driver, and leaves nothing in its volume', () => {
    const data = mkdtempSync(join(tmpdir(), 'flexcsi-data-'));
    writeFileSync(join(data, 'hello.txt'), 'precious');
    const { status, output } = demo('--driver', 'drivers/flexcsi~dir/dir', '--option', `path=${data}`);
    expect(status).toBe(0);
    expect(output).toContain('as dir.flexcsi');
    expect(output).toMatch(/→ driver mount <target> \{…\} +Success/);
    expect(readdirSync(data)).toEqual(['hello.txt']);
    expect(readFileSync(join(data, 'hello.txt'), 'utf8')).toBe('precious');
    rmSync(data, { recursive: true });
  });

  it.skipIf(lacks('mounts'))('takes a driver whose volumes start empty for what it is', () => {
    const drivers = mkdtempSync(join(tmpdir(), 'flexcsi-data-'));
    const driver = join(drivers, 'empty');
    writeFileSync(
      driver,
      `#!/bin/sh
      case $1 in
      init) echo '{"status":"Success","capabilities":{"attach":false}}' ;;
      mount) mount -t tmpfs tmpfs "$2" && echo '{"status":"Success"}' ;;
      unmount) umount "$2" && echo '{"status":"Success"}' ;;
      *) echo '{"status":"Not supported"}' ;;
      esac`,
      { mode: 0o755 },
    );
    const { status, output } = demo('--driver', driver);
    expect(output).toContain('this volume starts empty at every mount');
    expect(status).toBe(0);
    rmSync(drivers, { recursive: true });
  });

  it.skipIf(lacks('root', 'loop')).each(['SIGINT', 'SIGTERM'] as const)(
    'takes all down at %s',
    async (signal) => {
      const program = spawn(process.execPath, ['src/main.ts', 'demo'], {
        cwd: root,
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let output = '';
      program.stdout.on('data', (chunk: Buffer) => {
        output += chunk.toString();
      });
      const exit = new Promise((resolve) => program.once('close', resolve));
      await vi.waitFor(() => expect(output).toContain('NodeStageVolume'), { timeout: 30_000, interval: 20 });
      // As a terminal does it: to the whole group. Other signals come to the outer process alone.
      process.kill(signal === 'SIGINT' ? -(program.pid ?? 0) : (program.pid ?? 0), signal);
      expect(await exit).toBe(1);
      expect(output).toContain(`interrupted (${signal})`);
      expect(traces()).toEqual([]);
      const attached = spawnSync('losetup', ['--list', '--output', 'BACK-FILE'], { encoding: 'utf8' }).stdout;
      expect(attached).not.toContain('pv-demo');
    },
  );

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
