/**
 * `flexcsi demo`: a whole volume life on a real driver, seen from outside. All of it happens in a mount
 * namespace of its own, on a tmpfs that goes away with it.
 */
import { mkdtemp, readFile, rmdir } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { Failure } from '../../errors.ts';
import { silentLogger } from '../../log.ts';
import { createRun, runInPlace } from '../../process.ts';
import { makePrivateDirectory } from '../../state/directory.ts';
import { resolveHere } from '../here.ts';
import { serve } from '../serve.ts';
import { DemoClient } from './client.ts';
import { Life } from './life.ts';
import { Recorder } from './recorder.ts';
import { Story } from './story.ts';

export interface DemoOptions {
  readonly driver?: string;
  readonly option: Readonly<Record<string, string>>;
  readonly secret: Readonly<Record<string, string>>;
  readonly fsType?: string;
}

/** Set in the process that is inside the namespace: the directory that is its own. */
const INSIDE = 'FLEXCSI_DEMO_DIRECTORY';
const MIB = 1024 * 1024;
const CAP_SYS_ADMIN = 21;
const CAP_SYS_RESOURCE = 24;

/**
 * Runs the demo. Answers the exit code: 0 only when every step was verified.
 *
 * @throws {Failure} saying what the machine lacks.
 */
export async function demo(options: DemoOptions): Promise<number> {
  const inside = process.env[INSIDE];
  return inside === undefined ? await enter() : await play(options, inside);
}

/** Starts this same command again in a namespace of its own, and removes the (then empty) directory afterwards. */
async function enter(): Promise<number> {
  const isRoot = await hasCapability(CAP_SYS_ADMIN);
  const namespace = [...(isRoot ? [] : ['--user', '--map-root-user']), '--mount', '--propagation', 'private'];
  await requireNamespace(namespace);
  const directory = await mkdtemp(join(tmpdir(), 'flexcsi-demo-'));
  try {
    const self = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
    return await runInPlace('unshare', [...namespace, ...self], {
      [INSIDE]: directory,
      ...(isRoot ? {} : { FLEXCSI_DEMO_USER: 'yes' }),
    });
  } finally {
    await rmdir(directory);
  }
}

/** @throws {Failure} saying what the machine lacks. */
async function requireNamespace(namespace: readonly string[]): Promise<void> {
  const tried = await createRun()({ file: 'unshare', args: [...namespace, 'true'], timeoutMs: 10_000 });
  if (tried.exitCode === 0) return;
  const words = tried.output.toString().trim() || (tried.startError ?? '');
  throw new Failure(
    'precondition',
    `the demo mounts file systems in a namespace of its own, which is refused here (${words}): run it as root, or allow user namespaces to this user (sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces); it needs the program unshare (package util-linux)`,
  );
}

