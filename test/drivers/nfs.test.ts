/**
 * The NFS driver, and what it has in common with cifs and sshfs: its JSON reader, its answers, its treatment of
 * mounts that are there already, dead or silent.
 *
 * A kernel without an NFS client, as in most test machines, cannot mount NFS, and a test machine has no NFS
 * server. So `mount.nfs` is a stand-in: it records its arguments and mounts a tmpfs, whose source in the mount
 * table is the same as that of the NFS mount would be. All else is real: mounts, dead and silent file systems
 * (FUSE without a daemon), programs.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRun } from '../../src/process.ts';
import { lacks } from '../support/requirements.ts';
import { type Answer, bundled, createCall, optionsText } from './support/driver.ts';

const file = bundled('flexcsi~nfs');
const success = { status: 'Success' };
const share = { server: 'nas', share: '/data', 'kubernetes.io/readwrite': 'rw' };
const source = 'nas:/data';
const run = createRun();

let directory: string;
let bin: string;
let target: string;

beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'flexcsi-nfs-')));
  bin = join(directory, 'bin');
  target = join(directory, 'target');
  mkdirSync(bin);
  mkdirSync(target);
});

afterEach(() => {
  for (const { path } of mounts()) execFileSync('umount', ['-c', '-l', path]);
  expect(mounts()).toEqual([]);
  rmSync(directory, { recursive: true });
});

/** Puts a program before all others on the driver's PATH. */
function standIn(name: string, ...lines: readonly string[]): void {
  writeFileSync(join(bin, name), ['#!/bin/sh', ...lines, ''].join('\n'));
  chmodSync(join(bin, name), 0o755);
}

/** A `mount.nfs` that records its arguments and mounts a tmpfs of that source, read-only if it is told so. */
function standInMountNfs(): void {
  standIn(
    'mount.nfs',
    `for word; do printf '%s\\0' "$word"; done >>'${directory}/calls'; echo >>'${directory}/calls'`,
    'case ,$4, in *,ro,*) options=ro ;; *) options=rw ;; esac',
    'exec mount -i -t tmpfs -o "$options" "$1" "$2"',
  );
}

/** The arguments of each call of the stand-in. */
function calls(): string[][] {
  const path = join(directory, 'calls');
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, 'utf8').split('\0\n').slice(0, -1);
  return lines.map((line) => line.split('\0'));
}

/** Calls the driver with a service's bare PATH. */
function call(...args: readonly string[]): Promise<Answer> {
  return createCall(file, { PATH: `${bin}:/usr/bin:/bin` })(...args);
}

function mount(options: Readonly<Record<string, string>> = share, path = target): Promise<Answer> {
  return call('mount', path, optionsText(options));
}

/** What is mounted in this test's directory. */
function mounts(): { path: string; source: string; readOnly: boolean }[] {
  const plain = (text: string): string =>
    Buffer.from(
      text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
      'latin1',
    ).toString();
  return readFileSync('/proc/self/mountinfo', 'latin1')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , , , path]) => path !== undefined && plain(path).startsWith(`${directory}/`))
    .map((fields) => ({
      path: plain(fields[4] as string),
      source: plain(fields[fields.indexOf('-') + 2] as string),
      readOnly: (fields[5] as string).split(',').includes('ro'),
    }))
    .reverse();
}

