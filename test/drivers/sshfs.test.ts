/**
 * The SSHFS driver, against a real SSH server on the loopback interface, with host key, configuration and port
 * of its own. What the driver has in common with nfs (reading options, answers) is tested in nfs.test.ts,
 * together with its being the same text.
 *
 * The server's user, which has a password, exists only in the server's own view of /etc/passwd and /etc/shadow
 * (bind mounts in its mount namespace): the machine gets no account.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { isRunning } from '../support/processes.ts';
import { lacks } from '../support/requirements.ts';
import { type Answer, bundled, createCall, optionsText } from './support/driver.ts';

const file = bundled('flexcsi~sshfs');
const success = { status: 'Success' };
const call = createCall(file);
const user = 'flexcsi-test';
const uid = 54_321;
const password = 'pa,s"s \'w\\ö <$(id)> %s ';

let directory: string;
let target: string;

beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'flexcsi-sshfs-')));
  chmodSync(directory, 0o711);
  target = join(directory, 'target');
  mkdirSync(target);
});

afterEach(async () => {
  for (const pid of daemons()) process.kill(pid, 'SIGKILL');
  while (mounted() !== undefined) execFileSync('umount', ['-c', '-l', target]);
  if (existsSync(privateDirectory())) expect(await call('unmount', target)).toEqual(success);
  rmSync(directory, { recursive: true });
});

/** The fields of the mount on the target, if there is one. */
function mounted(): { source: string; readOnly: boolean; type: string } | undefined {
  const line = readFileSync('/proc/self/mountinfo', 'latin1')
    .split('\n')
    .map((text) => text.split(' '))
    .findLast(([, , , , path]) => path === target);
  if (line === undefined) return undefined;
  const [type, from] = line.slice(line.indexOf('-') + 1) as [string, string];
  const bytes = from.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
  return {
    type,
    source: Buffer.from(bytes, 'latin1').toString(),
    readOnly: (line[5] as string).split(',').includes('ro'),
  };
}

/** Where the driver keeps what belongs to the mount on the target. */
function privateDirectory(): string {
  return `/run/flexcsi-sshfs/${createHash('sha256').update(target).digest('hex')}`;
}

function processes(): { pid: number; parent: number; session: number; args: string[] }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
          .replace(/^.*\) /s, '')
          .split(' ');
        const args = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0').slice(0, -1);
        return [{ pid: Number(name), parent: Number(stat[1]), session: Number(stat[3]), args }];
      } catch {
        return []; // It has ended meanwhile.
      }
    });
}

/** The sshfs and ssh processes of the target. */
function daemons(): number[] {
  const own = processes().filter(
    ({ args }) => /^(sshfs|ssh)$/.test(args[0] ?? '') && args.some((arg) => arg.includes(privateDirectory())),
  );
  return own.map(({ pid }) => pid).filter(isRunning);
}

function descendants(pid: number): number[] {
  const all = processes();
  const of = (parent: number): number[] =>
    all.filter((one) => one.parent === parent).flatMap((one) => [one.pid, ...of(one.pid)]);
  return of(pid);
}

/** Runs a program, as one that touches a mount must not be this process; at most ten seconds. */
function shell(script: string, as: { uid?: number; gid?: number } = {}): string {
  const ended = spawnSync('sh', ['-c', script, 'sh', target], {
    encoding: 'utf8',
    timeout: 10_000,
    killSignal: 'SIGKILL',
    cwd: '/',
    ...as,
  });
  return ended.stdout + ended.stderr;
}

function secretOptions(secret: Readonly<Record<string, string>>): Record<string, string> {
  const entries = Object.entries(secret);
  return Object.fromEntries(
    entries.map(([key, value]) => [`kubernetes.io/secret/${key}`, Buffer.from(value).toString('base64')]),
  );
}

