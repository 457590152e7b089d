import { mkdirSync, readFileSync, rmdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { Failure } from '../../src/errors.ts';
import { type BindOptions, bindMount, mountOrUndo, unmount } from '../../src/mount/bind.ts';
import { type Host, runChecked } from '../../src/mount/host.ts';
import { isReadOnly, type MountEntry } from '../../src/mount/mount-table.ts';
import { createMask } from '../../src/secrets.ts';
import { lacks } from '../support/requirements.ts';
import { host, impatient, noting, run, useSandbox } from './support/sandbox.ts';

const sandbox = useSandbox();

async function countAt(path: string): Promise<number> {
  return (await host.mounts()).countAt(path);
}

/** A host on which `mount` does nothing, or something else, when its arguments match. */
function tampering(match: RegExp, instead: readonly [string, ...string[]]): Host {
  return {
    mounts: host.mounts,
    run: (file, args, limit) => {
      const [program, ...rest] = instead;
      return file === 'mount' && match.test(args.join(' '))
        ? host.run(program, rest, limit)
        : host.run(file, args, limit);
    },
  };
}

describe.skipIf(lacks('mounts'))('bindMount', () => {
  const bindCases: [what: string, options: BindOptions, first: string, second: string, shown: string[]][] = [
    ['', {}, 'bind', 'bind,remount', ['rw', 'relatime']],
    ['read-only', { readOnly: true }, 'bind', 'bind,remount,ro', ['ro', 'relatime']],
    [
      'with flags',
      { flags: ['nosuid', 'noexec'] },
      'bind',
      'bind,remount,nosuid,noexec',
      ['rw', 'nosuid', 'noexec', 'relatime'],
    ],
    [
      'with flags that it has itself',
      { flags: ['bind', 'remount', 'nodev'] },
      'bind',
      'bind,remount,nodev',
      ['rw', 'nodev', 'relatime'],
    ],
    [
      'of a network',
      { flags: ['_netdev'], readOnly: true },
      'bind,_netdev',
      'bind,remount,ro,_netdev',
      ['ro', 'relatime'],
    ],
  ];
  // mount(8) keeps _netdev in a file of its own below /run, which only real root can write.
  const possible = lacks('root') ? bindCases.filter(([what]) => what !== 'of a network') : bindCases;

  it.each(possible)(
    'mounts a directory %s with the two commands of kubelet',
    async (_, options, first, second, shown) => {
      const source = sandbox().tmpfs('source');
      const target = sandbox().directory('target');
      const { host: noted, commands } = noting(/mount/);
      await bindMount(noted, source, target, options);
      expect(commands).toEqual([
        ['mount', '-t', 'auto', '-o', first, source, target],
        ['mount', '-t', 'auto', '-o', second, source, target],
      ]);
      const entry = (await host.mounts()).at(target) as MountEntry;
      expect(entry).toMatchObject({ fsType: 'tmpfs', options: shown });
      // The source stays writable.
      writeFileSync(join(source, 'file'), 'x');
      expect(readFileSync(join(target, 'file'), 'utf8')).toBe('x');
    },
  );

  it.skipIf(lacks('root', 'loop'))('mounts a device node on a file', async () => {
    const device = sandbox().device(1);
    const target = join(sandbox().path, 'target');
    writeFileSync(target, '');
    await bindMount(host, device, target);
    expect(await countAt(target)).toBe(1);
  });

  it('finds the target when a directory above is a link', async () => {
    const source = sandbox().tmpfs('source');
    const target = sandbox().directory('disk/target');
    symlinkSync(join(sandbox().path, 'disk'), join(sandbox().path, 'link'));
    await bindMount(host, source, join(sandbox().path, 'link', 'target'), { readOnly: true });
    expect(await countAt(target)).toBe(1);
    await unmount(host, join(sandbox().path, 'link', 'target'));
    expect(await countAt(target)).toBe(0);
  });

  it('says what mount said when the source is missing', async () => {
    const target = sandbox().directory('target');
    await expect(bindMount(host, '/does/not/exist', target)).rejects.toMatchObject({
      kind: 'host-failed',
      message: expect.stringMatching(
        /^mount -t auto -o bind \/does\/not\/exist .* failed with exit code 32: mount: .* does not exist/,
      ),
    });
  });

  it('takes the bind back when the remount fails, and keeps secret flags secret', async () => {
    const source = sandbox().tmpfs('source');
    const target = sandbox().directory('target');
    const mask = createMask(['hunter22']);
    const refusing = tampering(/remount/, ['sh', '-c', 'echo "mount: bad option hunter22"; exit 32']);
    const failing = bindMount(refusing, source, target, { flags: ['pass=hunter22', 'uid=x'], mask });
    await expect(failing).rejects.toMatchObject({
      kind: 'host-failed',
      message: expect.stringMatching(
        /bind,remount,pass=\*\*\*,uid=x .* failed with exit code 32: mount: bad option \*\*\*$/,
      ),
    });
    await expect(failing).rejects.not.toMatchObject({ message: expect.stringContaining('hunter22') });
    expect(await countAt(target)).toBe(0);
  });

  it('takes the bind back when it does not become read-only', async () => {
    const source = sandbox().tmpfs('source');
    const target = sandbox().directory('target');
    await expect(bindMount(host, source, target, { readOnly: true, flags: ['rw'] })).rejects.toMatchObject({
      kind: 'host-failed',
      message: `${target} was to be mounted read-only, but is writable: is there a flag "rw"?`,
    });
    expect(await countAt(target)).toBe(0);
  });

  it('takes back only its own layer', async () => {
    const source = sandbox().tmpfs('source');
    const target = sandbox().tmpfs('target');
    const id = (await host.mounts()).at(target)?.id;
    await expect(bindMount(host, source, target, { readOnly: true, flags: ['rw'] })).rejects.toThrow();
    expect((await host.mounts()).at(target)?.id).toBe(id);
    expect(await countAt(target)).toBe(1);
  });

  it('does not believe a mount that did nothing', async () => {
    const source = sandbox().tmpfs('source');
    const target = sandbox().tmpfs('target');
    await expect(bindMount(tampering(/./, ['true']), source, target)).rejects.toMatchObject({
      kind: 'host-failed',
      message: `mount reported success, but nothing is mounted at ${target}`,
    });
    expect(await countAt(target)).toBe(1);
  });

  it('ends a mount that hangs, and leaves nothing', async () => {
    const source = sandbox().tmpfs('source');
    const target = sandbox().directory('target');
    const hanging = tampering(/remount/, ['sleep', '77']);
    const hurried = {
      ...hanging,
      run: (f: string, a: readonly string[]) => hanging.run(f, a, { timeoutMs: 500 }),
    };
    await expect(bindMount(hurried, source, target)).rejects.toMatchObject({ kind: 'host-timeout' });
    expect(await countAt(target)).toBe(0);
  });
});

describe.skipIf(lacks('mounts'))('mountOrUndo', () => {
  it('takes back what was mounted below the target, too, and nothing that was there before', async () => {
    const target = sandbox().directory('target');
    const kept = sandbox().tmpfs('target/kept');
    const steps = mountOrUndo(host, target, false, async () => {
      const below = sandbox().tmpfs('target/below');
      sandbox().tmpfs('target/below/deeper');
      run('mount', '--bind', below, sandbox().directory('target/another'));
      sandbox().tmpfs('target');
      throw new Failure('driver-failed', 'no');
    });
    await expect(steps).rejects.toMatchObject({ kind: 'driver-failed' });
    const left = (await host.mounts()).entries.map(({ mountPoint }) => mountPoint);
    expect(left.filter((path) => path.startsWith(target))).toEqual([kept]);
  });

  it('says so when it cannot take back what was mounted', async () => {
    const target = sandbox().directory('target');
    const busy = mountOrUndo(host, target, false, async () => {
      await runChecked(host, 'mount', ['-t', 'tmpfs', 'flexcsi-test', target]);
      const child = sandbox().process('sh', ['-c', 'echo ready; exec sleep 77'], target);
      await new Promise((resolve) => child.stdout?.once('data', resolve));
      throw new Error('the next step failed');
    });
    await expect(busy).rejects.toMatchObject({
      kind: 'undo-failed',
      message: expect.stringMatching(
        /^the next step failed; then unmounting .* again failed: .* is still mounted .* held by sleep/,
      ),
    });
    expect(await countAt(target)).toBe(1);
  });
});

describe.skipIf(lacks('mounts'))('unmount', () => {
  it('unmounts the topmost layer only', async () => {
    const target = sandbox().tmpfs('target');
    const below = (await host.mounts()).at(target)?.id;
    run('mount', '-t', 'tmpfs', 'flexcsi-test', target);
    await unmount(host, target);
    expect((await host.mounts()).at(target)?.id).toBe(below);
    await unmount(host, target);
    expect(await countAt(target)).toBe(0);
  });

  it.each([
    ['is not mounted', (path: string) => void mkdirSync(path)],
    ['is missing', () => {}],
    ['is a file', (path: string) => writeFileSync(path, '')],
  ])('is content with what %s', async (_, make) => {
    const path = join(sandbox().path, 'x');
    make(path);
    await unmount(host, path);
    await unmount(host, join(path, 'y', 'z'));
  });

  it('never unmounts something else: behind a link, or with the path for a source', async () => {
    const mounted = sandbox().tmpfs('mounted');
    const link = join(sandbox().path, 'link');
    symlinkSync(mounted, link);
    await unmount(host, link);
    const source = sandbox().directory('source');
    const other = sandbox().directory('other');
    run('mount', '-t', 'tmpfs', source, other);
    await unmount(host, source);
    expect([await countAt(mounted), await countAt(other)]).toEqual([1, 1]);
  });

  it.each(['two words', 'line\nbreak', 'literal\\040', '-l'])('unmounts %j', async (name) => {
    const path = sandbox().tmpfs(name);
    await unmount(host, path);
    expect(await countAt(path)).toBe(0);
  });

  it('names the process that keeps it busy, and leaves it mounted', async () => {
    const path = sandbox().tmpfs('busy');
    const child = sandbox().process('sleep', ['77'], path);
    await vi.waitFor(() =>
      expect(unmount(host, path)).rejects.toMatchObject({
        kind: 'busy',
        message: expect.stringMatching(
          new RegExp(
            `^${path} is still mounted \\(umount .* target is busy\\.\\); held by sleep \\(pid ${child.pid}\\)`,
          ),
        ),
      }),
    );
    expect(await countAt(path)).toBe(1);
  });

  it('names what is mounted below', async () => {
    const path = sandbox().tmpfs('volume');
    const below = sandbox().tmpfs('volume/below');
    await expect(unmount(host, path)).rejects.toThrow(`; mounted on it: ${below}`);
  });

  it('does not believe an umount that did nothing', async () => {
    const path = sandbox().tmpfs('volume');
    const lying: Host = {
      mounts: host.mounts,
      run: (file, args, limit) => host.run(file === 'umount' ? 'true' : file, args, limit),
    };
    await expect(unmount(lying, path)).rejects.toMatchObject({
      kind: 'busy',
      message: expect.stringContaining('is still mounted (umount reported success)'),
    });
  });

  it('says when umount hangs', async () => {
    const path = sandbox().tmpfs('volume');
    const hanging: Host = {
      mounts: host.mounts,
      run: (file, args) =>
        file === 'umount' ? host.run('sleep', ['77'], { timeoutMs: 100 }) : host.run(file, args),
    };
    await expect(unmount(hanging, path)).rejects.toMatchObject({ kind: 'host-timeout' });
    expect(await countAt(path)).toBe(1);
  });

  it.skipIf(lacks('root', 'fuse'))('unmounts a dead mount', async () => {
    const path = await sandbox().deadFuse('dead');
    await unmount(host, path);
    expect(await countAt(path)).toBe(0);
    rmdirSync(path);
  });

  it.skipIf(lacks('root', 'fuse'))('unmounts a hung mount without touching it', async () => {
    const { path } = await sandbox().hungFuse('hung');
    await unmount(impatient(5000), path);
    expect(await countAt(path)).toBe(0);
  });

  it.skipIf(lacks('root', 'fuse'))('does not hang on a hung mount in which a process hangs', async () => {
    const { path } = await sandbox().hungFuse('hung');
    const stuck = sandbox().process('stat', [path]);
    await vi.waitFor(() => expect(readFileSync(`/proc/${stuck.pid}/wchan`, 'utf8')).toContain('wait_answer'));
    await expect(unmount(impatient(5000), path)).rejects.toMatchObject({ kind: 'busy' });
    expect(await countAt(path)).toBe(1);
    expect(isReadOnly((await host.mounts()).at(path) as MountEntry)).toBe(false);
  });
});
