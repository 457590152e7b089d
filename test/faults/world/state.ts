/** The state directory: full, read-only, damaged, gone. Records are a convenience; a clean-up needs none. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Cell, Fault } from '../fault.ts';
import { answerOf, demand, expectCode } from '../support/answers.ts';
import { onSite, type Site, type SiteOptions, until } from '../support/site.ts';
import { capability, NO_HURRY, type Volume } from '../support/volume.ts';

const NAME = 'shelf.example.com';

/** What a fault does to the state directory, and how it ends. `damage` comes when there are records. */
interface Damage {
  readonly options?: SiteOptions;
  damage(site: Site): () => void;
  /** Codes of the calls that cannot do without what is damaged; all others are OK. */
  readonly codes?: Readonly<Partial<Record<Name, string>>>;
}

/** Each RPC that reads or writes a record: what comes before it, and itself. */
const calls = {
  create: { before: async () => {}, send: (volume: Volume) => volume.create() },
  'create, repeated': {
    before: async (volume: Volume) => void (await volume.create()),
    send: (volume: Volume) => volume.create(),
  },
  attach: { before: async () => {}, send: (volume: Volume) => volume.attach() },
  detach: {
    before: async (volume: Volume) => void (await volume.attach()),
    send: (volume: Volume) => volume.detach(),
  },
  stage: {
    before: async (volume: Volume) => void (await volume.attach()),
    send: (volume: Volume) => volume.stage(),
  },
  'stage, repeated': { before: staged, send: (volume: Volume) => volume.stage() },
  publish: { before: staged, send: (volume: Volume) => volume.publish() },
  'publish, repeated': { before: published, send: (volume: Volume) => volume.publish() },
  stats: { before: published, send: (volume: Volume) => volume.stats() },
  expand: { before: published, send: (volume: Volume) => volume.expandHere() },
  'expand, controller': {
    before: async (volume: Volume) => {
      await volume.create();
      await published(volume);
    },
    send: (volume: Volume) => volume.expand(),
  },
  unpublish: { before: published, send: (volume: Volume) => volume.unpublish() },
  unstage: { before: staged, send: (volume: Volume) => volume.unstage() },
} as const;

type Name = keyof typeof calls;

async function staged(volume: Volume): Promise<void> {
  await volume.attach();
  await volume.stage();
}

async function published(volume: Volume): Promise<void> {
  await staged(volume);
  await volume.publish();
}

function cells({ options, damage, codes = {} }: Damage, names = Object.keys(calls) as Name[]): Cell[] {
  return names.map((name) => ({
    call: name,
    run: () =>
      onSite({ attaches: true, ...options }, async (site) => {
        const volume = site.volume();
        const { before, send } = calls[name];
        await before(volume);
        const mounted = site.mountsAt(volume.target) + site.mountsAt(volume.staging);
        const repair = damage(site);
        const { result } = await site.meanwhile(expectCode(send(volume), codes[name] ?? 'OK'));
        if (result !== 'OK') {
          const now = site.mountsAt(volume.target) + site.mountsAt(volume.staging);
          demand(now === mounted, 'it failed and changed what is mounted');
        }
        await takeDownMeanwhile(site, volume);
        repair();
        // After the fault everything works again, and leaves nothing, not even of the time of the fault.
        await volume.up();
        await volume.down();
        await send(volume).catch(() => {});
        await volume.down();
        await volume.forget();
        return result;
      }),
  }));
}

/** Loss of the state costs no clean-up: all of it goes while the fault lasts. */
async function takeDownMeanwhile(site: Site, volume: Volume): Promise<void> {
  await volume.down();
  demand(site.mountsAt(volume.target) + site.mountsAt(volume.staging) === 0, 'it is still mounted');
  demand(!existsSync(join(site.shelf, 'attached', volume.id)), 'it is still attached');
}

function fill(directory: string): () => void {
  const file = join(directory, 'ballast');
  spawnSync('dd', ['if=/dev/zero', `of=${file}`, 'bs=4k'], { stdio: 'ignore' });
  // To the last byte: a record needs only one page.
  demand(
    spawnSync('sh', ['-c', 'echo x > "$1"', 'sh', `${file}-2`], { stdio: 'ignore' }).status !== 0,
    'it is not full',
  );
  return () => {
    rmSync(file);
    rmSync(`${file}-2`, { force: true });
  };
}

function fillInodes(directory: string): () => void {
  const ballast = join(directory, 'ballast');
  mkdirSync(ballast);
  for (let number = 0; ; number++) {
    try {
      writeFileSync(join(ballast, String(number)), '');
    } catch {
      return () => rmSync(ballast, { recursive: true });
    }
  }
}

function remount(directory: string): () => void {
  const mount = (mode: string) => execFileSync('mount', ['-o', `remount,${mode}`, directory]);
  mount('ro');
  return () => void mount('rw');
}