/** Nothing is left of a mount: no mount, no process, no private file. */
async function expectNothingLeft(): Promise<void> {
  expect(mounted()).toBeUndefined();
  expect(existsSync(privateDirectory())).toBe(false);
  await vi.waitFor(() => expect(daemons()).toEqual([]), 10_000);
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

describe('mount', () => {
  const good = { host: 'files', user: 'bob', path: '/data', hostKeyCheck: 'no' };
  const key = { privateKey: 'very secret' };

  it.each([
    [{ host: '' }, key, /'host' is missing/],
    [{ user: '' }, key, /'user' is missing/],
    [{ path: '' }, key, /'path' is missing/],
    [{ host: '-oProxyCommand=id' }, key, /'host' is not a host name/],
    [{ host: 'files -oProxyCommand=id' }, key, /'host' is not a host name/],
    [{ host: 'files:/other' }, key, /'host' is not a host name/],
    [{ host: 'a@b' }, key, /'host' is not a host name/],
    [{ host: 'files\n' }, key, /'host' holds a line break/],
    [{ user: '-oProxyCommand=id' }, key, /'user' holds other characters/],
    [{ user: 'bob,ssh_command=id' }, key, /'user' holds other characters/],
    [{ user: 'bob:x' }, key, /'user' holds other characters/],
    [{ user: 'bob\nProxyCommand id' }, key, /'user' holds a line break/],
    [{ path: '/data\n' }, key, /'path' holds a line break/],
    [{ port: '22 -oProxyCommand=id' }, key, /'port' is not a number/],
    [{ port: '22\nProxyCommand id' }, key, /'port' holds a line break/],
    [{ options: 'ssh_command=id' }, key, /'ssh_command' is not among those/],
    [{ options: 'ProxyCommand=id' }, key, /'ProxyCommand' is not among those/],
    [{ options: 'reconnect,proxycommand=id' }, key, /'proxycommand' is not among those/],
    [{ options: 'sftp_server=id' }, key, /'sftp_server' is not among those/],
    [{ options: 'uidfile=/etc/passwd' }, key, /'uidfile' is not among those/],
    [{ options: 'idmap=file' }, key, /'idmap=file' is refused/],
    [{ options: 'StrictHostKeyChecking=no' }, key, /'StrictHostKeyChecking' is not among those/],
    [{ options: 'directport=1' }, key, /'directport' is not among those/],
    [{ options: 'suid,dev' }, key, /'suid' is not among those/],
    [{ options: 'umask=022\\,ssh_command=id' }, key, /mount options hold other characters/],
    [{ options: 'umask=022\\054ssh_command=id' }, key, /mount options hold other characters/],
    [{ options: 'umask=022 -o ssh_command=id' }, key, /mount options hold other characters/],
    [{ 'csi/mountOptions': 'ssh_command=id' }, key, /'ssh_command' is not among those/],
    [{ 'kubernetes.io/mounterArgs.FsGroup': '0,ssh_command=id' }, key, /group .* is not a number/],
    [{}, {}, /neither a key 'privateKey' nor a key 'password'/],
    [{}, { ...key, password: 'very secret' }, /both 'privateKey' and 'password'/],
    [{}, { password: 'very secret\n' }, /'password' of the secret holds a line break/],
    [{}, { password: 'very\u0003secret' }, /'password' of the secret holds a line break/],
    [{}, { password: 'very\0secret' }, /'password' of the secret holds a line break/],
    [
      { hostKeyCheck: '' },
      key,
      /ssh-keyscan, checked, under 'knownHosts'.* or set option 'hostKeyCheck' to 'no'/,
    ],
    [{ hostKeyCheck: 'yes' }, key, /nothing tells which host key files has/],
    [{ hostKeyCheck: 'No' }, key, /'hostKeyCheck' is neither 'yes' nor 'no'/],
    [
      {},
      { ...key, knownHosts: 'files ssh-ed25519 AAAA' },
      /'hostKeyCheck' is 'no', but the secret has 'knownHosts'/,
    ],
  ])('refuses %j with the secret %j before it does anything', async (options, secret, message) => {
    const given = { ...good, ...options, ...secretOptions(secret as Record<string, string>) };
    const answer = await call('mount', target, optionsText(given as Record<string, string>));
    expect(answer.status).toBe('Failure');
    expect(answer.message).toMatch(message);
    expect(answer.message).not.toMatch(/very/);
    expect(existsSync(privateDirectory())).toBe(false);
  });

  it.skipIf(lacks('root'))('says which package is missing', () => {
    const hide = 'for f in $(command -v sshfs); do mount --bind /dev/null "$f"; done';
    const options = optionsText({ ...good, ...secretOptions(key) });
    const output = spawnSync(
      'unshare',
      ['--mount', 'sh', '-c', `${hide}; exec "$@"`, 'sh', file, 'mount', target, options],
      { encoding: 'utf8' },
    ).stdout;
    expect(JSON.parse(output).message).toMatch(/^sshfs is not installed here: .*sshfs/);
  });
});

describe.skipIf(lacks('root', 'fuse', 'sshfs', '/usr/sbin/sshd', 'ssh-keygen', 'openssl'))(
  'against a server',
  () => {
    /** The server's files: keys, configuration, and what it serves. */
    let home: string;
    let server: ChildProcess;
    let port: number;
    let keyText: string;
    let knownHosts: string;

    beforeAll(async () => {
      home = realpathSync(mkdtempSync(join(tmpdir(), 'flexcsi-sshd-')));
      chmodSync(home, 0o711);
      mkdirSync(join(home, 'data'));
      writeFileSync(join(home, 'data/file'), 'hello\n');
      for (const path of ['data', 'data/file']) chownSync(join(home, path), uid, uid);
      for (const name of ['host', 'key', 'other'])
        execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', join(home, name)]);
      execFileSync('cp', [join(home, 'key.pub'), join(home, 'authorized')]);
      chmodSync(join(home, 'authorized'), 0o644);
      port = await freePort();
      keyText = readFileSync(join(home, 'key'), 'utf8');
      knownHosts = `[127.0.0.1]:${port} ${readFileSync(join(home, 'host.pub'), 'utf8')}`;

      const hash = execFileSync('openssl', ['passwd', '-6', '-stdin'], {
        input: password,
        encoding: 'utf8',
      }).trim();
      const passwd = `${user}:x:${uid}:${uid}::${home}:/bin/sh\n`;
      writeFileSync(join(home, 'passwd'), readFileSync('/etc/passwd', 'utf8') + passwd, { mode: 0o644 });
      writeFileSync(join(home, 'shadow'), `${readFileSync('/etc/shadow', 'utf8')}${user}:${hash}:1::::::\n`, {
        mode: 0o600,
      });
      const configuration = [
        ...[
          `ListenAddress 127.0.0.1:${port}`,
          `HostKey ${home}/host`,
          `AuthorizedKeysFile ${home}/authorized`,
        ],
        ...['StrictModes no', 'UsePAM no', 'PidFile none', 'Subsystem sftp internal-sftp', 'MaxStartups 100'],
      ];
      writeFileSync(join(home, 'config'), `${configuration.join('\n')}\n`);
      // sshd wants an empty /run/sshd. It gets one of its own, as it gets a user of its own.
      const script = `mount --bind ${home}/passwd /etc/passwd && mount --bind ${home}/shadow /etc/shadow &&
      mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -f ${home}/config -E ${home}/log`;
      server = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', script], {
        stdio: 'inherit',
      });
      await vi.waitFor(() => expect(readFileSync(join(home, 'log'), 'utf8')).toMatch(/listening/), 20_000);
    });

    afterAll(async () => {
      const ended = new Promise((resolve) => server.once('exit', resolve));
      for (const pid of [...descendants(server.pid as number), server.pid as number])
        process.kill(pid, 'SIGKILL');
      await ended;
      rmSync(home, { recursive: true });
    });

    const options = (more: Readonly<Record<string, string>> = {}): Record<string, string> => ({
      host: '127.0.0.1',
      port: String(port),
      user,
      path: join(home, 'data'),
      'kubernetes.io/readwrite': 'rw',
      ...secretOptions({ privateKey: keyText, knownHosts }),
      ...more,
    });
    const withPassword = (text = password): Record<string, string> => {
      const { 'kubernetes.io/secret/privateKey': _, ...rest } = options(secretOptions({ password: text }));
      return rest;
    };
    const mount = (given = options()): Promise<Answer> => call('mount', target, optionsText(given));

    /** Drops the connections that the server has. */
    function dropConnections(): void {
      for (const pid of descendants(server.pid as number)) process.kill(pid, 'SIGKILL');
    }

    /** Stops the server in the middle of all that it does, and returns what lets it go on. */
    function suspendServer(): () => void {
      const all = [server.pid as number, ...descendants(server.pid as number)];
      for (const pid of all) process.kill(pid, 'SIGSTOP');
      return () => {
        for (const pid of all) process.kill(pid, 'SIGCONT');
      };
    }

    it('mounts, shows the files, and unmounts without a trace', async () => {
      expect(await mount()).toEqual(success);
      expect(mounted()).toEqual({
        source: `${user}@127.0.0.1:${home}/data`,
        type: 'fuse.sshfs',
        readOnly: false,
      });
      expect(shell('umask 022; cat "$1/file" && echo there >"$1/new"')).toBe('hello\n');
      expect(readFileSync(join(home, 'data/new'), 'utf8')).toBe('there\n');
      expect(lstatSync(join(home, 'data/new'))).toMatchObject({ uid, gid: uid, mode: 0o100_644 });
      // Other users than root can use it: what they may do is up to the server.
      expect(shell('cat "$1/new"', { uid: 65_534, gid: 65_534 })).toBe('there\n');
      expect(await mount()).toEqual(success);
      expect(daemons()).toHaveLength(2);
      expect(await call('unmount', target)).toEqual(success);
      // Not a moment later: sshfs had ended before the driver answered.
      expect(
        processes().filter(({ pid, args }) => args[0] === 'sshfs' && args.includes(target) && isRunning(pid)),
      ).toEqual([]);
      await expectNothingLeft();
      expect(await call('unmount', target)).toEqual(success);
    });

    it('keeps keys where only root can read them, and no secret on a command line', async () => {
      expect(await mount()).toEqual(success);
      const path = privateDirectory();
      for (const directory of ['/run/flexcsi-sshfs', path])
        expect(lstatSync(directory).mode & 0o777).toBe(0o700);
      expect(readdirSync(path).sort()).toEqual(['config', 'key', 'known_hosts', 'log']);
      for (const name of ['config', 'key', 'known_hosts'])
        expect(lstatSync(join(path, name)).mode & 0o777).toBe(0o600);
      expect(readFileSync(join(path, 'key'), 'utf8')).toBe(`${keyText}\n`);
      expect(readlinkSync(join(path, 'log'))).toBe('/dev/null');
      for (const pid of daemons()) {
        for (const what of ['cmdline', 'environ'])
          expect(readFileSync(`/proc/${pid}/${what}`, 'utf8')).not.toContain(keyText.slice(50, 100));
      }
    });

    it('leaves a daemon that holds nothing of the driver and survives its process group', async () => {
      const driver = spawn(file, ['mount', target, optionsText(options())], {
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let output = '';
      for (const stream of [driver.stdout, driver.stderr]) stream.on('data', (text) => (output += text));
      // Like kubelet: until nobody holds the output any more.
      await new Promise((resolve) => driver.once('close', resolve));
      expect(JSON.parse(output)).toEqual(success);
      const group = driver.pid as number;
      const sessions = processes().filter(({ pid }) => daemons().includes(pid));
      expect(sessions).toHaveLength(2);
      for (const { session } of sessions) expect(session).not.toBe(group);
      expect(() => process.kill(-group, 'SIGKILL')).toThrow('ESRCH');
      expect(shell('cat "$1/file"')).toBe('hello\n');
    });

    it('mounts read-only', async () => {
      expect(await mount(options({ 'kubernetes.io/readwrite': 'ro', options: 'rw' }))).toEqual(success);
      expect(mounted()?.readOnly).toBe(true);
      expect(shell('touch "$1/file"')).toMatch(/Read-only file system/);
    });

    it("shows the files as the pod's group's, and passes options on", async () => {
      const given = {
        'kubernetes.io/mounterArgs.FsGroup': '1234',
        options: 'uid=77,umask=027',
        'csi/mountOptions': 'noatime',
      };
      expect(await mount(options(given))).toEqual(success);
      expect(shell('stat -c %u:%g:%a "$1/file"')).toBe('77:1234:750\n');
      expect(readFileSync('/proc/self/mountinfo', 'utf8')).toMatch(new RegExp(`${target} rw,[^ ]*noatime`));
    });

    it.each(['with space, comma', 'quo"te \\ $(id)', 'ünï€', '-o', 'a:b@c', '\\054'])(
      'mounts the path %j',
      async (name) => {
        mkdirSync(join(home, 'data', name), { recursive: true });
        const path = join(home, 'data', name);
        expect(await mount(options({ path }))).toEqual(success);
        expect(mounted()?.source).toBe(`${user}@127.0.0.1:${path}`);
        expect(await mount(options({ path }))).toEqual(success);
        expect((await mount()).message).toMatch(/is already mounted, from .* instead of/);
        expect(await call('unmount', target)).toEqual(success);
      },
    );

    it('logs in with a password, which it keeps in no file and on no command line', async () => {
      expect(await mount(withPassword())).toEqual(success);
      expect(shell('cat "$1/file"')).toBe('hello\n');
      expect(
        spawnSync('grep', ['-rF', '-e', password, privateDirectory()], { encoding: 'utf8' }).stdout,
      ).toBe('');
      for (const pid of daemons()) {
        for (const what of ['cmdline', 'environ'])
          expect(readFileSync(`/proc/${pid}/${what}`, 'utf8')).not.toContain(password);
      }
      expect(await call('unmount', target)).toEqual(success);
      await expectNothingLeft();
    });

    it.each(['key', 'password'])('connects again with the %s when the connection was lost', async (how) => {
      expect(await mount(how === 'key' ? options() : withPassword())).toEqual(success);
      dropConnections();
      await vi.waitFor(() => expect(shell('cat "$1/file"')).toBe('hello\n'), {
        timeout: 20_000,
        interval: 500,
      });
      expect(await call('unmount', target)).toEqual(success);
      await expectNothingLeft();
    });

    it('connects without a known host key only when told to', async () => {
      const { 'kubernetes.io/secret/knownHosts': _, ...rest } = options({ hostKeyCheck: 'no' });
      expect(await mount(rest)).toEqual(success);
    });

    it.each<[string, () => Record<string, string>, RegExp]>([
      [
        'a wrong key',
        () => options(secretOptions({ privateKey: readFileSync(join(home, 'other'), 'utf8') })),
        /Permission denied/,
      ],
      [
        'a key that is none',
        () => options(secretOptions({ privateKey: 'nonsense' })),
        /invalid format|error in libcrypto/,
      ],
      ['a wrong password', () => withPassword('wrong'), /Permission denied/],
      [
        'another host key',
        () =>
          options(
            secretOptions({
              knownHosts: `[127.0.0.1]:${port} ${readFileSync(join(home, 'other.pub'), 'utf8')}`,
            }),
          ),
        /Host key verification failed/,
      ],
      [
        'another host',
        () => options(secretOptions({ knownHosts: 'elsewhere ssh-ed25519 AAAA' })),
        /Host key verification failed/,
      ],
      ['a missing path', () => options({ path: '/does/not/exist' }), /No such file or directory/],
      ['a wrong port', () => options({ port: '1' }), /Connection refused/],
      ['a name that is none', () => options({ host: 'host.invalid' }), /Could not resolve hostname/],
    ])("answers with ssh's own words for %s, and leaves nothing", async (_, given, words) => {
      const answer = await mount(given());
      expect(answer.status).toBe('Failure');
      expect(answer.message).toMatch(/^cannot mount /);
      expect(answer.message).toMatch(words);
      await expectNothingLeft();
    });

    it('unmounts when the daemon was killed, though a process still uses the mount', async () => {
      expect(await mount()).toEqual(success);
      const process_ = spawn('sh', ['-c', 'exec 3<"$1/file"; echo; exec sleep 600', 'sh', target], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      await new Promise((resolve) => process_.stdout.once('data', resolve));
      for (const pid of daemons()) process.kill(pid, 'SIGKILL');
      await vi.waitFor(() => expect(shell('ls "$1"')).toMatch(/Transport endpoint is not connected/));
      expect(await call('unmount', target)).toEqual(success);
      await expectNothingLeft();
      await new Promise((resolve) => process_.once('exit', resolve).kill());
    });

    it('mounts anew when the daemon was killed', async () => {
      expect(await mount()).toEqual(success);
      for (const pid of daemons()) process.kill(pid, 'SIGKILL');
      await vi.waitFor(() => expect(shell('ls "$1"')).toMatch(/Transport endpoint is not connected/));
      expect(await mount()).toEqual(success);
      expect(shell('cat "$1/file"')).toBe('hello\n');
      expect(await call('unmount', target)).toEqual(success);
      await expectNothingLeft();
    });

    it('does not unmount what is in use', async () => {
      expect(await mount()).toEqual(success);
      const process_ = spawn('sh', ['-c', 'exec 3<"$1/file"; echo; exec sleep 600', 'sh', target], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      await new Promise((resolve) => process_.stdout.once('data', resolve));
      expect((await call('unmount', target)).message).toMatch(/busy/);
      expect(shell('cat "$1/file"')).toBe('hello\n');
      await new Promise((resolve) => process_.once('exit', resolve).kill());
      expect(await call('unmount', target)).toEqual(success);
    });

    it('neither waits for ever for a server that does not answer nor gives up its mount', async () => {
      expect(await mount()).toEqual(success);
      const resume = suspendServer();
      try {
        // The look at the mount cannot even be killed: its request is with the daemon.
        expect((await mount()).message).toMatch(
          /is already mounted, from .*, but does not answer: no end within 5 s/,
        );
        expect(mounted()).toBeDefined();
      } finally {
        resume();
      }
      expect(await mount()).toEqual(success);
      expect(shell('cat "$1/file"')).toBe('hello\n');
    });

    it('unmounts, and waits for the end of the daemon, when the server does not answer', async () => {
      const given = { options: 'ServerAliveInterval=1,ServerAliveCountMax=2,ConnectTimeout=3' };
      expect(await mount(options(given))).toEqual(success);
      const resume = suspendServer();
      try {
        const reader = spawn('ls', [target], { stdio: 'ignore' });
        const ended = new Promise((resolve) => reader.once('exit', resolve));
        await vi.waitFor(async () => expect(await call('unmount', target)).toEqual(success), {
          timeout: 50_000,
        });
        await ended;
        await expectNothingLeft();
      } finally {
        resume();
      }
    });

    describe('whose server accepts a connection and says nothing', () => {
      let silent: Server;

      beforeEach(async () => {
        silent = createServer(() => {});
        await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', () => resolve()));
      });

      afterEach(() => {
        silent.close();
      });

      function startDriver(more: Readonly<Record<string, string>> = {}): ChildProcess {
        const given = options({ port: String((silent.address() as AddressInfo).port), ...more });
        return spawn(file, ['mount', target, optionsText(given)], {
          detached: true,
          stdio: ['ignore', 'pipe', 'pipe'],
        });
      }

      it('ends all that it has begun at SIGTERM', async () => {
        const driver = startDriver();
        let output = '';
        driver.stdout?.on('data', (text) => (output += text));
        await vi.waitFor(() => expect(daemons()).toHaveLength(2), 10_000);
        driver.kill('SIGTERM');
        await new Promise((resolve) => driver.once('close', resolve));
        expect(JSON.parse(output).message).toMatch(/^cannot mount .*: ended by a signal$/);
        await expectNothingLeft();
      });

      it('mounts at the next call when the driver was killed', async () => {
        const driver = startDriver({ options: 'ConnectTimeout=2' });
        await vi.waitFor(() => expect(daemons()).toHaveLength(2), 10_000);
        process.kill(-(driver.pid as number), 'SIGKILL');
        await new Promise((resolve) => driver.once('exit', resolve));
        // Until its sshfs gives up, the answer is a failure that says so.
        await vi.waitFor(async () => expect(await mount()).toEqual(success), { timeout: 50_000 });
        expect(shell('cat "$1/file"')).toBe('hello\n');
        expect(await call('unmount', target)).toEqual(success);
        await expectNothingLeft();
      });
    });
  },
);

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
