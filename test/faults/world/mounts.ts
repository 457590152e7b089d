/** Mounts on mounts, and mounts that somebody uses while they are to go. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readlinkSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Cell, Fault } from '../fault.ts';
import { demand, expectCode } from '../support/answers.ts';
import { onSite, type Site, type SiteOptions, until } from '../support/site.ts';
import type { Volume } from '../support/volume.ts';

/** A way in which a volume is mounted, and how it is taken away again. */
interface Way {
  readonly call: 'unpublish' | 'unstage';
  readonly who: string;
  readonly options: SiteOptions;
}

const ways: readonly Way[] = [
  { call: 'unpublish', who: 'driver', options: {} },
  { call: 'unpublish', who: 'flexcsi', options: { without: ['unmount'] } },
  { call: 'unstage', who: 'driver', options: { attaches: true } },
  { call: 'unstage', who: 'flexcsi', options: { attaches: true, without: ['unmountdevice'] } },
];

/** Brings a volume so far that the way back begins with the call. */
async function bringUp(site: Site, { call }: Way): Promise<{ volume: Volume; path: string }> {
  const volume = site.volume();
  await volume.up();
  if (call === 'unpublish') return { volume, path: volume.target };
  await volume.unpublish();
  return { volume, path: volume.staging };
}

function takeAway(volume: Volume, { call }: Way): Promise<unknown> {
  return call === 'unpublish' ? volume.unpublish() : volume.unstage();
}

function each(name: string, run: (site: Site, way: Way) => Promise<string>): Cell[] {
  return ways.map((way) => ({
    call: `${way.call} by ${way.who}${name}`,
    run: () => onSite(way.options, (site) => run(site, way)),
  }));
}

/** One call unmounts one layer, and says what is still there; the next one takes the next. */
async function stacked(site: Site, way: Way): Promise<string> {
  const { volume, path } = await bringUp(site, way);
  execFileSync('mount', ['-t', 'tmpfs', 'flexcsi-faults', path]);
  execFileSync('mount', ['-t', 'tmpfs', 'flexcsi-faults', path]);
  const codes = [];
  for (const left of [2, 1, 0]) {
    const wanted = left > 0 ? 'INTERNAL' : 'OK';
    const { result } = await site.meanwhile(expectCode(takeAway(volume, way), wanted, /still mounted/));
    codes.push(result);
    demand(site.mountsAt(path) === left, `${site.mountsAt(path)} mounts are left, not ${left}`);
  }
  await volume.down();
  return codes.join(', ');
}

/** What is mounted inside the volume keeps it. */
async function mountInside(site: Site, way: Way): Promise<string> {
  const { volume, path } = await bringUp(site, way);
  const inside = join(path, 'directory/empty');
  execFileSync('mount', ['-t', 'tmpfs', 'flexcsi-faults', inside]);
  const says = way.who === 'flexcsi' ? /mounted on it: .*empty/ : /busy/;
  const { result } = await site.meanwhile(expectCode(takeAway(volume, way), 'INTERNAL', says));
  demand(site.mountsAt(path) === 1 && site.mountsAt(inside) === 1, 'something was unmounted');
  execFileSync('umount', ['-c', inside]);
  await takeAway(volume, way);
  await volume.down();
  return `${result}, then OK`;
}

/** A process works in the volume: its data must stay where it is. */
function inUse(hold: (path: string) => ChildProcess) {
  return async (site: Site, way: Way): Promise<string> => {
    const { volume, path } = await bringUp(site, way);
    const holder = hold(path);
    try {
      await until('a process in the volume', () => holds(holder, path));
      const says = way.who === 'flexcsi' ? new RegExp(`held by .*\\(pid ${holder.pid}\\)`) : /busy/;
      for (let attempt = 1; attempt <= 2; attempt++) {
        await site.meanwhile(expectCode(takeAway(volume, way), 'INTERNAL', says));
        volume.demandContent(path);
      }
    } finally {
      const exited = once(holder, 'exit');
      holder.kill('SIGKILL');
      await exited;
    }
    await takeAway(volume, way);
    await volume.down();
    return 'INTERNAL, then OK';
  };
}

function holds({ pid }: ChildProcess, path: string): boolean {
  const links = ['cwd', 'fd/0'].map((name) => {
    try {
      return readlinkSync(`/proc/${pid}/${name}`);
    } catch {
      return '';
    }
  });
  return links.some((link) => link === path || link.startsWith(`${path}/`));
}

const workingDirectory = (path: string): ChildProcess =>
  spawn('sleep', ['1000'], { cwd: join(path, 'directory'), stdio: 'ignore' });
const openFile = (path: string): ChildProcess =>
  spawn('sh', ['-c', 'exec sleep 1000 < "$1"', 'sh', join(path, 'file')], { stdio: 'ignore' });

/** A mount on top does not hide from stats and publish what flexcsi has to do. */
function stackedOthers(): Cell[] {
  return [
    {
      call: 'publish',
      run: () =>
        onSite({}, async (site) => {
          const [volume] = await site.published();
          demand(volume !== undefined, 'no volume');
          execFileSync('mount', ['-t', 'tmpfs', 'flexcsi-faults', volume.target]);
          await site.meanwhile(volume.publish());
          demand(site.mountsAt(volume.target) === 2, 'the repeat changed what is mounted');
          await volume.stats();
          await volume.down();
          return 'OK, taken as it is';
        }),
    },
    {
      call: 'delete',
      run: () =>
        onSite({}, async (site) => {
          const volume = site.volume();
          await volume.up();
          execFileSync('mount', ['-t', 'tmpfs', 'flexcsi-faults', volume.target]);
          const { result } = await site.meanwhile(
            expectCode(volume.delete(), 'FAILED_PRECONDITION', /in use/),
          );
          await volume.down();
          return result;
        }),
    },
  ];
}

/** Under the mount there are files on the node's own disk; they show when it is gone, and stay. */
function hidden(): Cell[] {
  return [
    {
      call: 'unpublish',
      run: () =>
        onSite({}, async (site) => {
          const volume = site.volume();
          const below = join(volume.target, 'below');
          mkdirSync(below, { recursive: true });
          await volume.publish();
          const { result } = await site.meanwhile(expectCode(volume.unpublish(), 'INTERNAL', /not empty/));
          demand(site.mountsAt(volume.target) === 0, 'it is still mounted');
          await expectCode(volume.unpublish(), 'INTERNAL', /not empty/);
          rmdirSync(below);
          await volume.unpublish();
          return `${result}, then OK`;
        }),
    },
  ];
}

export const faults: readonly Fault[] = [
  { group: 'world', name: 'stacked mounts', cells: [...each('', stacked), ...stackedOthers()] },
  { group: 'world', name: 'a mount inside the volume', cells: each('', mountInside) },
  {
    group: 'world',
    name: 'busy on unmount',
    cells: [...each(', working directory', inUse(workingDirectory)), ...each(', open file', inUse(openFile))],
  },
  { group: 'world', name: 'files under the mount', cells: hidden() },
];