/** Mounts a FUSE file system whose daemon never answers; with its end, the file system is dead (ENOTCONN). */
async function mountSilent(from: string): Promise<{ end(): Promise<void> }> {
  const daemon = spawn(
    'sh',
    [
      '-c',
      'exec 3<>/dev/fuse; mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 "$1" "$2" && echo && exec sleep 600',
      'sh',
      from,
      target,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  await new Promise((resolve) => daemon.stdout.once('data', resolve));
  return {
    end: () =>
      new Promise((resolve) => {
        daemon.once('exit', () => resolve());
        daemon.kill();
      }),
  };
}

async function mountDead(from: string): Promise<void> {
  const daemon = await mountSilent(from);
  await daemon.end();
}

describe('verbs', () => {
  it('answers init with what a network file system can do', async () => {
    expect(await call('init')).toEqual({
      status: 'Success',
      capabilities: {
        attach: false,
        fsGroup: false,
        selinuxRelabel: false,
        requiresFSResize: false,
        supportsMetrics: true,
      },
    });
  });

  it.each([
    [['getvolumename', '{}']],
    [['attach', '{}', 'node']],
    [['isattached', '{}', 'node']],
    [['waitforattach', '/dev/x', '{}']],
    [['mountdevice', '/x', '/dev/x', '{}']],
    [['unmountdevice', '/x']],
    [['detach', 'pv', 'node']],
    [['expandvolume', '{}', '/x', '2', '1']],
    [['expandfs', '{}', '', '/x', '2', '1']],
    [['provision', '{}']],
    [['initialize']],
    [[]],
  ])('does not support %j', async (args) => {
    expect(await call(...args)).toEqual({ status: 'Not supported' });
  });

  it.each([
    [['init', 'x']],
    [['mount']],
    [['mount', '/x']],
    [['mount', '/x', '{}', 'x']],
    [['unmount']],
    [['unmount', '/x', '{}']],
  ])('refuses %j', async (args) => {
    expect(await call(...args)).toEqual({
      status: 'Failure',
      message: `wrong number of arguments for ${args[0]}`,
    });
  });

  it.each(['target', './target', '', '/', '//', '/a\nb'])('refuses the directory %j', async (path) => {
    expect((await mount(share, path)).message).toMatch(/^the directory /);
    expect((await call('unmount', path)).message).toMatch(/^the directory /);
  });
});

describe.skipIf(lacks('mounts'))('mount', () => {
  beforeEach(() => standInMountNfs());

  it.each([
    [{}, 'nas:/data', 'rw'],
    [{ 'kubernetes.io/readwrite': 'ro' }, 'nas:/data', 'rw,ro'],
    [{ mountOptions: 'vers=4.2,hard' }, 'nas:/data', 'rw,vers=4.2,hard'],
    [{ mountOptions: 'ro,nolock' }, 'nas:/data', 'rw,ro,nolock'],
    [{ 'csi/mountOptions': 'nconnect=4,noatime' }, 'nas:/data', 'rw,nconnect=4,noatime'],
    [
      { mountOptions: 'vers=3,rw', 'csi/mountOptions': 'noatime,rw', 'kubernetes.io/readwrite': 'ro' },
      'nas:/data',
      'rw,vers=3,rw,noatime,rw,ro',
    ],
    [{ share: 'data' }, 'nas:/data', 'rw'],
    [{ share: '//data//' }, 'nas:/data', 'rw'],
    [{ share: '/' }, 'nas:/', 'rw'],
    [{ share: '/a b/c,d "e" \\f <ü>' }, 'nas:/a b/c,d "e" \\f <ü>', 'rw'],
    [{ share: '-o' }, 'nas:/-o', 'rw'],
    [{ server: '192.0.2.1' }, '192.0.2.1:/data', 'rw'],
    [{ server: '2001:db8::1' }, '[2001:db8::1]:/data', 'rw'],
    [{ server: '[fe80::1%eth0]' }, '[fe80::1%eth0]:/data', 'rw'],
    [
      { mountOptions: 'context="system_u:object_r:x:s0:c1,c2"' },
      'nas:/data',
      'rw,context="system_u:object_r:x:s0:c1,c2"',
    ],
  ])('calls mount.nfs for %j', async (options: Record<string, string>, expected, mountOptions) => {
    expect(await mount({ ...share, ...options })).toEqual(success);
    expect(calls()).toEqual([[expected, target, '-o', mountOptions]]);
    const readOnly = mountOptions.split(',').includes('ro');
    expect(mounts()).toEqual([{ path: target, source: expected, readOnly }]);
    // Called again it finds the same mount, whatever escapes the mount table writes it with.
    expect(await mount({ ...share, ...options })).toEqual(success);
    expect(calls()).toHaveLength(1);
    expect(await call('unmount', target)).toEqual(success);
    expect(mounts()).toEqual([]);
  });

  it.each([
    [{ server: '' }, /'server' is missing/],
    [{ share: '' }, /'share' is missing/],
    [{ server: '-oremount' }, /'server' is not a host name/],
    [{ server: 'nas,evil' }, /'server' is not a host name/],
    [{ server: 'nas:/other' }, /'server' is not a host name/],
    [{ server: 'nas evil' }, /'server' is not a host name/],
    [{ server: '$(id)' }, /'server' is not a host name/],
    [{ server: 'nas\nevil' }, /'server' holds a line break/],
    [{ server: 'nas\n' }, /'server' holds a line break/],
    [{ share: '/a\u001fb' }, /'share' holds a line break or another control character/],
    [{ mountOptions: 'soft\nbind' }, /'mountOptions' holds a line break/],
    [{ mountOptions: 'soft,bind' }, /'?bind/],
    [{ mountOptions: 'rbind' }, /rbind/],
    [{ mountOptions: 'move,soft' }, /move/],
    [{ 'csi/mountOptions': 'remount' }, /remount/],
    [{ mountOptions: 'bg,soft' }, /'bg' is refused/],
  ])('refuses %j before it mounts', async (options: Record<string, string>, message) => {
    const answer = await mount({ ...share, ...options });
    expect(answer.status).toBe('Failure');
    expect(answer.message).toMatch(message);
    expect(calls()).toEqual([]);
    expect(mounts()).toEqual([]);
  });

  it.each([
    'mount.nfs: access denied by server while mounting nas:/data',
    'quotes " and \\ backslashes \\n \\u0041 %s',
    'two\nlines\n\nand more',
    'control \u0001\u001b[31m\t\r\b\f characters \u007f',
    'UTF-8 ü € 😀 \u2028',
  ])("answers with mount.nfs's own words: %j", async (words) => {
    writeFileSync(join(directory, 'words'), `${words}\n`);
    standIn('mount.nfs', `cat '${directory}/words' >&2`, 'exit 32');
    expect(await mount()).toEqual({ status: 'Failure', message: `cannot mount ${source}: ${words}` });
  });

  it('answers with words that are not UTF-8', async () => {
    writeFileSync(
      join(directory, 'words'),
      Buffer.from('a\xff\xc3(\xe2\x82 \xed\xa0\x80\xc0\xaf\xf5z', 'latin1'),
    );
    standIn('mount.nfs', `cat '${directory}/words'`, 'exit 32');
    const broken = 'a\ufffd\ufffd(\ufffd\ufffd \ufffd\ufffd\ufffd\ufffd\ufffd\ufffdz';
    expect((await mount()).message).toBe(`cannot mount ${source}: ${broken}`);
  });

  it('says that the kernel has no NFS client', async () => {
    standIn('mount.nfs', "echo 'mount.nfs: No such device' >&2", 'exit 32');
    expect((await mount()).message).toMatch(/^the kernel has no NFS client .*: mount.nfs: No such device$/);
  });

  it('says which package is missing', async () => {
    rmSync(join(bin, 'mount.nfs'));
    // Where the machine has a real one, it is hidden behind a file that is not executable.
    const script =
      'for f in /sbin/mount.nfs /usr/sbin/mount.nfs; do [ ! -e $f ] || mount --bind /dev/null $f; done; exec "$@"';
    const output = spawnSync(
      'unshare',
      [
        '--mount',
        '--propagation',
        'private',
        'sh',
        '-c',
        script,
        'sh',
        file,
        'mount',
        target,
        optionsText(share),
      ],
      { encoding: 'utf8', env: { PATH: '/usr/bin:/bin' } },
    ).stdout;
    expect(JSON.parse(output).message).toMatch(/^mount.nfs is not installed here: .*nfs-common/);
  });

  it('does not take the word of a mount.nfs that mounts nothing', async () => {
    standIn('mount.nfs', 'exit 0');
    expect((await mount()).message).toBe(`mount.nfs succeeded, but nothing is mounted on ${target}`);
  });

  it('does not wait for a daemon that mount.nfs leaves behind, as rpc.statd', async () => {
    standIn('mount.nfs', 'sleep 30 & mount -i -t tmpfs "$1" "$2"');
    const began = performance.now();
    const driver = spawn(file, ['mount', target, optionsText(share)], {
      env: { PATH: `${bin}:/usr/bin:/bin` },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    // Like kubelet: until nobody holds the output any more.
    await new Promise((resolve) => driver.once('close', resolve));
    expect(performance.now() - began).toBeLessThan(20_000);
    expect(mounts()).toHaveLength(1);
  });

  it.skipIf(lacks('dash', 'bash', 'busybox')).each(['dash', 'bash', 'busybox'])(
    'works with %s as /bin/sh',
    async (shell) => {
      const arguments_ = shell === 'busybox' ? ['sh', file] : [file];
      const callShell = async (...args: string[]) => {
        const env = { PATH: `${bin}:/usr/bin:/bin` };
        const ended = await run({ file: shell, args: [...arguments_, ...args], env, timeoutMs: 60_000 });
        return JSON.parse(ended.output.toString());
      };
      expect(await callShell('mount', target, optionsText(share))).toEqual(success);
      expect(mounts()).toEqual([{ path: target, source, readOnly: false }]);
      expect(await callShell('mount', target, optionsText(share))).toEqual(success);
      expect(calls()).toHaveLength(1);
      expect(await callShell('unmount', target)).toEqual(success);
      standIn('mount.nfs', 'echo "a \\"b\\""; exit 32');
      const message = `cannot mount ${source}: a "b"`;
      expect(await callShell('mount', target, optionsText(share))).toEqual({ status: 'Failure', message });
    },
  );

  it('does not mount over something else', async () => {
    execFileSync('mount', ['-i', '-t', 'tmpfs', 'other:/data', target]);
    expect(await mount()).toEqual({
      status: 'Failure',
      message: `${target} is already mounted, from 'other:/data' instead of '${source}'`,
    });
    expect(calls()).toEqual([]);
  });

  it('finds its mount by another path to the directory', async () => {
    symlinkSync(directory, join(directory, 'link'));
    const other = `${directory}/link/target/`;
    expect(await mount(share, other)).toEqual(success);
    expect(await mount(share, other)).toEqual(success);
    expect(calls()).toHaveLength(1);
    expect(await call('unmount', other)).toEqual(success);
    expect(mounts()).toEqual([]);
  });

  it.each([
    'with space',
    'quo"te',
    "apo'strophe",
    'back\\slash',
    'dollar $(id)',
    '\\040',
    'ünï😀',
    '-o',
    'a#b',
    '%s',
  ])('mounts on a directory named %j', async (name) => {
    const path = join(target, name);
    mkdirSync(path);
    expect(await mount(share, path)).toEqual(success);
    expect(mounts()).toEqual([{ path, source, readOnly: false }]);
    expect(await mount(share, path)).toEqual(success);
    expect(calls()).toHaveLength(1);
    expect(await call('unmount', path)).toEqual(success);
    expect(mounts()).toEqual([]);
  });
});

describe.skipIf(lacks('mounts'))('unmount', () => {
  it('succeeds where nothing is mounted, and leaves the files there alone', async () => {
    writeFileSync(join(target, 'file'), '');
    expect(await call('unmount', target)).toEqual(success);
    expect(readdirSync(target)).toEqual(['file']);
    expect(await call('unmount', join(target, 'missing'))).toEqual(success);
    expect(await call('unmount', join(directory, 'missing/missing'))).toEqual(success);
  });

  it('leaves a mount that is in use, and says so', async () => {
    execFileSync('mount', ['-i', '-t', 'tmpfs', source, target]);
    const user = spawn('sh', ['-c', 'echo && exec sleep 600'], {
      cwd: target,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await new Promise((resolve) => user.stdout.once('data', resolve));
    const answer = await call('unmount', target);
    expect(answer.status).toBe('Failure');
    expect(answer.message).toMatch(/^cannot unmount .*busy/);
    expect(mounts()).toHaveLength(1);
    await new Promise((resolve) => user.once('exit', resolve).kill());
    expect(await call('unmount', target)).toEqual(success);
    expect(mounts()).toEqual([]);
  });

  it('unmounts one of several mounts at a time, and says so', async () => {
    execFileSync('mount', ['-i', '-t', 'tmpfs', source, target]);
    execFileSync('mount', ['-i', '-t', 'tmpfs', source, target]);
    expect((await call('unmount', target)).message).toMatch(/is mounted still/);
    expect(await call('unmount', target)).toEqual(success);
    expect(mounts()).toEqual([]);
  });
});

describe.skipIf(lacks('root', 'fuse'))('a mount that does not answer', () => {
  beforeEach(() => standInMountNfs());

  it.each([source, 'other:/data'])('is mounted anew when it is dead (%s)', async (from) => {
    await mountDead(from);
    expect(await mount()).toEqual(success);
    expect(mounts()).toEqual([{ path: target, source, readOnly: false }]);
  });

  it('is unmounted when it is dead', async () => {
    await mountDead(source);
    expect(await call('unmount', target)).toEqual(success);
    expect(mounts()).toEqual([]);
  });

  it('is mounted anew when it is stale', async () => {
    // Only a server can make a file handle stale, so that `stat` has to be a stand-in here.
    execFileSync('mount', ['-i', '-t', 'tmpfs', source, target]);
    standIn(
      'stat',
      `echo "stat: cannot read file system information for '${target}': Stale file handle" >&2`,
      'exit 1',
    );
    expect(await mount()).toEqual(success);
    expect(calls()).toHaveLength(1);
    expect(mounts()).toHaveLength(1);
  });

  it('is left alone, in bounded time, when its server may come back', async () => {
    const daemon = await mountSilent(source);
    const began = performance.now();
    const answer = await mount();
    expect(answer.status).toBe('Failure');
    expect(answer.message).toMatch(
      /is already mounted, from 'nas:\/data', but does not answer: no end within 5 seconds/,
    );
    expect(performance.now() - began).toBeLessThan(30_000);
    expect(mounts()).toHaveLength(1);
    expect(calls()).toEqual([]);
    // Unmounting asks the server nothing.
    expect(await call('unmount', target)).toEqual(success);
    expect(mounts()).toEqual([]);
    await daemon.end();
  });
});

describe('the reader of options', () => {
  const values = [
    '',
    'plain',
    '"',
    '\\',
    '\\"',
    'ends in \\',
    '\\\\"\\',
    '/\\/',
    '<b>&amp;</b>',
    'ü € 😀 \u2028\u2029\ufffd\uffff',
    '","server":"evil',
    '"server":"evil"',
    '{"server":"evil"}',
    '\\u0041 \\n',
    '$(id) `id` %s * ? [a-z] ~',
    "it's",
    ' spaces ',
    '-n',
    ':,{}',
    `long ${'x'.repeat(30_000)}`,
  ];
  const awks = ['mawk', 'gawk', 'busybox', 'original-awk'];

  /** Calls the driver with one shell as /bin/sh and one awk. */
  async function callWith(shell: string, awk: string, text: string): Promise<Answer> {
    standIn('awk', `exec ${awk} ${awk === 'busybox' ? 'awk ' : ''}"$@"`);
    const ended = await run({
      file: shell,
      args: [...(shell === 'busybox' ? ['sh'] : []), file, 'mount', target, text],
      env: { PATH: `${bin}:/usr/bin:/bin`, LANG: 'C.UTF-8' },
      timeoutMs: 60_000,
    });
    return JSON.parse(ended.output.toString());
  }

  const pairs = [
    ...awks.map((awk) => ['dash', awk] as const),
    ['bash', 'mawk'],
    ['busybox', 'mawk'],
  ] as const;
  for (const [shell, awk] of pairs) {
    describe.skipIf(lacks(shell, awk))(`with ${shell} and ${awk}`, () => {
      it('finds values that hold anything', async () => {
        for (const value of values) {
          // What a refused `share` says tells what was read, without a mount.
          const options = { 'a"\\<key': value, 'nas/server': 'evil', server: `x ${value}`, zzz: value };
          const { message } = await callWith(shell, awk, optionsText(options));
          expect(message).toBe(`option 'server' is not a host name or an address: 'x ${value}'`);
        }
      });

      // How the text is read depends on awk alone.
      if (shell !== 'dash') return;

      it.each([
        ['{"server":"\\u0061\\u00FC\\u20ac\\ud83d\\ude00\\/ "}', 'aü€😀/ '],
        ['{"server":"\\ud83d \\ude00 \\ud83d\\u0041"}', '\ufffd \ufffd \ufffdA'],
        [' {\n "server" : "a b" , "x":"" }\n', 'a b'],
        ['{"server":"first one","server":"last one"}', 'last one'],
        ['{"\\u0073erver":"a b"}', 'a b'],
      ])('reads %s, which Go does not write', async (text, value) => {
        const { message } = await callWith(shell, awk, text);
        expect(message).toBe(`option 'server' is not a host name or an address: '${value}'`);
      });

      it.each([
        ...[
          '',
          '{',
          '}',
          '{"server"',
          '{"server":',
          '{"server":"nas"',
          '{"server":"nas}',
          '{"server":"nas\\"}',
        ],
        ...['{"server":"nas"}}', '{"server":"nas",}', '{,"server":"nas"}', '{"server" "nas"}', '{"a":1}'],
        ...['{"server":null}', '["server"]', '{"a":{"server":"nas"}}', '{"server":"nas"}{"a":"b"}', 'server'],
        ...['{"server":"\\x"}', '{"server":"\\u12"}', '{"server":"\\u12G4"}', '{"server":"\\u0000"}'],
      ])('refuses %j', async (text) => {
        const answer = await callWith(shell, awk, text);
        expect(answer).toEqual({
          status: 'Failure',
          message: 'the options are not a JSON object of strings',
        });
      });

      it.each(['\\n', '\\t', '\\r', '\\b', '\\f', '\\u001f', '\\u007f'])(
        'refuses the control character %s',
        async (escaped) => {
          const answer = await callWith(shell, awk, `{"server":"nas${escaped}"}`);
          expect(answer.message).toBe("option 'server' holds a line break or another control character");
        },
      );

      it('takes an absent option for an empty one', async () => {
        expect((await callWith(shell, awk, '{}')).message).toMatch(/^option 'server' is missing/);
      });
    });
  }
});

describe('the text of the drivers', () => {
  const text = (name: string) => readFileSync(bundled(`flexcsi~${name}`), 'utf8');
  const part = (name: string, from: string, to: string) => {
    const begin = text(name).indexOf(`# ---- ${from}`);
    const end = text(name).indexOf(`# ---- ${to}`);
    expect(begin).toBeGreaterThan(0);
    expect(end).toBeGreaterThan(begin);
    return text(name).slice(begin, end);
  };

  it('is the same in the common parts', () => {
    const common = (name: string) => part(name, 'Common part:', 'End of the common part');
    const secrets = (name: string) => part(name, 'Secrets:', 'End of secrets');
    expect(common('cifs')).toBe(common('nfs'));
    expect(common('sshfs')).toBe(common('nfs'));
    expect(secrets('sshfs')).toBe(secrets('cifs'));
  });

  it.skipIf(lacks('shellcheck')).each(['nfs', 'cifs', 'sshfs'])('passes shellcheck: %s', (name) => {
    const { stdout } = spawnSync('shellcheck', [bundled(`flexcsi~${name}`)], { encoding: 'utf8' });
    expect(stdout).toBe('');
  });
});
