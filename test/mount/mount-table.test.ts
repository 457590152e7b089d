import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isReadOnly, type MountEntry, MountTable, parseMountInfo } from '../../src/mount/mount-table.ts';
import { lacks } from '../support/requirements.ts';
import { host, run, useSandbox } from './support/sandbox.ts';

function entry(changes: Partial<MountEntry>): MountEntry {
  return {
    id: 2,
    parentId: 1,
    device: '8:1',
    root: '/',
    rootDeleted: false,
    mountPoint: '/mnt',
    options: ['rw', 'relatime'],
    fsType: 'ext4',
    source: '/dev/sda1',
    superOptions: ['rw'],
    ...changes,
  };
}

describe('parseMountInfo', () => {
  it.each<[what: string, line: string, expected: MountEntry]>([
    ['no optional field', '2 1 8:1 / /mnt rw,relatime - ext4 /dev/sda1 rw', entry({})],
    ['optional fields', '2 1 8:1 / /mnt rw,relatime shared:7 master:1 - ext4 /dev/sda1 rw', entry({})],
    [
      'a source that is empty',
      '2 1 0:5 / /mnt rw - tmpfs  rw',
      entry({ device: '0:5', options: ['rw'], fsType: 'tmpfs', source: '' }),
    ],
    ['a mount point named "-"', '2 1 8:1 / /- rw,relatime - ext4 /dev/sda1 rw', entry({ mountPoint: '/-' })],
    [
      'a mount point "/-" behind the optional fields',
      '2 1 8:1 /- /- rw,relatime shared:1 - ext4 - rw',
      entry({ root: '/-', mountPoint: '/-', source: '-' }),
    ],
    [
      'space, tab, line break, backslash, #',
      '2 1 8:1 / /a\\040b\\011c\\012d\\134e\\043f rw,relatime - ext4 /dev/sda1 rw',
      entry({ mountPoint: '/a b\tc\nd\\e#f' }),
    ],
    [
      'a name that looks like an escape',
      '2 1 8:1 / /a\\134040b rw,relatime - ext4 /dev/sda1 rw',
      entry({ mountPoint: '/a\\040b' }),
    ],
    [
      'bytes beyond ASCII',
      '2 1 8:1 / /ä\u{1F4BE} rw,relatime - ext4 /dev/sda1 rw',
      entry({ mountPoint: '/ä\u{1F4BE}' }),
    ],
    [
      'a bind of a directory that was removed',
      '2 1 8:1 /a//deleted /mnt rw,relatime - ext4 /dev/sda1 rw',
      entry({ root: '/a', rootDeleted: true }),
    ],
    [
      'a directory that is only called so',
      '2 1 8:1 /a/deleted /mnt rw,relatime - ext4 /dev/sda1 rw',
      entry({ root: '/a/deleted' }),
    ],
    [
      'escapes in the source',
      '2 1 0:5 / /mnt rw,relatime - cifs //s/a\\040b rw,x=\\054',
      entry({ device: '0:5', fsType: 'cifs', source: '//s/a b', superOptions: ['rw', 'x=,'] }),
    ],
    [
      'a bare space in the last field',
      '2 1 8:1 / /mnt rw,relatime - ext4 /dev/sda1 rw,a=b c',
      entry({ superOptions: ['rw', 'a=b c'] }),
    ],
  ])('reads %s', (_, line, expected) => {
    expect(parseMountInfo(`${line}\n`)).toEqual([expected]);
  });

  it.each([
    '',
    'garbage',
    '2 1 8:1 / /mnt rw,relatime',
    '2 1 8:1 / /mnt rw,relatime - ext4 /dev/sda1',
    'x 1 8:1 / /mnt rw - ext4 /dev/sda1 rw',
    '2 1 8 / /mnt rw - ext4 /dev/sda1 rw',
  ])('leaves out the line %j and keeps the others', (line) => {
    const good = '2 1 8:1 / /mnt rw,relatime - ext4 /dev/sda1 rw';
    expect(parseMountInfo(`${good}\n${line}\n${good}\n`)).toEqual([entry({}), entry({})]);
  });

  it('reads back any name that the kernel can write', () => {
    const asKernel = (text: string) =>
      text.replace(/[ \t\n\\#]/g, (c) => `\\${c.charCodeAt(0).toString(8).padStart(3, '0')}`);
    const name = fc.string({
      unit: fc.constantFrom(' ', '\t', '\n', '\\', '#', '-', ':', ',', '0', '4', 'a', 'ü'),
    });
    fc.assert(
      fc.property(name, name, name, (root, point, source) => {
        const line = `2 1 8:1 /${asKernel(root)} /${asKernel(point)} rw,relatime shared:1 - ext4 ${asKernel(source)} rw`;
        expect(parseMountInfo(line)).toEqual([entry({ root: `/${root}`, mountPoint: `/${point}`, source })]);
      }),
    );
  });

  it('reads 10,000 mounts', () => {
    const lines = Array.from({ length: 10_000 }, (_, n) => `${n + 2} 1 0:${n} / /m/${n} rw - tmpfs t rw`);
    const table = new MountTable(parseMountInfo(lines.join('\n')));
    expect(table.entries).toHaveLength(10_000);
    expect(table.at('/m/9999')?.device).toBe('0:9999');
  });
});

describe('MountTable', () => {
  const table = new MountTable([
    entry({ id: 1, parentId: 1, mountPoint: '/' }),
    entry({ id: 5, parentId: 9, mountPoint: '/x', root: '/a' }),
    entry({ id: 7, parentId: 1, mountPoint: '/x', root: '/b', device: '8:2' }),
    entry({ id: 9, parentId: 7, mountPoint: '/x', root: '/c' }),
    entry({ id: 11, parentId: 5, mountPoint: '/x/y', root: '/a' }),
  ]);

  it('finds the topmost mount by the stack, also when an older mount was moved there', () => {
    expect(table.at('/x')?.id).toBe(5);
    expect(table.countAt('/x')).toBe(3);
  });

  it('knows exact paths only', () => {
    for (const path of ['/x/', '/x/z', '/', '']) expect(table.countAt(path)).toBe(path === '/' ? 1 : 0);
    expect(table.at('/x/z')).toBeUndefined();
  });

  it('finds the other mounts of a file system, or of one directory of it', () => {
    expect(table.allOf('8:1').map((e) => e.id)).toEqual([1, 5, 9, 11]);
    expect(table.allOf('8:1', '/a').map((e) => e.id)).toEqual([5, 11]);
    expect(table.allOf('9:9')).toEqual([]);
  });

  it('finds what is mounted on a mount', () => {
    expect(table.childrenOf(table.entries[0] as MountEntry).map((e) => e.id)).toEqual([7]);
    expect(table.childrenOf(table.entries[3] as MountEntry).map((e) => e.mountPoint)).toEqual(['/x']);
  });

  it.each<[options: string[], superOptions: string[], expected: boolean]>([
    [['rw'], ['rw'], false],
    [['ro', 'nosuid'], ['rw'], true],
    [['rw'], ['ro'], true],
    // An option's value may hold a comma.
    [['rw'], ['rw', 'upperdir=/a', 'ro', 'b'], false],
  ])('tells whether %j %j is read-only', (options, superOptions, expected) => {
    expect(isReadOnly(entry({ options, superOptions }))).toBe(expected);
  });
});

describe.skipIf(lacks('mounts'))('the real mount table', () => {
  const sandbox = useSandbox();

  it.each([
    'plain',
    'two words',
    'tab\there',
    'line\nbreak',
    'back\\slash',
    'literal\\040',
    'a#b',
    'ünï',
    '-',
  ])('shows a mount on %j', async (name) => {
    const path = sandbox().tmpfs(name);
    const table = await host.mounts();
    expect(table.at(path)).toMatchObject({ mountPoint: path, fsType: 'tmpfs', source: 'flexcsi-test' });
    expect(isReadOnly(table.at(path) as MountEntry)).toBe(false);
  });

  // mount(8) notes a move in a file below /run, which only real root can write.
  it.skipIf(lacks('root'))('shows a stack, the mount moved onto it on top', async () => {
    const moved = sandbox().tmpfs('first', '-o', 'size=64k');
    const target = sandbox().tmpfs('second');
    const id = (await host.mounts()).at(moved)?.id;
    run('mount', '--move', moved, target);
    const table = await host.mounts();
    expect(table.countAt(target)).toBe(2);
    expect(table.at(target)?.id).toBe(id);
  });

  it('shows that the root of a bind mount was removed', async () => {
    const volume = sandbox().tmpfs('volume');
    mkdirSync(join(volume, 'inside'));
    const target = sandbox().directory('target');
    run('mount', '--bind', join(volume, 'inside'), target);
    run('rmdir', join(volume, 'inside'));
    expect((await host.mounts()).at(target)).toMatchObject({ root: '/inside', rootDeleted: true });
  });
});
