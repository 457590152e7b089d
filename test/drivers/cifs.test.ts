/**
 * The CIFS driver. What it has in common with nfs (reading options, answers, mounts that are there already, dead
 * or silent) is tested in nfs.test.ts, together with its being the same text.
 *
 * A kernel without an SMB client, as in most test machines, cannot mount shares, and a test machine has no SMB
 * server. So `mount.cifs` is a stand-in: it records its arguments, copies what it reads from the credentials file
 * it is pointed at, looks for secrets in all command lines, and mounts a tmpfs whose source in the mount table
 * is the same as that of the SMB mount would be.
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
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { isRunning } from '../support/processes.ts';
import { lacks } from '../support/requirements.ts';
import { type Answer, bundled, createCall, optionsText } from './support/driver.ts';

const file = bundled('flexcsi~cifs');
const success = { status: 'Success' };
const source = '//files/home';
const share = { source, 'kubernetes.io/readwrite': 'rw' };

let directory: string;
let bin: string;
let target: string;
/** Where a program would put its temporary files. */
let temporary: string;

beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'flexcsi-cifs-')));
  bin = join(directory, 'bin');
  target = join(directory, 'target');
  temporary = join(directory, 'tmp');
  for (const path of [bin, target, temporary]) mkdirSync(path);
  standIn(
    `for word; do printf '%s\\0' "$word"; done >>'${directory}/calls'; echo >>'${directory}/calls'`,
    `env >'${directory}/environment'; cat /proc/[0-9]*/cmdline >'${directory}/command-lines' 2>/dev/null`,
    `case ,$4, in *,credentials=*) c=\${4##*credentials=}; cat "\${c%%,*}" >'${directory}/credentials' ;; esac`,
    'case ,$4, in *,ro,*) options=ro ;; *) options=rw ;; esac',
    'exec mount -i -t tmpfs -o "$options" "$1" "$2"',
  );
});

afterEach(() => {
  while (mounted() !== undefined) execFileSync('umount', ['-c', '-l', target]);
  rmSync(directory, { recursive: true });
});

function standIn(...lines: readonly string[]): void {
  writeFileSync(join(bin, 'mount.cifs'), ['#!/bin/sh', ...lines, ''].join('\n'));
  chmodSync(join(bin, 'mount.cifs'), 0o755);
}

/** The arguments of each call of the stand-in. */
function calls(): string[][] {
  const path = join(directory, 'calls');
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, 'utf8').split('\0\n').slice(0, -1);
  return lines.map((line) => line.split('\0'));
}

/** Variables of the driver's own names, too: from the environment, they would pass on what is assigned to them. */
const environment = (): Record<string, string> => ({
  ...Object.fromEntries(['options', 'value', 'username', 'password', 'domain'].map((name) => [name, 'x'])),
  PATH: `${bin}:/usr/bin:/bin`,
  TMPDIR: temporary,
});

function call(...args: readonly string[]): Promise<Answer> {
  return createCall(file, environment())(...args);
}

function mount(
  options: Readonly<Record<string, string>> = {},
  secret: Readonly<Record<string, string | Buffer>> = {},
): Promise<Answer> {
  return call('mount', target, optionsText({ ...share, ...options, ...secretOptions(secret) }));
}

function secretOptions(secret: Readonly<Record<string, string | Buffer>>): Record<string, string> {
  const entries = Object.entries(secret);
  return Object.fromEntries(
    entries.map(([key, value]) => [`kubernetes.io/secret/${key}`, Buffer.from(value).toString('base64')]),
  );
}

/** The mount on the target, if there is one. */
function mounted(): { source: string; readOnly: boolean } | undefined {
  const line = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((text) => text.split(' '))
    .findLast(([, , , , path]) => path === target);
  if (line === undefined) return undefined;
  return {
    source: (line[line.indexOf('-') + 2] as string).replaceAll('\\040', ' '),
    readOnly: (line[5] as string).split(',').includes('ro'),
  };
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
    [['attach', '{}', 'node']],
    [['getvolumename', '{}']],
    [['expandvolume', '{}', '/x', '2', '1']],
    [[]],
  ])('does not support %j', async (args) => {
    expect(await call(...args)).toEqual({ status: 'Not supported' });
  });

  it.each([[['init', 'x']], [['mount', '/x']], [['unmount', '/x', '{}']]])('refuses %j', async (args) => {
    const message = `wrong number of arguments for ${args[0]}`;
    expect(await call(...args)).toEqual({ status: 'Failure', message });
  });
});

