/** Something else is at the target or staging path, or the path leads elsewhere. What is there is not ours. */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { Cell, Fault } from '../fault.ts';
import { demand, expectCode } from '../support/answers.ts';
import { onSite, type Site, type SiteOptions } from '../support/site.ts';
import { fingerprint, NO_HURRY, type Volume } from '../support/volume.ts';

const PRECIOUS = 'somebody needs this\n';

/** A thing that is at a path before flexcsi is asked to work there. */
interface Thing {
  /** Puts it there; answers the check that it is as it was, and how it is taken away. */
  put(site: Site, path: string): { demandUntouched(): void; remove(): void };
}

const file: Thing = {
  put: (_site, path) => {
    writeFileSync(path, PRECIOUS);
    return {
      demandUntouched: () =>
        demand(lstatSync(path).isFile() && readFileSync(path, 'utf8') === PRECIOUS, 'the file was changed'),
      remove: () => unlinkSync(path),
    };
  },
};

/** A link to what `make` makes outside the path; that, too, has to stay as it is. */
function link(make: (site: Site) => { to: string; removeTarget(): void }): Thing {
  return {
    put: (site, path) => {
      const { to, removeTarget } = make(site);
      symlinkSync(to, path);
      const before = existsSync(to) ? fingerprint(to) : '';
      return {
        demandUntouched: () => {
          demand(lstatSync(path).isSymbolicLink() && readlinkSync(path) === to, 'the link was changed');
          demand((existsSync(to) ? fingerprint(to) : '') === before, 'what the link leads to was changed');
          demand(site.mountsAt(to) <= 1, 'something was mounted where the link leads');
        },
        remove: () => {
          unlinkSync(path);
          removeTarget();
        },
      };
    },
  };
}

const linkToDirectory = link((site) => {
  const to = elsewhere(site);
  return {
    to,
    removeTarget: () => {
      unlinkSync(join(to, 'file'));
      rmdirSync(to);
    },
  };
});

const danglingLink = link((site) => ({ to: join(site.directory, 'nowhere'), removeTarget: () => {} }));

const linkToMount = link((site) => {
  const to = join(site.directory, 'mounted');
  mkdirSync(to);
  execFileSync('mount', ['-t', 'tmpfs', 'flexcsi-faults', to]);
  writeFileSync(join(to, 'file'), PRECIOUS);
  return {
    to,
    removeTarget: () => {
      execFileSync('umount', ['-c', to]);
      rmdirSync(to);
    },
  };
});

const filledDirectory: Thing = {
  put: (_site, path) => {
    mkdirSync(path);
    writeFileSync(join(path, 'file'), PRECIOUS);
    const before = fingerprint(path);
    return {
      demandUntouched: () => demand(fingerprint(path) === before, 'the directory was changed'),
      remove: () => {
        unlinkSync(join(path, 'file'));
        rmdirSync(path);
      },
    };
  },
};

const socket: Thing = {
  put: (_site, path) => {
    execFileSync('mkfifo', [path]);
    return {
      demandUntouched: () => demand(lstatSync(path).isFIFO(), 'the FIFO was changed'),
      remove: () => unlinkSync(path),
    };
  },
};

function elsewhere(site: Site): string {
  const path = join(site.directory, 'elsewhere');
  mkdirSync(path);
  writeFileSync(join(path, 'file'), PRECIOUS);
  return path;
}

/** A call, the site that it needs, where its path is, and how it answers. */
interface Meeting {
  readonly call: string;
  readonly options: SiteOptions;
  readonly path: (volume: Volume) => string;
  readonly send: (volume: Volume) => Promise<unknown>;
  readonly code: string;
  readonly says?: RegExp;
}

const atTarget = (volume: Volume): string => volume.target;
const atStaging = (volume: Volume): string => volume.staging;

/** The calls at a path where something is that no volume can be mounted on. */
function meetings(unpublish: string, unstage: string, stats: string): Meeting[] {
  const codes = { publish: 'FAILED_PRECONDITION', unpublish, stats };
  const stages = { attaches: true };
  return [
    {
      call: 'publish',
      options: {},
      path: atTarget,
      send: (v) => v.publish(),
      code: codes.publish,
      says: /remove it/,
    },
    { call: 'unpublish', options: {}, path: atTarget, send: (v) => v.unpublish(), code: codes.unpublish },
    { call: 'stats', options: {}, path: atTarget, send: (v) => v.stats(), code: codes.stats },
    {
      call: 'stage',
      options: stages,
      path: atStaging,
      send: (v) => v.stage(),
      code: codes.publish,
      says: /remove it/,
    },
    { call: 'unstage', options: stages, path: atStaging, send: (v) => v.unstage(), code: unstage },
  ];
}