/** Does something to each record file that there is. */
function eachRecord(site: Site, change: (file: string) => void): () => void {
  const root = join(site.state, NAME);
  const entries = readdirSync(root, { recursive: true, withFileTypes: true });
  for (const entry of entries) if (entry.isFile()) change(join(entry.parentPath, entry.name));
  return () => {};
}

const kinds = ['volumes', 'attached', 'provisioned'] as const;

type Changes = Readonly<Record<string, (file: string) => void>>;

/** What a crash, a full disk or a damaged one leaves. */
const unfinished: Changes = {
  empty: (file) => truncateSync(file, 0),
  'cut short': (file) => truncateSync(file, Math.floor(statSync(file).size / 2)),
  'all zeros': (file) => writeFileSync(file, Buffer.alloc(statSync(file).size)),
  'with a file aside': (file) => copyFileSync(file, `${file}.new`),
};

/** What somebody else has put there. */
const foreign: Changes = {
  garbage: (file) => writeFileSync(file, Buffer.from(Array.from({ length: 999 }, (_, i) => (i * 89) % 256))),
  'of another format': (file) => writeFileSync(file, '{"version":2,"volume":{"name":"x"}}'),
  'of a newer schema': (file) => {
    const record = JSON.parse(readFileSync(file, 'utf8')) as { content: object };
    writeFileSync(
      file,
      JSON.stringify({ ...record, content: { ...record.content, boot: 7, nodes: 7, options: 7 } }),
    );
  },
  'of another volume': (file) => {
    const record = JSON.parse(readFileSync(file, 'utf8')) as object;
    writeFileSync(file, JSON.stringify({ ...record, key: 'another' }));
  },
  null: (file) => writeFileSync(file, 'null'),
  'deeply nested': (file) => writeFileSync(file, '['.repeat(200_000)),
  '64 MiB': (file) => writeFileSync(file, Buffer.alloc(64 * 1024 * 1024, 'x')),
};

/** Without a record the options of an expansion are not known. */
const withoutRecord = { expand: 'INTERNAL', 'expand, controller': 'INTERNAL' };

/** Nothing can be read, which is no proof that nothing was there: only the way down stays open. */
const unreadable = {
  'create, repeated': 'FAILED_PRECONDITION',
  create: 'FAILED_PRECONDITION|OK',
  attach: 'FAILED_PRECONDITION|OK',
  stage: 'FAILED_PRECONDITION|OK',
  'stage, repeated': 'FAILED_PRECONDITION',
  publish: 'FAILED_PRECONDITION',
  'publish, repeated': 'FAILED_PRECONDITION',
  expand: 'INTERNAL',
  'expand, controller': 'INTERNAL',
} as const;

const onTmpfs = { stateOn: 'size=256k,nr_inodes=64' };

function startCells(): Cell[] {
  return [
    {
      call: 'start of flexcsi',
      run: () =>
        onSite(onTmpfs, async (site) => {
          await site.server.end();
          const repair = remount(site.state);
          const refusal = await site.serve().then(
            () => 'it serves',
            (error: Error) => error.message,
          );
          demand(/ended with exit code [1-9]/.test(refusal) && /--state-dir/.test(refusal), refusal);
          repair();
          await site.serveAgain();
          return 'refused: --state-dir';
        }),
    },
  ];
}

/** A restart with damaged records serves all the same. */
function restartCells(change: (file: string) => void): Cell[] {
  return [
    {
      call: 'restart',
      run: () =>
        onSite({ attaches: true }, async (site) => {
          const volume = site.volume();
          await volume.create();
          await volume.up();
          eachRecord(site, change);
          await site.restart();
          const { result } = await site.meanwhile(expectCode(volume.publish(), 'OK'));
          volume.demandContent(volume.target);
          await volume.down();
          await volume.forget();
          return result;
        }),
    },
  ];
}

/** In-line volumes: the record counts the users of a shared device. */
function ephemeralCells(): Cell[] {
  const id = `csi-${'a'.repeat(64)}`;
  return [
    {
      call: 'publish of an in-line volume',
      run: () =>
        onSite({ attaches: true, ...onTmpfs }, async (site) => {
          const volume = site.volume('scratch');
          const request = {
            volume_id: id,
            target_path: volume.target,
            volume_capability: capability,
            volume_context: { 'csi.storage.k8s.io/ephemeral': 'true' },
          };
          const publish = () => volume.client.node('NodePublishVolume', request, NO_HURRY);
          const unpublish = () =>
            volume.client.node(
              'NodeUnpublishVolume',
              { volume_id: id, target_path: volume.target },
              NO_HURRY,
            );
          const repair = fill(site.state);
          const { result } = await site.meanwhile(
            expectCode(publish(), 'FAILED_PRECONDITION', /--state-dir/),
          );
          demand(!existsSync(join(site.shelf, 'attached/scratch')), 'it was attached all the same');
          await unpublish();
          repair();
          await publish();
          volume.demandContent(volume.target);
          const again = fill(site.state);
          await unpublish();
          demand(!existsSync(join(site.shelf, 'attached/scratch')), 'it is still attached');
          again();
          await unpublish();
          return `${result}, nothing attached`;
        }),
    },
  ];
}

