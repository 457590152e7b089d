/** A mount whose server is gone: ENOTCONN. The next call takes it away and mounts again. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Cell, Fault } from '../fault.ts';
import { demand, expectCode } from '../support/answers.ts';
import { onSite, type Site } from '../support/site.ts';
import { NO_HURRY, type Volume } from '../support/volume.ts';
import { hangAt } from './fuse.ts';

/** A published volume whose mount at this path has died. */
async function died(site: Site, at: (volume: Volume) => string): Promise<Volume> {
  const [volume] = await site.published();
  demand(volume !== undefined, 'no volume');
  await replaceByDead(at(volume));
  return volume;
}

async function replaceByDead(path: string): Promise<void> {
  execFileSync('umount', ['-c', path]);
  const server = await hangAt(path);
  await server.die();
}

const target = (volume: Volume): string => volume.target;
const staging = (volume: Volume): string => volume.staging;

const cells: Cell[] = [
  {
    call: 'publish',
    run: () =>
      onSite({}, async (site) => {
        const volume = await died(site, target);
        await site.meanwhile(volume.publish());
        demand(site.mountsAt(volume.target) === 1, 'the dead mount is still there');
        volume.demandContent(volume.target);
        await volume.down();
        return 'OK, mounted again';
      }),
  },
  {
    call: 'publish, staging path',
    run: () =>
      onSite({ attaches: true }, async (site) => {
        const volume = await died(site, staging);
        const second = `${dirname(volume.target)}/second`;
        await site.meanwhile(volume.publish(second));
        volume.demandContent(volume.staging);
        volume.demandContent(second);
        await volume.unpublish(second);
        await volume.down();
        return 'OK, staged again';
      }),
  },
  {
    call: 'stage',
    run: () =>
      onSite({ attaches: true }, async (site) => {
        const volume = await died(site, staging);
        await site.meanwhile(volume.stage());
        demand(site.mountsAt(volume.staging) === 1, 'the dead mount is still there');
        volume.demandContent(volume.staging);
        await volume.down();
        return 'OK, mounted again';
      }),
  },
  {
    call: 'stats',
    run: () =>
      onSite({}, async (site) => {
        const volume = await died(site, target);
        const { result } = await site.meanwhile(
          expectCode(volume.stats(), 'INTERNAL', /endpoint is not connected/),
        );
        await volume.publish();
        await volume.stats();
        await volume.down();
        return result;
      }),
  },
  {
    call: 'expand',
    run: () =>
      onSite({}, async (site) => {
        const volume = await died(site, target);
        const { result } = await site.meanwhile(
          expectCode(volume.expandHere(), 'INTERNAL', /endpoint is not connected/),
        );
        await volume.publish();
        await volume.expandHere();
        await volume.down();
        return result;
      }),
  },
  ...['driver', 'flexcsi'].map((who) => ({
    call: `unpublish by ${who}`,
    run: () =>
      onSite({ without: who === 'driver' ? [] : ['unmount'] }, async (site) => {
        const volume = await died(site, target);
        await site.meanwhile(volume.unpublish());
        await volume.down();
        return 'OK';
      }),
  })),
  {
    call: 'unstage',
    run: () =>
      onSite({ attaches: true }, async (site) => {
        const volume = await died(site, staging);
        await volume.unpublish();
        await site.meanwhile(volume.unstage());
        await volume.down();
        return 'OK';
      }),
  },
  {
    call: 'delete',
    run: () =>
      onSite({}, async (site) => {
        const volume = await died(site, target);
        const { result } = await site.meanwhile(expectCode(volume.delete(), 'FAILED_PRECONDITION', /in use/));
        await volume.down();
        return result;
      }),
  },
  ...(['publish', 'unpublish', 'stage', 'unstage', 'stats'] as const).map((call) => ({
    call: `${call} below it`,
    run: () =>
      onSite({ attaches: true }, async (site) => {
        const volume = site.volume();
        await volume.attach();
        const parent = join(site.kubelet, 'dead');
        mkdirSync(parent);
        await (await hangAt(parent)).die();
        const path = join(parent, 'mount');
        const send = {
          publish: () => volume.publish(path),
          unpublish: () => volume.unpublish(path),
          stats: () => volume.stats(path),
          stage: () =>
            volume.client.node(
              'NodeStageVolume',
              { ...volume.stageRequest(), staging_target_path: path },
              NO_HURRY,
            ),
          unstage: () =>
            volume.client.node(
              'NodeUnstageVolume',
              { volume_id: volume.id, staging_target_path: path },
              NO_HURRY,
            ),
        }[call];
        // What is below it cannot be known: only stats may take it for nothing.
        const code = call === 'stats' ? 'INTERNAL|NOT_FOUND' : 'INTERNAL|FAILED_PRECONDITION';
        const { result } = await site.meanwhile(
          expectCode(send(), code, /endpoint is not connected|dead mount|no volume/),
        );
        demand(site.mountsAt(parent) === 1, 'it was unmounted, though it is no volume');
        execFileSync('umount', ['-c', parent]);
        rmdirSync(parent);
        await volume.up();
        await volume.down();
        return result;
      }),
  })),
];

export const faults: readonly Fault[] = [{ group: 'world', name: 'dead FUSE server', cells }];