function thingCells(thing: Thing, calls: readonly Meeting[]): Cell[] {
  return calls.map(({ call, options, path, send, code, says }) => ({
    call,
    run: () =>
      onSite(options, async (site) => {
        const volume = site.volume();
        if (options.attaches) await volume.attach();
        mkdirSync(dirname(path(volume)), { recursive: true });
        const { demandUntouched, remove } = thing.put(site, path(volume));
        const { result } = await site.meanwhile(expectCode(send(volume), code, says));
        demandUntouched();
        demand(site.mountsAt(path(volume)) === 0, 'something is mounted there');
        // The retry must not be any bolder.
        await expectCode(send(volume), code, says);
        demandUntouched();
        remove();
        await volume.up();
        await volume.down();
        return result;
      }),
  }));
}

/** A directory above the path is a link that leads out of kubelet's directory. */
function leadsOutside(): Cell[] {
  const rows: readonly [string, (volume: Volume, path: string) => Promise<unknown>, string][] = [
    ['publish', (volume, path) => volume.publish(join(path, 'mount')), 'INVALID_ARGUMENT'],
    ['unpublish', (volume, path) => volume.unpublish(join(path, 'mount')), 'FAILED_PRECONDITION'],
    ['stage', (volume, path) => stageAt(volume, join(path, 'mount')), 'INVALID_ARGUMENT'],
    ['unstage', (volume, path) => unstageAt(volume, join(path, 'mount')), 'FAILED_PRECONDITION'],
    // The resizer would give up for good on INVALID_ARGUMENT and FAILED_PRECONDITION.
    ['expand', (volume, path) => volume.expandHere(join(path, 'mount')), 'INTERNAL'],
  ];
  return rows.map(([call, send, code]) => ({
    call,
    run: () =>
      onSite({ attaches: true }, async (site) => {
        const volume = site.volume();
        await volume.attach();
        const outside = join(site.directory, 'outside');
        mkdirSync(join(outside, 'mount'), { recursive: true });
        const path = join(site.kubelet, 'link');
        symlinkSync(outside, path);
        const { result } = await site.meanwhile(
          expectCode(send(volume, path), code, /not below kubelet's directory/),
        );
        demand(existsSync(join(outside, 'mount')), 'a directory outside was removed');
        // A mount there is somebody's, too.
        execFileSync('mount', ['-t', 'tmpfs', 'flexcsi-faults', join(outside, 'mount')]);
        await expectCode(send(volume, path), code);
        demand(site.mountsAt(join(outside, 'mount')) === 1, 'a mount outside was changed');
        execFileSync('umount', ['-c', join(outside, 'mount')]);
        unlinkSync(path);
        await volume.up();
        await volume.down();
        return result;
      }),
  }));
}

/** The path itself is outside. Unpublish and unstage have nothing to do there; it may stem from another time. */
function outside(): Cell[] {
  const rows: readonly [string, (volume: Volume, path: string) => Promise<unknown>, string][] = [
    ['publish', (volume, path) => volume.publish(path), 'INVALID_ARGUMENT'],
    ['unpublish', (volume, path) => volume.unpublish(join(path, 'missing')), 'OK'],
    ['stage', (volume, path) => stageAt(volume, path), 'INVALID_ARGUMENT'],
    ['unstage', (volume, path) => unstageAt(volume, join(path, 'missing')), 'OK'],
    ['stats', (volume, path) => volume.stats(path), 'NOT_FOUND'],
  ];
  return rows.map(([call, send, code]) => ({
    call,
    run: () =>
      onSite({ attaches: true }, async (site) => {
        const volume = site.volume();
        await volume.attach();
        const path = elsewhere(site);
        const before = fingerprint(path);
        // A name that only begins like kubelet's directory is outside, too.
        const alike = `${site.kubelet}-2`;
        mkdirSync(alike);
        const { result } = await site.meanwhile(expectCode(send(volume, path), code));
        await expectCode(send(volume, join(alike, 'mount')), code);
        demand(fingerprint(path) === before && existsSync(alike), 'something outside was changed');
        await volume.up();
        await volume.down();
        return result;
      }),
  }));
}

/** Links that stay inside are followed: kubelet's directory is often one to another disk. */
function staysInside(): Cell[] {
  return [
    {
      call: 'publish, unpublish',
      run: () =>
        onSite({}, async (site) => {
          const volume = site.volume();
          const real = join(site.kubelet, 'real');
          mkdirSync(real);
          symlinkSync(real, join(site.kubelet, 'link'));
          volume.target = join(site.kubelet, 'link/mount');
          await site.meanwhile(volume.publish());
          demand(site.mountsAt(join(real, 'mount')) === 1, 'it is not mounted where the link leads');
          await volume.publish();
          demand(site.mountsAt(join(real, 'mount')) === 1, 'the repeat mounted it twice');
          await volume.stats();
          await volume.unpublish();
          demand(!existsSync(join(real, 'mount')) && existsSync(real), 'the wrong directory was removed');
          return 'OK';
        }),
    },
  ];
}

/** A mount of something else at the path: as under kubelet, what is mounted there is the volume. */
function otherMount(): Cell[] {
  const mountTmpfs = (path: string): void => {
    mkdirSync(path, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', 'flexcsi-faults', path]);
    writeFileSync(join(path, 'file'), PRECIOUS);
  };
  return [
    {
      call: 'publish',
      run: () =>
        onSite({}, async (site) => {
          const volume = site.volume();
          mountTmpfs(volume.target);
          await site.meanwhile(volume.publish());
          demand(site.calls('mount', volume.id) === 0, 'the driver was called');
          demand(readFileSync(join(volume.target, 'file'), 'utf8') === PRECIOUS, 'it is hidden, or gone');
          await volume.unpublish();
          demand(site.mountsAt(volume.target) === 0, 'it is still mounted');
          return 'OK, taken as it is';
        }),
    },
    {
      call: 'stage',
      run: () =>
        onSite({ attaches: true }, async (site) => {
          const volume = site.volume();
          await volume.attach();
          mountTmpfs(volume.staging);
          await site.meanwhile(volume.stage());
          demand(site.calls('mountdevice', volume.staging) === 0, 'the driver was called');
          demand(site.mountsAt(volume.staging) === 1, 'something was mounted on it');
          await volume.unstage();
          await volume.detach();
          return 'OK, taken as it is';
        }),
    },
    {
      call: 'stats',
      run: () =>
        onSite({}, async (site) => {
          const volume = site.volume();
          mountTmpfs(volume.target);
          await site.meanwhile(volume.stats());
          await volume.unpublish();
          return 'OK';
        }),
    },
  ];
}

function stageAt(volume: Volume, path: string): Promise<unknown> {
  const request = { ...volume.stageRequest(), staging_target_path: path };
  return volume.client.node('NodeStageVolume', request, NO_HURRY);
}

function unstageAt(volume: Volume, path: string): Promise<unknown> {
  return volume.client.node(
    'NodeUnstageVolume',
    { volume_id: volume.id, staging_target_path: path },
    NO_HURRY,
  );
}

const refused = meetings('FAILED_PRECONDITION', 'FAILED_PRECONDITION', 'NOT_FOUND');
const notEmpty = meetings('INTERNAL', 'FAILED_PRECONDITION', 'NOT_FOUND');
/** Volumes may be mounted on a directory with files; unpublish must leave them. */
const filled: readonly Meeting[] = [
  {
    call: 'unpublish',
    options: {},
    path: atTarget,
    send: (v) => v.unpublish(),
    code: 'INTERNAL',
    says: /not empty/,
  },
  {
    call: 'unstage',
    options: { attaches: true },
    path: atStaging,
    send: (v) => v.unstage(),
    code: 'INTERNAL',
    says: /not empty/,
  },
];

export const faults: readonly Fault[] = [
  { group: 'world', name: 'a file at the path', cells: thingCells(file, notEmpty) },
  { group: 'world', name: 'a FIFO at the path', cells: thingCells(socket, refused) },
  { group: 'world', name: 'a link to a directory at the path', cells: thingCells(linkToDirectory, refused) },
  { group: 'world', name: 'a dangling link at the path', cells: thingCells(danglingLink, refused) },
  { group: 'world', name: 'a link to a mount at the path', cells: thingCells(linkToMount, refused) },
  { group: 'world', name: 'files in the directory at the path', cells: thingCells(filledDirectory, filled) },
  { group: 'world', name: 'another mount at the path', cells: otherMount() },
  { group: 'world', name: 'a link above the path leads outside', cells: leadsOutside() },
  { group: 'world', name: 'a link above the path stays inside', cells: staysInside() },
  { group: 'world', name: "outside kubelet's directory", cells: outside() },
];
