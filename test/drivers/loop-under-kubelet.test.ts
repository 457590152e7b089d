/**
 * The loop driver, with all its verbs beyond kubelet's, under kubelet: exactly the calls that a real kubelet and
 * controller manager were recorded to make in a volume's life (test/golden/lifecycle.jsonl, `pv-all-verbs`), in
 * their order, and between them what kubelet does itself.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { lacks } from '../support/requirements.ts';
import { isMounted, mountsBelow } from '../support/scenario.ts';
import { bundled, createCall } from './support/driver.ts';

interface Step {
  readonly scenario: string;
  readonly step: string;
  readonly calls?: readonly { readonly argv: readonly string[] }[];
}

const recording = join(import.meta.dirname, '../golden/lifecycle.jsonl');
const steps = readFileSync(recording, 'utf8')
  .split('\n')
  .filter(Boolean)
  .map((line) => JSON.parse(line) as Step)
  .filter(({ scenario }) => scenario === 'lifecycle.pv-all-verbs');

describe.skipIf(lacks('root', 'loop', 'mkfs.xfs'))('under kubelet', () => {
  const directory = mkdtempSync(join(tmpdir(), 'flexcsi-kubelet-'));
  const images = join(directory, 'images');
  mkdirSync(images);
  afterEach(() => {
    for (const path of mountsBelow(directory)) execFileSync('umount', [path]);
    for (const device of devicesOf(images)) execFileSync('losetup', ['--detach', device]);
    rmSync(directory, { recursive: true });
  });

  /** The recorded argument, with this test's directories and options, and the devices that the driver named. */
  function here(argument: string, devices: ReadonlyMap<string, string>): string {
    const device = devices.get(argument);
    if (device !== undefined) return device;
    return (
      argument
        .replace('/var/lib/kubelet', join(directory, 'kubelet'))
        .replace('"volumeID":"v-1"', `"size":"1Gi"`)
        // ext4 cannot grow while mounted without CAP_SYS_RESOURCE.
        .replace('{"kubernetes.io/fsType":"ext4"', `{"dir":"${images}","kubernetes.io/fsType":"xfs"`)
    );
  }

  const execute = createCall(bundled('flexcsi~loop'));

  async function call(argv: readonly string[]): Promise<{ status: string; device: string }> {
    const { status, message, device = '' } = await execute(...argv);
    if (status === 'Failure') throw new Error(`${argv[0]}: ${message}`);
    return { status, device };
  }

  it('serves the whole life of a volume', async () => {
    expect(steps.length).toBeGreaterThan(5);
    const devices = new Map<string, string>();
    const bound: string[] = [];
    const seen: string[] = [];
    let staged = '';
    for (const { argv } of steps.flatMap(({ calls = [] }) => calls)) {
      const [verb = '', ...recorded] = argv;
      const args = recorded.map((argument) => here(argument, devices));
      const path = args.find((argument) => argument.startsWith(`${directory}/kubelet`)) ?? '';
      // Kubelet makes the directories.
      if (verb === 'mountdevice' || verb === 'mount') mkdirSync(path, { recursive: true });
      const { status, device } = await call([verb, ...args]);
      seen.push(`${verb}: ${status}`);
      if (verb === 'attach') devices.set('/dev/vdb', device);
      if (verb === 'waitforattach') devices.set('/dev/vdb1', device);
      if (verb === 'mountdevice') staged = path;
      if (verb === 'mount') {
        // Kubelet's default for Not supported, and the pod.
        execFileSync('mount', ['--bind', staged, path]);
        bound.push(path);
        writeFileSync(join(path, 'data'), 'kept');
      }
      if (verb === 'expandfs') expect(bytesOf(path)).toBeGreaterThan(1.9 * 2 ** 30);
      if (verb === 'unmount') {
        execFileSync('umount', [path]);
        rmdirSync(path);
      }
      if (verb === 'unmountdevice') expect(isMounted(path)).toBe(false);
    }
    expect(seen.filter((line) => !line.startsWith('getvolumename'))).toEqual([
      'init: Success',
      'attach: Success',
      'waitforattach: Success',
      'mountdevice: Success',
      'mount: Not supported',
      'expandvolume: Success',
      'expandfs: Success',
      'unmount: Not supported',
      'unmountdevice: Success',
      'detach: Success',
    ]);
    expect(devicesOf(images)).toEqual([]);
    rmdirSync(staged);
  });
});

function bytesOf(path: string): number {
  const [size = 0, blocks = 0] = execFileSync('stat', ['-f', '-c', '%S %b', path], { encoding: 'utf8' })
    .split(' ')
    .map(Number);
  return size * blocks;
}

/** The loop devices with images of a directory. */
function devicesOf(directory: string): string[] {
  const list = execFileSync('losetup', ['--noheadings', '--output', 'NAME,BACK-FILE'], { encoding: 'utf8' });
  return list
    .split('\n')
    .filter((line) => line.includes(directory))
    .map((line) => line.split(' ')[0] as string);
}