async function play(options: DemoOptions, directory: string): Promise<number> {
  const run = createRun();
  // The loop driver remembers in /run what is attached; another driver may need what is there.
  const ours = options.driver === undefined ? [directory, '/run'] : [directory];
  for (const path of ours) {
    const mounted = await run({
      file: 'mount',
      args: ['-t', 'tmpfs', 'flexcsi-demo', path],
      timeoutMs: 10_000,
    });
    if (mounted.exitCode === 0) continue;
    throw new Failure('host-failed', `the demo cannot mount a tmpfs: ${mounted.output.toString().trim()}`);
  }

  const story = new Story((text) => process.stdout.write(text));
  const chosen = await choose(options, directory);
  const kubeletDir = join(directory, 'kubelet');
  const stagingPath = join(kubeletDir, 'plugins/globalmount');
  const targetPath = join(kubeletDir, 'pods/pod-1/volumes/kubernetes.io~csi/pv-demo/mount');
  for (const path of [stagingPath, dirname(targetPath)]) await makePrivateDirectory(path);
  const names = { '<target>': targetPath, '<staging>': stagingPath };
  const recorder = new Recorder(chosen.driver, (text) => shorten(text, names, kubeletDir));
  const endpoint = `unix://${join(directory, 'csi.sock')}`;
  const oldBytes = 64 * MIB;
  const serving = await serve(
    {
      driver: chosen.driver,
      endpoint,
      nodeId: hostname(),
      mode: 'all',
      attachOn: 'controller',
      stateDir: join(directory, 'state'),
      kubeletDir,
      driverTimeout: 60_000,
      maxParallel: 32,
      hostPid: 1,
      fsGroupKey: 'current',
      fsGroupChangePolicy: 'Always',
      logLevel: 'silent',
      logFormat: 'json',
    },
    {
      run: recorder.wrap(run),
      log: silentLogger(),
      // The demo is the cluster here: it knows the volume's options and size, as a PersistentVolume would.
      lookup: {
        find: async () => ({
          options: chosen.options,
          fsType: chosen.fsType,
          capacityBytes: BigInt(oldBytes),
        }),
      },
    },
  );
  const client = new DemoClient(endpoint);
  const life = new Life(client, recorder, story, {
    volumeId: 'pv-demo',
    nodeId: hostname(),
    fsType: chosen.fsType,
    options: chosen.options,
    secrets: options.secret,
    stagingPath,
    targetPath,
    oldBytes,
    newBytes: chosen.grows ? 2 * oldBytes : 0,
    growsMounted: await hasCapability(CAP_SYS_RESOURCE),
    mayStartEmpty: options.driver !== undefined,
  });
  story.say(
    `A volume's life: a CSI client calls flexcsi over a unix socket, flexcsi calls the FlexVolume driver`,
  );
  story.say(`${chosen.about} as ${serving.drivers()[0]?.name}\n`);
  story.head();
  story.happened('flexcsi starts', recorder.take());
  const interrupted = whenInterrupted();
  try {
    await Promise.race([life.live(), interrupted]);
  } catch (error) {
    story.check('stopped', (error as Error).message, false);
    if (!(await life.cleanUp())) {
      story.say('    not all could be taken down: look for mounts and devices of the volume pv-demo');
    }
  }
  client.close();
  await serving.stop();
  story.say('\n<target> is the directory of the pod, <staging> the one that all pods of the node share.');
  if (recorder.sampleOptions !== undefined) {
    story.say(`{…} is the volume's options, as kubelet writes them: ${recorder.sampleOptions}`);
  }
  story.say(story.verified ? `\nAll verified. ${chosen.left}` : '\nNot verified: see the lines marked ✗.');
  return story.verified ? 0 : 1;
}

/** A path as the story shows it: by its role, or without the demo's own directory. */
function shorten(text: string, names: Readonly<Record<string, string>>, kubeletDir: string): string {
  const role = Object.entries(names).find(([, path]) => path === text)?.[0];
  if (role !== undefined) return role;
  return text.replace(`${kubeletDir}/`, '…/').replace(/([0-9a-f]{6})[0-9a-f]{58}/, '$1…');
}

/** Rejects at Ctrl-C and the like: what is mounted and attached has to be taken down first. */
function whenInterrupted(): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => reject(new Error(`interrupted (${signal}); taking the volume down`)));
  }
  // Nobody reads any more (`| head`): the story goes on unheard, to its end.
  process.stdout.on('error', () => {});
  return promise;
}

interface Chosen {
  readonly driver: string;
  readonly about: string;
  readonly options: Readonly<Record<string, string>>;
  readonly fsType: string;
  readonly grows: boolean;
  /** What is left, in a sentence. */
  readonly left: string;
}

/** The given driver; else the bundled loop driver, or, where there are no devices, the bundled dir driver. */
async function choose(options: DemoOptions, directory: string): Promise<Chosen> {
  const bundled = (name: string): string =>
    join(import.meta.dirname, `../../../drivers/flexcsi~${name}/${name}`);
  if (options.driver !== undefined) {
    const driver = resolveHere(options.driver);
    return {
      driver,
      about: basename(driver),
      options: options.option,
      fsType: options.fsType ?? '',
      grows: false,
      left: 'Nothing is left mounted or attached; what the driver made on its storage for the volume pv-demo is its own.\nNot tried: expansion, the group of the pod, read-only.',
    };
  }
  const data = join(directory, 'data');
  await makePrivateDirectory(data);
  if (process.env.FLEXCSI_DEMO_USER === undefined) {
    const volume = { dir: data, size: '64Mi', ...options.option };
    return {
      driver: bundled('loop'),
      about: 'loop (image files, loop devices, ext4)',
      options: volume,
      fsType: options.fsType ?? 'ext4',
      grows: true,
      left: 'Nothing is left behind.',
    };
  }
  return {
    driver: bundled('dir'),
    about:
      'dir (a directory, bind-mounted: without root there are no devices; run it as root to see the loop driver)',
    options: { path: data, ...options.option },
    fsType: '',
    grows: false,
    left: 'Nothing is left behind.',
  };
}

async function hasCapability(bit: number): Promise<boolean> {
  const status = await readFile('/proc/self/status', 'utf8');
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> BigInt(bit)) & 1n) === 1n;
}
