/** The mount table: what the kernel writes is read back, whatever the names and wherever the text ends. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type MountEntry, MountTable, parseMountInfo } from '../../../src/mount/mount-table.ts';
import { anyBytes, anyText, spoiled, spoils } from '../support/bytes.ts';
import { target } from '../target.ts';

interface Mount {
  readonly entry: MountEntry;
  /** `shared:1`, `master:2` and the like. */
  readonly optional: readonly string[];
  readonly pointDeleted: boolean;
}

const part = fc.oneof(
  fc.string({ unit: fc.constantFrom(..."ab-#\\ \t\n0134éß😀:,.'"), minLength: 1, maxLength: 8 }),
  fc.constantFrom('-', '\\040', 'mount', '...', '\\', '(deleted)', ' ', '\\134'),
);
const path = fc.array(part, { maxLength: 4 }).map((parts) => `/${parts.join('/')}`);
/** No bare commas: the kernel joins options with them. */
const option = fc.oneof(
  fc.constantFrom('relatime', 'nosuid', 'size=1024k', 'lowerdir=/a:/b', 'x=a b', 'y=a\\b', 'z=#'),
  fc.string({ unit: fc.constantFrom(...'ab=/\\ \t\n#'), minLength: 1, maxLength: 5 }),
);
const first = fc.constantFrom('ro', 'rw');
const id = fc.nat({ max: 99_999 });

const mount: fc.Arbitrary<Mount> = fc.record({
  entry: fc.record(
    {
      id,
      parentId: id,
      device: fc.tuple(fc.nat({ max: 300 }), fc.nat({ max: 300 })).map((two) => two.join(':')),
      root: path,
      rootDeleted: fc.boolean(),
      mountPoint: path,
      options: fc.tuple(first, fc.constantFrom('relatime', 'nosuid')).map((two) => [...two]),
      fsType: fc.constantFrom('ext4', 'fuse.sshfs', 'nfs4', 'overlay'),
      source: fc.oneof(path, fc.constantFrom('', 'tmpfs', '-', 'host:/a b', '//server/share#1', 'none')),
      superOptions: fc.tuple(first, fc.array(option, { maxLength: 3 })).map(([one, more]) => [one, ...more]),
    },
    { noNullPrototype: true },
  ),
  optional: fc.array(fc.constantFrom('shared:7', 'master:1', 'propagate_from:2', 'unbindable'), {
    maxLength: 3,
  }),
  pointDeleted: fc.boolean(),
});

/** Linux, fs/proc_namespace.c: these characters in octal. */
function escaped(text: string): string {
  return text.replace(/[ \t\n\\#]/g, (one) => `\\${one.charCodeAt(0).toString(8).padStart(3, '0')}`);
}

function lineOf({ entry, optional, pointDeleted }: Mount): string {
  return [
    String(entry.id),
    String(entry.parentId),
    entry.device,
    escaped(entry.root) + (entry.rootDeleted ? '//deleted' : ''),
    escaped(entry.mountPoint) + (pointDeleted ? '//deleted' : ''),
    entry.options.join(','),
    ...optional,
    '-',
    entry.fsType,
    escaped(entry.source),
    entry.superOptions.map(escaped).join(','),
  ].join(' ');
}

export const mountTable = target({
  name: 'mount-table',
  what: 'entries written as the kernel does are read back; a torn text gives all whole lines',
  share: 10,
  begin: () => ({
    of: fc.tuple(fc.array(mount, { maxLength: 6 }), fc.option(fc.double({ min: 0, max: 1, noNaN: true }))),
    holds: ([mounts, cut]) => {
      const text = mounts.map((one) => `${lineOf(one)}\n`).join('');
      const entries = mounts.map(({ entry }) => entry);
      if (cut === null) {
        assert.deepEqual(parseMountInfo(text), entries);
        return;
      }
      const torn = text.slice(0, Math.floor(cut * text.length));
      const whole = torn.split('\n').length - 1;
      const read = parseMountInfo(torn);
      assert.deepEqual(read.slice(0, whole), entries.slice(0, whole));
      assert.ok(read.length <= whole + 1);
      // A line without its end may lack options; where it says that something is mounted is not cut.
      const { mountPoint, root, device, id: number } = entries[whole] ?? {};
      for (const last of read.slice(whole)) {
        assert.deepEqual(
          [last.id, last.device, last.root, last.mountPoint],
          [number, device, root, mountPoint],
        );
      }
    },
  }),
});

export const anyMountTable = target({
  name: 'mount-table-garbage',
  what: 'any text is a table, of as many entries as lines at most',
  share: 6,
  begin: () => ({
    of: fc.oneof(
      anyText,
      fc
        .tuple(fc.array(mount, { maxLength: 4 }), spoils)
        .map(([mounts, changes]) =>
          Buffer.from(spoiled(Buffer.from(mounts.map(lineOf).join('\n')), changes)).toString(),
        ),
      anyBytes.map((bytes) => Buffer.from(bytes).toString('latin1')),
    ),
    holds: (text) => {
      const entries = parseMountInfo(text);
      assert.ok(entries.length <= text.split('\n').length);
      const table = new MountTable(entries);
      for (const entry of entries) {
        assert.ok(Number.isInteger(entry.id) && /^\d+:\d+$/.test(entry.device));
        assert.equal(table.at(entry.mountPoint)?.mountPoint, entry.mountPoint);
        assert.ok(table.countAt(entry.mountPoint) >= 1);
      }
    },
  }),
});

/** Mounting and unmounting at a few paths, as the kernel keeps count of it. */
const steps = fc.array(
  fc.oneof(
    fc.record({ do: fc.constant('mount' as const), at: fc.nat({ max: 2 }) }),
    fc.record({ do: fc.constant('unmount' as const), at: fc.nat({ max: 2 }) }),
  ),
  { maxLength: 20 },
);

export const mountStacks = target({
  name: 'mount-stacks',
  what: 'the topmost mount of a stack is the one that the next unmount takes, in any order of the table',
  share: 4,
  begin: () => ({
    of: fc.tuple(steps, fc.infiniteStream(fc.nat())),
    holds: ([all, order]) => {
      const stacks: MountEntry[][] = [[], [], []];
      let next = 100;
      for (const { do: what, at } of all) {
        const stack = stacks[at] ?? [];
        if (what === 'unmount') stack.pop();
        else stack.push(simple(next, stack.at(-1)?.id ?? 1, `/mnt/${at}`));
        next += 1;
      }
      const keyed = stacks.flat().map((entry) => ({ entry, key: order.next().value as number }));
      const table = new MountTable(keyed.sort((a, b) => a.key - b.key).map(({ entry }) => entry));
      stacks.forEach((stack, at) => {
        assert.equal(table.at(`/mnt/${at}`)?.id, stack.at(-1)?.id);
        assert.equal(table.countAt(`/mnt/${at}`), stack.length);
      });
    },
  }),
});

function simple(number: number, parentId: number, mountPoint: string): MountEntry {
  return {
    id: number,
    parentId,
    device: '0:1',
    root: '/',
    rootDeleted: false,
    mountPoint,
    options: ['rw'],
    fsType: 'tmpfs',
    source: '',
    superOptions: ['rw'],
  };
}