/** The record of another volume in the place of this one must not lend it its options, nor be lost by it. */
function swapped(): Cell[] {
  return [
    {
      call: 'all calls',
      run: () =>
        onSite({ attaches: true }, async (site) => {
          const [a, b] = await site.published(2);
          demand(a !== undefined && b !== undefined, 'no volumes');
          const root = join(site.state, NAME, 'volumes');
          const files = readdirSync(root).map((name) => join(root, name));
          const ofB = files.find((file) => readFileSync(file, 'utf8').includes(`"key":"${b.id}"`));
          const ofA = files.find((file) => readFileSync(file, 'utf8').includes(`"key":"${a.id}"`));
          demand(ofA !== undefined && ofB !== undefined, 'no records');
          renameSync(ofB, ofA);
          await site.meanwhile(a.stats());
          await expectCode(a.expandHere(), 'INTERNAL');
          await a.publish();
          await a.down();
          await b.down();
          return 'OK; expand: INTERNAL';
        }),
    },
  ];
}

/** Loops of links, directories: what even root cannot read as a file. */
const blocked: Changes = {
  'a directory': (file) => {
    rmSync(file);
    mkdirSync(file);
  },
  'a loop of links': (file) => {
    rmSync(file);
    symlinkSync(file, file);
  },
};

function unblock(site: Site): void {
  const root = join(site.state, NAME);
  for (const kind of kinds) {
    const directory = join(root, kind);
    if (!existsSync(directory)) continue;
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      if (!entry.isFile()) rmSync(join(directory, entry.name), { recursive: true });
    }
  }
}

const recordCalls: Name[] = [
  'create, repeated',
  'detach',
  'stage, repeated',
  'publish, repeated',
  'stats',
  'expand',
  'expand, controller',
  'unpublish',
  'unstage',
];

/** Each call with each of the changes. */
function changed(changes: Changes): Cell[] {
  return Object.entries(changes).flatMap(([what, change]) => {
    const codes = what === 'with a file aside' ? {} : withoutRecord;
    const damage = (site: Site) => eachRecord(site, change);
    return [...cells({ damage, codes }, recordCalls), ...restartCells(change)].map(named(what));
  });
}

function unreadableCells(): Cell[] {
  return Object.entries(blocked).flatMap(([what, change]) => {
    const damage = (site: Site) => {
      eachRecord(site, change);
      return () => unblock(site);
    };
    return cells({ options: { others: 'stats' }, damage, codes: unreadable }, recordCalls).map(named(what));
  });
}

function named(what: string): (cell: Cell) => Cell {
  return (cell) => ({ ...cell, call: `${cell.call}: ${what}` });
}

async function settled(site: Site): Promise<string> {
  const volume = site.volume();
  const release = site.hold('mountdevice');
  await volume.attach();
  const stage = answerOf(volume.stage());
  await site.untilCalled('mountdevice', volume.id);
  rmSync(join(site.state, NAME), { recursive: true });
  release();
  const { code, details } = await stage;
  demand(code === 'OK', `answered ${code}: ${details}`);
  await until('the directory', () => existsSync(join(site.state, NAME, 'volumes')));
  await volume.publish();
  await volume.expandHere();
  await volume.down();
  return code;
}

export const faults: readonly Fault[] = [
  {
    group: 'world',
    name: 'full disk, state directory',
    cells: [...cells({ options: onTmpfs, damage: (site) => fill(site.state) }), ...ephemeralCells()],
  },
  {
    group: 'world',
    name: 'no inodes, state directory',
    cells: cells({ options: onTmpfs, damage: (site) => fillInodes(site.state) }),
  },
  {
    group: 'world',
    name: 'read-only state directory',
    cells: [...cells({ options: onTmpfs, damage: (site) => remount(site.state) }), ...startCells()],
  },
  { group: 'world', name: 'unfinished state files', cells: changed(unfinished) },
  { group: 'world', name: 'foreign state files', cells: changed(foreign) },
  { group: 'world', name: 'state files swapped', cells: swapped() },
  { group: 'world', name: 'state files that cannot be read', cells: unreadableCells() },
  {
    group: 'world',
    name: 'state directory removed',
    cells: [
      ...cells({
        damage: (site) => {
          rmSync(join(site.state, NAME), { recursive: true });
          return () => {};
        },
        codes: withoutRecord,
      }),
      { call: 'stage, while it runs', run: () => onSite({ attaches: true }, settled) },
    ],
  },
  {
    group: 'world',
    name: 'state directory is a file',
    cells: cells({
      options: { others: 'stats' },
      damage: (site) => {
        rmSync(join(site.state, NAME), { recursive: true });
        writeFileSync(join(site.state, NAME), '');
        return () => rmSync(join(site.state, NAME));
      },
      codes: {
        ...unreadable,
        create: 'FAILED_PRECONDITION',
        attach: 'FAILED_PRECONDITION',
        stage: 'FAILED_PRECONDITION',
      },
    }),
  },
];
