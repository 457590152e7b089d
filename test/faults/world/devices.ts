/** Real devices that somebody else has attached, detached, or is using: with the bundled loop driver. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readlinkSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { loopDevicesBelow } from '../../sanity/leftovers.ts';
import type { Cell, Fault } from '../fault.ts';
import { demand, expectCode } from '../support/answers.ts';
import { onSite, type Site, until } from '../support/site.ts';
import type { Volume } from '../support/volume.ts';

const MIB = 1024 * 1024;

function losetup(...args: readonly string[]): string {
  return execFileSync('losetup', args, { encoding: 'utf8' }).trim();
}

/** The devices of a volume's image. */
function devicesOf(site: Site, volume: Volume): string[] {
  const image = imageOf(site, volume);
  return loopDevicesBelow(site.images)
    .filter(({ file }) => file === image)
    .map(({ device }) => device);
}

function imageOf(site: Site, volume: Volume): string {
  return join(site.images, `${volume.id}.img`);
}

function cell(call: string, work: (site: Site, volume: Volume) => Promise<string>): Cell {
  return {
    call,
    run: () =>
      onSite({ loop: true }, async (site) => {
        const volume = site.volume();
        const outcome = await work(site, volume);
        // Whatever it was, the next calls work, and the files are there.
        await volume.up();
        await volume.down();
        demand(devicesOf(site, volume).length === 0, 'its device is still attached');
        return outcome;
      }),
  };
}

const attached: readonly Cell[] = [
  cell('attach', async (site, volume) => {
    closeSync(openSync(imageOf(site, volume), 'w'));
    truncateSync(imageOf(site, volume), 16 * MIB);
    const device = losetup('--find', '--show', imageOf(site, volume));
    const { result } = await site.meanwhile(volume.attach());
    demand(result === device, `attached as ${result}, and it was as ${device}`);
    demand(devicesOf(site, volume).length === 1, 'it has two devices');
    return 'OK, the device that is there';
  }),
  cell('attach, twice', async (site, volume) => {
    await volume.up();
    await volume.down();
    const devices = [1, 2].map(() => losetup('--find', '--show', imageOf(site, volume)));
    const { result } = await site.meanwhile(expectCode(volume.attach(), 'INTERNAL', /losetup --detach/));
    for (const device of devices) losetup('--detach', device);
    return result;
  }),
  cell('stage', async (site, volume) => {
    await volume.up();
    await volume.unpublish();
    await volume.unstage();
    demand(devicesOf(site, volume).length === 1, 'it is not attached');
    await site.meanwhile(volume.stage());
    demand(devicesOf(site, volume).length === 1, 'it has two devices');
    return 'OK, the device that is there';
  }),
];

const gone: readonly Cell[] = [
  cell('stage', async (site, volume) => {
    await volume.up();
    await volume.down();
    losetup('--detach', await volume.attach());
    await site.meanwhile(volume.stage());
    demand(devicesOf(site, volume).length === 1, 'it is not attached');
    return 'OK, attached again';
  }),
  cell('publish', async (site, volume) => {
    await volume.up();
    await volume.unpublish();
    // The kernel detaches it when it is unmounted.
    losetup('--detach', devicesOf(site, volume)[0] ?? '');
    await site.meanwhile(volume.publish());
    volume.demandContent(volume.target);
    return 'OK';
  }),
  cell('unstage', async (site, volume) => {
    await volume.up();
    await volume.unpublish();
    losetup('--detach', devicesOf(site, volume)[0] ?? '');
    await site.meanwhile(volume.unstage());
    demand(devicesOf(site, volume).length === 0, 'the kernel has kept it');
    return 'OK';
  }),
  cell('detach', async (site, volume) => {
    await volume.up();
    await volume.down();
    losetup('--detach', await volume.attach());
    await site.meanwhile(volume.detach());
    return 'OK';
  }),
];

const busy: readonly Cell[] = [
  cell('detach', async (site, volume) => {
    await volume.up();
    await volume.down();
    const device = await volume.attach();
    const holder = spawn('sh', ['-c', 'exec sleep 1000 < "$1"', 'sh', device], { stdio: 'ignore' });
    try {
      await until('a process with the device', () => opened(holder.pid) === device);
      const { result } = await site.meanwhile(expectCode(volume.detach(), 'INTERNAL', /still in use/));
      demand(existsSync(device) && devicesOf(site, volume).length === 1, 'it was taken away');
      return result;
    } finally {
      const exited = once(holder, 'exit');
      holder.kill('SIGKILL');
      await exited;
      await volume.detach();
    }
  }),
  cell('detach, while staged', async (site, volume) => {
    await volume.up();
    const { result } = await site.meanwhile(expectCode(volume.detach(), 'INTERNAL', /still in use/));
    volume.demandContent(volume.target);
    return result;
  }),
];

function opened(pid: number | undefined): string {
  try {
    return readlinkSync(`/proc/${pid}/fd/0`);
  } catch {
    return '';
  }
}

export const faults: readonly Fault[] = [
  { group: 'world', name: 'device attached already', cells: attached },
  { group: 'world', name: 'device gone', cells: gone },
  { group: 'world', name: 'device busy', cells: busy },
];
