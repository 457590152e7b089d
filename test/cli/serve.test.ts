import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CsiClient } from '../support/csi-client.ts';
import { isRunning } from '../support/processes.ts';
import { lacks } from '../support/requirements.ts';
import { failureOf, mountCapability, mountsBelow } from '../support/scenario.ts';
import { answer, ScriptedDriver } from '../support/scripted-driver.ts';

const main = join(import.meta.dirname, '../../src/main.ts');

/** The program itself, as a process. */
class Program {
  readonly process: ChildProcess;
  output = '';
  readonly exit: Promise<number | null>;

  constructor(args: readonly string[], env: Record<string, string> = {}) {
    this.process = spawn(process.execPath, [main, ...args], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.output += chunk.toString();
      });
    }
    this.exit = new Promise((resolve) => this.process.once('close', resolve));
  }

  async listening(): Promise<void> {
    await vi.waitFor(() => expect(this.output).toContain('listening'), { timeout: 20_000, interval: 20 });
  }
}

describe('flexcsi serve', () => {
  let directory: string;
  let driver: ScriptedDriver;
  let programs: Program[];
  let socket: string;
  let args: string[];

  const start = (extra: readonly string[] = [], env: Record<string, string> = {}): Program => {
    const program = new Program([...args, ...extra], env);
    programs.push(program);
    return program;
  };

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'flexcsi-serve-'));
    driver = ScriptedDriver.install(join(directory, 'drivers'));
    programs = [];
    socket = join(directory, 'csi.sock');
    args = [
      'serve',
      '--kubelet-dir',
      directory,
      '--driver',
      driver.file,
      '--endpoint',
      `unix://${socket}`,
      '--node-id',
      'n1',
      '--state-dir',
      join(directory, 'state'),
    ];
  });

  afterEach(async () => {
    for (const program of programs) {
      program.process.kill('SIGKILL');
      await program.exit;
    }
    driver.remove();
    for (const path of mountsBelow(directory)) execFileSync('umount', [path]);
    rmSync(directory, { recursive: true });
  });

  it('listens on a socket of its owner only, and says on what, for whom and with which capabilities', async () => {
    const program = start();
    await program.listening();
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    const lines = program.output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines).toContainEqual(
      expect.objectContaining({
        msg: 'listening',
        name: 'scripted.example.com',
        endpoint: `unix://${socket}`,
        driver: driver.file,
      }),
    );
    expect(lines).toContainEqual(
      expect.objectContaining({
        controller: expect.arrayContaining(['PUBLISH_UNPUBLISH_VOLUME']),
        node: expect.arrayContaining(['STAGE_UNSTAGE_VOLUME']),
      }),
    );
  });

  it('takes the endpoint and the node from the environment', async () => {
    args = ['serve', '--driver', driver.file, '--state-dir', join(directory, 'state')];
    const program = start([], { CSI_ENDPOINT: `unix:${socket}`, NODE_NAME: 'from-env' });
    await program.listening();
    const client = new CsiClient(socket);
    expect(await client.node('NodeGetInfo', {})).toMatchObject({ node_id: 'from-env' });
    client.close();
  });

  it('gives drivers the usual umask, not the one of the socket', async () => {
    const program = start();
    await program.listening();
    expect(driver.calls()[0]?.umask).toMatch(/^0?022$/);
  });

  it.each([
    ['controller', 'node', 'NodeGetCapabilities'],
    ['node', 'controller', 'ControllerGetCapabilities'],
  ] as const)('serves only Identity and %s with --mode', async (mode, service, rpc) => {
    const program = start(['--mode', mode]);
    await program.listening();
    const client = new CsiClient(socket);
    const call =
      service === 'node'
        ? client.node(rpc as 'NodeGetCapabilities', {})
        : client.controller(rpc as 'ControllerGetCapabilities', {});
    expect(await failureOf(call)).toMatch(/^UNIMPLEMENTED/);
    expect(await client.identity('Probe', {})).toMatchObject({ ready: { value: true } });
    client.close();
  });

  it('replaces a stale socket', async () => {
    const first = start();
    await first.listening();
    first.process.kill('SIGKILL');
    await first.exit;
    expect(existsSync(socket)).toBe(true);
    const second = start();
    await second.listening();
    const client = new CsiClient(socket);
    await client.identity('Probe', {});
    client.close();
  });

  it('leaves a live socket alone', async () => {
    const first = start();
    await first.listening();
    const second = start();
    expect(await second.exit).toBe(1);
    expect(second.output).toContain(`flexcsi: --endpoint: another process is serving ${socket}`);
    const client = new CsiClient(socket);
    await client.identity('Probe', {});
    client.close();
  });

  it('does not remove the socket of a successor', async () => {
    const first = start();
    await first.listening();
    rmSync(socket);
    const successor = createServer().listen(socket);
    await new Promise((resolve) => successor.once('listening', resolve));
    first.process.kill('SIGTERM');
    expect(await first.exit).toBe(0);
    expect(existsSync(socket)).toBe(true);
    await new Promise((resolve) => successor.close(resolve));
  });

  it.skipIf(lacks('mounts'))(
    'drains on SIGTERM: the running driver finishes, new calls are turned away, exit 0, no socket',
    async () => {
      driver.script('init', answer('Success', { capabilities: { attach: false } }));
      driver.script('mount', {
        sleepMs: 1_500,
        shell: 'mount -t tmpfs tmpfs "$2"',
        prints: answer('Success'),
      });
      const program = start();
      await program.listening();
      const client = new CsiClient(socket);
      const target_path = join(directory, 'target');
      const publish = client.node('NodePublishVolume', {
        volume_id: 'v',
        target_path,
        volume_capability: mountCapability,
      });
      await vi.waitFor(() => expect(driver.verbs()).toContain('mount'), { timeout: 10_000 });
      program.process.kill('SIGTERM');
      await vi.waitFor(
        async () =>
          expect(await failureOf(client.identity('Probe', {}))).toMatch(
            /^UNAVAILABLE: flexcsi is shutting down/,
          ),
        { timeout: 5_000, interval: 50 },
      );
      await publish;
      client.close();
      expect(await program.exit).toBe(0);
      expect(existsSync(socket)).toBe(false);
    },
  );

  it('ends though a client that never spoke gRPC stays connected', async () => {
    const program = start();
    await program.listening();
    const { connect } = await import('node:net');
    const idle = connect(socket);
    await new Promise((resolve) => idle.once('connect', resolve));
    idle.on('error', () => {});
    program.process.kill('SIGTERM');
    expect(await program.exit).toBe(0);
    idle.destroy();
  });

  it('does not take its driver along when it is killed', async () => {
    driver.script('attach', { sleepMs: 3_000, prints: answer('Success') });
    const program = start();
    await program.listening();
    const client = new CsiClient(socket);
    const attach = client.controller('ControllerPublishVolume', {
      volume_id: 'v',
      node_id: 'n',
      volume_capability: mountCapability,
    });
    attach.catch(() => {});
    await vi.waitFor(() => expect(driver.verbs()).toContain('attach'), { timeout: 10_000 });
    const pid = driver.calls().find(({ verb }) => verb === 'attach')?.pid ?? 0;
    program.process.kill('SIGKILL');
    await program.exit;
    expect(isRunning(pid)).toBe(true);
    client.close();
    await vi.waitFor(() => expect(isRunning(pid)).toBe(false), { timeout: 10_000 });
  });

  it('serves a driver whose init fails, and says so', async () => {
    driver.script('init', { prints: answer('Failure', { message: 'no license' }), exit: 1 });
    const program = start();
    await program.listening();
    expect(program.output).toContain('no license');
  });

  it('keeps secrets out of its logs at every level', async () => {
    const secret = 'S3cret-canary-value';
    driver.script('init', answer('Success', { capabilities: { attach: false } }));
    driver.script('mount', {
      prints: [
        { to: 'stderr', bytes: `login ${secret}\n` },
        { to: 'stdout', bytes: answer('Failure', { message: `bad ${secret}` }) },
      ],
      exit: 1,
    });
    const program = start(['--log-level', 'trace']);
    await program.listening();
    const client = new CsiClient(socket);
    const failure = await failureOf(
      client.node('NodePublishVolume', {
        volume_id: 'v',
        target_path: join(directory, 'target'),
        volume_capability: {
          mount: { mount_flags: [`password=${secret}`] },
          access_mode: { mode: 'SINGLE_NODE_WRITER' },
        },
        secrets: { password: secret },
      }),
    );
    client.close();
    expect(failure).toContain('***');
    program.process.kill('SIGTERM');
    await program.exit;
    expect(program.output).toContain('NodePublishVolume');
    for (const form of [secret, Buffer.from(secret).toString('base64')]) {
      expect(program.output).not.toContain(form);
      expect(failure).not.toContain(form);
    }
  });

  it.each([
    [
      ['--endpoint', 'tcp://1.2.3.4:5'],
      'flexcsi: --endpoint must be unix:///<path of the socket>, not "tcp://1.2.3.4:5"',
    ],
    [
      ['--endpoint', `unix:///${'x'.repeat(107)}`],
      "flexcsi: --endpoint: the socket's path has 108 bytes, Linux allows 107",
    ],
    [
      ['--endpoint', 'unix:///no/such/directory/csi.sock'],
      'flexcsi: --endpoint: the directory /no/such/directory does not exist; make it first',
    ],
    [['--endpoint', 'unix:///etc/passwd'], 'flexcsi: --endpoint: /etc/passwd exists and is not a socket'],
    [['--name', 'bad_name'], '--name'],
    [['--node-id', ''], 'flexcsi: --node-id is required (or NODE_NAME in the environment)'],
    [
      ['--state-dir', '/proc/nowhere'],
      'flexcsi: --state-dir: /proc/nowhere/scripted.example.com cannot be written',
    ],
    [
      ['--mode', 'both'],
      "error: option '--mode <mode>' argument 'both' is invalid. Allowed choices are all, controller, node.",
    ],
    [['--driver-timeout', '10'], 'expected a number with unit ms, s, m or h'],
    [['--log-level', 'loud'], 'Allowed choices are'],
    [['--no-such-option'], "error: unknown option '--no-such-option'"],
  ])('refuses %j with exit code 1', async (extra, message) => {
    const program = start(extra);
    expect(await program.exit).toBe(1);
    expect(program.output).toContain(message);
    expect(program.output).not.toMatch(/^\s+at /m);
  });

  it('says what is wrong with a driver that cannot be started, and goes on trying', async () => {
    const file = join(directory, 'plain');
    writeFileSync(file, 'echo no interpreter line\n');
    chmodSync(file, 0o755);
    const program = start(['--driver', file]);
    await program.listening();
    const client = new CsiClient(socket);
    expect(await failureOf(client.identity('Probe', {}))).toMatch(/^FAILED_PRECONDITION: .*#!/);
    client.close();
  });
});

describe('flexcsi --help', () => {
  it('tells each option of serve with its default', async () => {
    const program = new Program(['serve', '--help']);
    expect(await program.exit).toBe(0);
    const options = [
      '--driver',
      '--endpoint',
      '--node-id',
      '--mode',
      '--name',
      '--attach-on',
      '--state-dir',
      '--kubelet-dir',
      '--driver-timeout',
      '--max-parallel',
      '--fs-group-key',
      '--fs-group-change-policy',
      '--config',
      '--topology',
      '--max-volumes-per-node',
      '--log-level',
      '--log-format',
    ];
    for (const option of options) expect(program.output).toContain(option);
    for (const word of ['CSI_ENDPOINT', 'NODE_NAME', '10m', '/var/lib/flexcsi', '/var/lib/kubelet'])
      expect(program.output).toContain(word);
  });
});
