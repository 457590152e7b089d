/** Kubelet's own directory: full, read-only, and with parts of it missing. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Cell, Fault } from '../fault.ts';
import { demand, expectCode } from '../support/answers.ts';
import { onSite, type Site } from '../support/site.ts';
import type { Volume } from '../support/volume.ts';

interface Damage {
  readonly call: string;
  before(volume: Volume): Promise<void>;
  send(volume: Volume): Promise<unknown>;
  /** Codes while nothing can be made there, and while nothing can be changed there. */
  readonly full: string;
  readonly readOnly: string;
}

const nothing = async (): Promise<void> => {};
const attached = async (volume: Volume): Promise<void> => void (await volume.attach());
const staged = async (volume: Volume): Promise<void> => {
  await volume.attach();
  await volume.stage();
};
const published = (volume: Volume): Promise<void> => volume.up();

const calls: readonly Damage[] = [
  { call: 'attach', before: nothing, send: (v) => v.attach(), full: 'OK', readOnly: 'OK' },
  { call: 'stage', before: attached, send: (v) => v.stage(), full: 'INTERNAL', readOnly: 'INTERNAL' },
  { call: 'publish', before: staged, send: (v) => v.publish(), full: 'INTERNAL', readOnly: 'INTERNAL' },
  { call: 'publish, repeated', before: published, send: (v) => v.publish(), full: 'OK', readOnly: 'OK' },
  { call: 'stats', before: published, send: (v) => v.stats(), full: 'OK', readOnly: 'OK' },
  { call: 'expand', before: published, send: (v) => v.expandHere(), full: 'OK', readOnly: 'OK' },
  { call: 'unpublish', before: published, send: (v) => v.unpublish(), full: 'OK', readOnly: 'INTERNAL' },
  { call: 'unstage', before: staged, send: (v) => v.unstage(), full: 'OK', readOnly: 'INTERNAL' },
];

const kubeletOn = 'size=1m,nr_inodes=200';

function cells(which: 'full' | 'readOnly', damage: (site: Site) => () => void): Cell[] {
  return calls.map((one) => ({
    call: one.call,
    run: () =>
      onSite({ attaches: true, others: 'stats', kubeletOn }, async (site) => {
        const volume = site.volume();
        await one.before(volume);
        const repair = damage(site);
        try {
          const mounted = site.mountsAt(volume.target) + site.mountsAt(volume.staging);
          const says = which === 'full' ? /No space left on device/ : /Read-only file system/;
          const { result } = await site.meanwhile(expectCode(one.send(volume), one[which], says));
          const now = site.mountsAt(volume.target) + site.mountsAt(volume.staging);
          demand(result === 'OK' || now <= mounted, 'it failed, and something is mounted');
          if (result !== 'OK') await expectCode(one.send(volume), one[which], says);
          return result;
        } finally {
          repair();
          // The next call repairs it, whichever it was.
          await one.send(volume);
          await volume.up();
          await volume.down();
        }
      }),
  }));
}

function fillInodes(site: Site): () => void {
  const ballast = join(site.kubelet, 'ballast');
  mkdirSync(ballast);
  for (let number = 0; ; number++) {
    try {
      writeFileSync(join(ballast, String(number)), '');
    } catch {
      return () => rmSync(ballast, { recursive: true });
    }
  }
}

function makeReadOnly(site: Site): () => void {
  const remount = (mode: string) => execFileSync('mount', ['-o', `remount,${mode}`, site.kubelet]);
  remount('ro');
  return () => void remount('rw');
}

/** Directories that kubelet makes, and somebody has removed; mounts that are lost. */
function missing(): Cell[] {
  const at = (
    call: string,
    attaches: boolean,
    run: (site: Site, volume: Volume) => Promise<string>,
  ): Cell => ({
    call,
    run: () =>
      onSite({ attaches }, async (site) => {
        const volume = site.volume();
        const outcome = await run(site, volume);
        await volume.up();
        await volume.down();
        return outcome;
      }),
  });
  return [
    at('publish, directories above', false, async (site, volume) => {
      rmSync(join(site.kubelet, 'pods', volume.id), { recursive: true });
      await site.meanwhile(volume.publish());
      volume.demandContent(volume.target);
      await volume.unpublish();
      demand(existsSync(dirname(volume.target)), 'more than the target was removed');
      return 'OK';
    }),
    at('unpublish, directories above', false, async (site, volume) => {
      rmSync(join(site.kubelet, 'pods', volume.id), { recursive: true });
      await site.meanwhile(volume.unpublish());
      demand(!existsSync(join(site.kubelet, 'pods', volume.id)), 'it was made again');
      return 'OK';
    }),
    at('unpublish, target removed', false, async (site, volume) => {
      await volume.publish();
      execFileSync('umount', ['-c', volume.target]);
      rmdirSync(volume.target);
      await site.meanwhile(volume.unpublish());
      return 'OK';
    }),
    at('unpublish, mount lost', false, async (site, volume) => {
      await volume.publish();
      execFileSync('umount', ['-c', volume.target]);
      await site.meanwhile(volume.unpublish());
      demand(!existsSync(volume.target), 'the target is left behind');
      return 'OK';
    }),
    at('publish, mount lost', false, async (site, volume) => {
      await volume.publish();
      execFileSync('umount', ['-c', volume.target]);
      await site.meanwhile(volume.publish());
      volume.demandContent(volume.target);
      return 'OK, mounted again';
    }),
    at('stats and expand, target removed', false, async (site, volume) => {
      const { result } = await site.meanwhile(expectCode(volume.stats(), 'NOT_FOUND'));
      await expectCode(volume.expandHere(), 'NOT_FOUND');
      return result;
    }),
    at('stage, staging directory gone', true, async (site, volume) => {
      await volume.attach();
      await volume.stage();
      execFileSync('umount', ['-c', volume.staging]);
      rmdirSync(volume.staging);
      await site.meanwhile(volume.stage());
      volume.demandContent(volume.staging);
      return 'OK, staged again';
    }),
    at('publish, staging directory gone', true, async (site, volume) => {
      await volume.attach();
      await volume.stage();
      execFileSync('umount', ['-c', volume.staging]);
      rmdirSync(volume.staging);
      await site.meanwhile(volume.publish());
      volume.demandContent(volume.target);
      return 'OK, staged again';
    }),
    at('publish, never staged', true, async (site, volume) => {
      await volume.attach();
      await site.meanwhile(volume.publish());
      volume.demandContent(volume.target);
      return 'OK, staged first';
    }),
    at('unstage, staging directory gone', true, async (site, volume) => {
      await volume.attach();
      await volume.stage();
      execFileSync('umount', ['-c', volume.staging]);
      rmdirSync(volume.staging);
      await site.meanwhile(volume.unstage());
      return 'OK';
    }),
    at('unstage, unknown volume', true, async (site, volume) => {
      await site.meanwhile(volume.unstage());
      await volume.unpublish();
      await volume.detach();
      return 'OK';
    }),
    at('unstage, before unpublish', true, async (site, volume) => {
      await volume.attach();
      await volume.stage();
      await volume.publish();
      await site.meanwhile(volume.unstage());
      volume.demandContent(volume.target);
      return 'OK, the pod keeps its mount';
    }),
  ];
}

export const faults: readonly Fault[] = [
  { group: 'world', name: "full disk, kubelet's directory", cells: cells('full', fillInodes) },
  { group: 'world', name: "read-only, kubelet's directory", cells: cells('readOnly', makeReadOnly) },
  { group: 'world', name: 'missing directories and mounts', cells: missing() },
];
