/** Target and staging paths with names that programs, shells and the mount table stumble over. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Cell, Fault } from '../fault.ts';
import { demand, expectCode } from '../support/answers.ts';
import { onSite, type Site } from '../support/site.ts';
import { NO_HURRY, type Volume } from '../support/volume.ts';

/** Good names, however odd: everything works, at exactly this path. */
const odd: Readonly<Record<string, string>> = {
  spaces: ' a  b ',
  'a tab': 'a\tb',
  'a newline': 'a\nb\n',
  quotes: `a"b'c\`d`,
  'an octal escape': 'a\\040b',
  'an escaped newline': 'a\\012b\\134',
  'a hash': '#a#',
  '//deleted': 'mount (deleted)',
  'shell characters': '$(touch x);*?[a-z]&|<>~',
  'a leading dash': '--help',
  'not ASCII': 'größe-日本語-😀-e\u0301',
  'control characters': 'a\u0001\u001b[31m\u007fb',
  '255 bytes': 'n'.repeat(255),
};

function oddPaths(): Cell[] {
  return Object.entries(odd).flatMap(([what, name]) => [
    {
      call: `publish, ${what}`,
      run: () =>
        onSite({}, async (site) => {
          const volume = site.volume();
          volume.target = below(site, name, name);
          return await publishThere(site, volume);
        }),
    },
    {
      call: `stage, ${what}`,
      run: () =>
        onSite({ attaches: true }, async (site) => {
          const volume = site.volume();
          Object.assign(volume, { staging: below(site, name, name) });
          await volume.attach();
          await site.meanwhile(volume.stage());
          demand(site.mountsAt(volume.staging) === 1, 'it is not mounted at the staging path');
          volume.demandContent(volume.staging);
          await volume.publish();
          volume.demandContent(volume.target);
          await volume.down();
          return 'OK';
        }),
    },
  ]);
}

/** A path of this many bytes. */
function longPath(site: Site, bytes: number): string {
  let path = join(site.kubelet, 'pods');
  while (bytes - Buffer.byteLength(path) > 300) path = join(path, 'd'.repeat(200));
  return join(path, 'm'.repeat(bytes - Buffer.byteLength(path) - 1));
}

function longPaths(): Cell[] {
  return [
    {
      call: 'publish, 4,000 bytes',
      run: () =>
        onSite({}, async (site) => {
          const volume = site.volume();
          volume.target = longPath(site, 4000);
          demand(Buffer.byteLength(volume.target) === 4000, 'the test made a path of another length');
          return await publishThere(site, volume);
        }),
    },
    {
      call: 'publish, 4,096 bytes',
      run: () =>
        onSite({}, async (site) => {
          const volume = site.volume();
          const code = await expectCode(
            volume.publish(longPath(site, 4096)),
            'INVALID_ARGUMENT',
            /4096 bytes/,
          );
          await expectCode(volume.unpublish(longPath(site, 4096)), 'INVALID_ARGUMENT', /target_path/);
          return code;
        }),
    },
    {
      call: 'publish, a name of 300 bytes',
      run: () =>
        onSite({}, async (site) => {
          const volume = site.volume();
          const path = below(site, 'x', 'n'.repeat(300));
          const { result } = await site.meanwhile(
            expectCode(volume.publish(path), 'INTERNAL', /File name too long/),
          );
          await expectCode(volume.unpublish(path), 'INTERNAL', /File name too long/);
          return result;
        }),
    },
  ];
}

/** Paths that are none: refused by name, with nothing done. */
const bad: Readonly<Record<string, (site: Site) => string>> = {
  empty: () => '',
  relative: () => 'pods/mount',
  root: () => '/',
  'with ..': (site) => `${site.kubelet}/pods/../../${basename(site.kubelet)}/mount`,
  'with .': (site) => `${site.kubelet}/./mount`,
  'ending in ..': (site) => `${site.kubelet}/pods/..`,
  'with a NUL': (site) => `${site.kubelet}/pods/a\0b`,
};

type Send = (volume: Volume, path: string) => Promise<unknown>;

/** Each RPC that takes a path, and the code for one that is none. */
const senders: Readonly<Record<string, { readonly send: Send; readonly code: string }>> = {
  publish: { send: (volume, path) => volume.publish(path), code: 'INVALID_ARGUMENT' },
  unpublish: { send: (volume, path) => volume.unpublish(path), code: 'INVALID_ARGUMENT' },
  stage: {
    send: (volume, path) =>
      volume.client.node(
        'NodeStageVolume',
        { ...volume.stageRequest(), staging_target_path: path },
        NO_HURRY,
      ),
    code: 'INVALID_ARGUMENT',
  },
  unstage: {
    send: (volume, path) =>
      volume.client.node('NodeUnstageVolume', { volume_id: volume.id, staging_target_path: path }, NO_HURRY),
    code: 'INVALID_ARGUMENT',
  },
  // A path at which nothing can be is not found, in these two.
  stats: { send: (volume, path) => volume.stats(path), code: 'INVALID_ARGUMENT|NOT_FOUND' },
  expand: { send: (volume, path) => volume.expandHere(path), code: 'INVALID_ARGUMENT|NOT_FOUND' },
};

function badPaths(): Cell[] {
  return Object.entries(senders).map(([call, { send, code }]) => ({
    call,
    run: () =>
      onSite({ attaches: true }, async (site) => {
        const codes = new Set<string>();
        const [volume] = await site.published();
        demand(volume !== undefined, 'no volume');
        const before = site.mounts().length;
        for (const [what, path] of Object.entries(bad)) {
          const answer = expectCode(send(volume, path(site)), code).catch((error: Error) => {
            throw new Error(`${what}: ${error.message}`);
          });
          codes.add(await answer);
        }
        demand(site.mounts().length === before, 'something was mounted or unmounted');
        volume.demandContent(volume.target);
        await volume.down();
        return [...codes].join(', ');
      }),
  }));
}

async function publishThere(site: Site, volume: Volume): Promise<string> {
  const parent = dirname(volume.target);
  await site.meanwhile(volume.publish());
  demand(site.mountsAt(volume.target) === 1, 'it is not mounted there, or not once');
  volume.demandContent(volume.target);
  await volume.publish();
  demand(site.mountsAt(volume.target) === 1, 'the repeat mounted it twice');
  await volume.stats();
  await volume.expandHere();
  await site.meanwhile(volume.unpublish());
  demand(!existsSync(volume.target), 'the target is left behind');
  demand(existsSync(parent), 'the directory above the target is gone');
  await volume.unpublish();
  const calls = readFileSync(join(site.shelf, 'calls'), 'utf8');
  demand(!/ touch|x$/m.test(calls) && !existsSync('/x'), 'a name was taken for a command');
  return 'OK';
}

function below(site: Site, ...names: readonly string[]): string {
  const path = join(site.kubelet, 'odd', ...names);
  mkdirSync(dirname(path), { recursive: true });
  return path;
}

export const faults: readonly Fault[] = [
  { group: 'world', name: 'odd names in paths', cells: oddPaths() },
  { group: 'world', name: 'long paths', cells: longPaths() },
  { group: 'world', name: 'paths that are none', cells: badPaths() },
];