describe.skipIf(lacks('mounts'))('mount', () => {
  it.each([
    [{}, source, 'rw,guest'],
    [{ 'kubernetes.io/readwrite': 'ro' }, source, 'rw,guest,ro'],
    [{ mountOptions: 'vers=3.0,ro' }, source, 'rw,vers=3.0,ro,guest'],
    [
      { mountOptions: 'rw', 'csi/mountOptions': 'noperm', 'kubernetes.io/readwrite': 'ro' },
      source,
      'rw,rw,noperm,guest,ro',
    ],
    [{ mountOptions: 'sec=krb5,multiuser' }, source, 'rw,sec=krb5,multiuser'],
    [{ mountOptions: 'sec=none' }, source, 'rw,sec=none,guest'],
    [
      { 'kubernetes.io/mounterArgs.FsGroup': '1000' },
      source,
      'rw,gid=1000,file_mode=0775,dir_mode=0775,guest',
    ],
    [
      { 'kubernetes.io/fsGroup': '0', mountOptions: 'gid=5,dir_mode=0700' },
      source,
      'rw,gid=0,file_mode=0775,dir_mode=0775,gid=5,dir_mode=0700,guest',
    ],
    [{ source: '', networkPath: '//old/share' }, '//old/share', 'rw,guest'],
    [{ source: '', server: 'files', share: 'home' }, source, 'rw,guest'],
    [{ source: '', server: 'files', share: '/home/' }, source, 'rw,guest'],
    [{ source: '\\\\files\\home\\sub dir' }, '//files/home/sub dir', 'rw,guest'],
    [{ source: '//192.0.2.1/ü$"/' }, '//192.0.2.1/ü$"', 'rw,guest'],
    [{ source: '//files/-o' }, '//files/-o', 'rw,guest'],
  ])('calls mount.cifs for %j', async (options: Record<string, string>, expected, mountOptions) => {
    expect(await mount(options)).toEqual(success);
    expect(calls()).toEqual([[expected, target, '-o', mountOptions]]);
    expect(mounted()).toEqual({ source: expected, readOnly: mountOptions.split(',').includes('ro') });
    expect(await mount(options)).toEqual(success);
    expect(calls()).toHaveLength(1);
    expect(await call('unmount', target)).toEqual(success);
    expect(await call('unmount', target)).toEqual(success);
    expect(mounted()).toBeUndefined();
  });

  it.each([
    'simple',
    'comma,uid=0,comma',
    'quotes " and \' and `id` and $(id)',
    'back\\slash \\n \\\\',
    ' spaces at both ends ',
    '=equals= #hash %percent%s',
    'pässwörd € 😀 \u2028',
    '-n',
    '<&>',
    'x'.repeat(500),
    Buffer.from([0xff, 0xfe, 0x80]),
    '',
  ])('gives mount.cifs the password %j byte for byte, and nobody else', async (password) => {
    const secret = { username: 'bob', password, domain: 'OFFICE' };
    expect(await mount({}, secret)).toEqual(success);
    const [call] = calls();
    expect(call?.slice(0, 3)).toEqual([source, target, '-o']);
    expect(call?.[3]).toMatch(/^rw,credentials=\/proc\/self\/fd\/\d$/);
    const expected = [
      Buffer.from('username=bob\npassword='),
      Buffer.from(password),
      Buffer.from('\ndomain=OFFICE\n'),
    ];
    expect(readFileSync(join(directory, 'credentials'))).toEqual(Buffer.concat(expected));
    // No file was left; and at the time of the mount neither a command line nor the environment held it.
    expect(readdirSync(temporary)).toEqual([]);
    expect(readFileSync(join(directory, 'command-lines')).includes(target)).toBe(true);
    if (password.length < 6) return;
    for (const where of ['command-lines', 'environment'])
      expect(readFileSync(join(directory, where)).includes(password)).toBe(false);
    expect(readFileSync(join(directory, 'environment'), 'utf8')).not.toContain(
      Buffer.from(password).toString('base64'),
    );
  });

  it('gives mount.cifs no domain when there is none', async () => {
    expect(await mount({}, { username: 'bob', password: 'p' })).toEqual(success);
    expect(readFileSync(join(directory, 'credentials'), 'utf8')).toBe('username=bob\npassword=p\n');
  });

  it.each([
    [{ source: '' }, {}, /'source' is missing/],
    [{ source: '', server: 'files' }, {}, /'source' is missing/],
    [{ source: '', share: 'home' }, {}, /'source' is missing/],
    [{ source: 'files/home' }, {}, /not of the form/],
    [{ source: '/etc' }, {}, /not of the form/],
    [{ source: '//files' }, {}, /not of the form/],
    [{ source: '//files/' }, {}, /not of the form/],
    [{ source: '///etc' }, {}, /not of the form/],
    [{ source: '//files//home' }, {}, /not of the form/],
    [{ source: '-o//files/home' }, {}, /not of the form/],
    [{ source: '//files/home,uid=0' }, {}, /holds a comma/],
    [{ source: '//files/home\n' }, {}, /'source' holds a line break/],
    [{ source: '', server: 'files', share: 'a,b' }, {}, /holds a comma/],
    [{ mountOptions: 'password=secret' }, {}, /belong in the secret/],
    [{ mountOptions: 'vers=3.0,pass=secret' }, {}, /belong in the secret/],
    [{ mountOptions: 'credentials=/etc/cifs' }, {}, /belong in the secret/],
    [{ 'csi/mountOptions': 'cred=/etc/cifs' }, {}, /belong in the secret/],
    [{ mountOptions: 'user=bob' }, {}, /belong in the secret/],
    [{ mountOptions: 'username=bob' }, {}, /belong in the secret/],
    [{ mountOptions: 'remount' }, {}, /'remount' is refused/],
    [{ mountOptions: 'a\nb' }, {}, /'mountOptions' holds a line break/],
    [{ 'kubernetes.io/mounterArgs.FsGroup': '1,uid=0' }, {}, /group .* is not a number/],
    [{ 'kubernetes.io/secret/username': 'not base64!' }, {}, /'username' of the secret is not base64/],
    [{}, { username: 'bob,uid=0', password: 'p' }, /username or domain holds a comma/],
    [{}, { username: 'bob', password: 'p', domain: 'A,uid=0' }, /username or domain holds a comma/],
    [{}, { username: 'x'.repeat(256), password: 'p' }, /longer than 255 bytes/],
    [{}, { username: 'bob\npassword=other', password: 'p' }, /'username' of the secret holds a line break/],
    [{}, { username: 'bob', password: 'very secret\n' }, /'password' of the secret holds a line break/],
    [{}, { username: 'bob', password: 'very\nsecret' }, /'password' of the secret holds a line break/],
    [{}, { username: 'bob', password: 'very\0secret' }, /'password' of the secret holds a line break/],
    [{}, { username: 'bob', password: 'p', domain: 'A\nB' }, /'domain' of the secret holds a line break/],
    [{}, { password: 'very secret' }, /no key 'username'/],
    [{}, { domain: 'OFFICE' }, /no key 'username'/],
  ])(
    'refuses %j with the secret %j before it mounts',
    async (options, secret: Record<string, string>, message) => {
      const answer = await mount(options as unknown as Record<string, string>, secret);
      expect(answer.status).toBe('Failure');
      expect(answer.message).toMatch(message);
      expect(answer.message).not.toMatch(/very|=secret/);
      expect(calls()).toEqual([]);
      expect(mounted()).toBeUndefined();
    },
  );

  it("answers with mount.cifs's own words", async () => {
    const words = 'mount error(13): Permission denied\nRefer to the "mount.cifs(8)" \\ manual page';
    writeFileSync(join(directory, 'words'), `${words}\n`);
    standIn(`cat '${directory}/words' >&2`, 'exit 32');
    const secret = { username: 'bob', password: 'p' };
    for (const given of [{}, secret])
      expect(await mount({}, given)).toEqual({
        status: 'Failure',
        message: `cannot mount ${source}: ${words}`,
      });
  });

  it('says that the kernel has no SMB client', async () => {
    standIn("echo 'mount error(19): No such device' >&2", 'exit 32');
    expect((await mount()).message).toMatch(
      /^the kernel has no SMB client .*: mount error\(19\): No such device$/,
    );
  });

  it('says which package is missing', () => {
    rmSync(join(bin, 'mount.cifs'));
    // Where the machine has a real one, it is hidden behind a file that is not executable.
    const hide =
      'for f in /sbin/mount.cifs /usr/sbin/mount.cifs; do [ ! -e $f ] || mount --bind /dev/null $f; done';
    const output = spawnSync(
      'unshare',
      ['--mount', 'sh', '-c', `${hide}; exec "$@"`, 'sh', file, 'mount', target, optionsText(share)],
      { encoding: 'utf8', env: environment() },
    ).stdout;
    expect(JSON.parse(output).message).toMatch(/^mount.cifs is not installed here: .*cifs-utils/);
  });

  it('does not take the word of a mount.cifs that mounts nothing', async () => {
    standIn('exit 0');
    for (const secret of [{}, { username: 'bob', password: 'p' }])
      expect((await mount({}, secret)).message).toMatch(/^mount.cifs succeeded, but nothing is mounted on /);
  });

  it('does not mount over something else', async () => {
    execFileSync('mount', ['-i', '-t', 'tmpfs', '//other/share', target]);
    expect((await mount()).message).toMatch(
      /is already mounted, from '\/\/other\/share' instead of '\/\/files\/home'/,
    );
    expect(calls()).toEqual([]);
  });

  it('leaves no secret behind when it is killed while it mounts', async () => {
    standIn(`echo "$$" >'${directory}/pid'`, 'exec sleep 600');
    const options = optionsText({ ...share, ...secretOptions({ username: 'bob', password: 'very secret' }) });
    const driver = spawn(file, ['mount', target, options], {
      env: environment(),
      detached: true,
      stdio: 'ignore',
    });
    const ended = new Promise((resolve) => driver.once('exit', resolve));
    await vi.waitFor(() => expect(readFileSync(join(directory, 'pid'), 'utf8')).toMatch(/\n/), 10_000);
    driver.kill('SIGKILL');
    await ended;
    expect(readdirSync(temporary)).toEqual([]);
    const pid = Number(readFileSync(join(directory, 'pid'), 'utf8'));
    process.kill(pid);
    await vi.waitFor(() => expect(isRunning(pid)).toBe(false));
  });
});
