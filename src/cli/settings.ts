/** The options of the command line as data: the parser, `--help` and the defaults all come from here. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Mode } from '../csi/capabilities.ts';
import { errorMessage } from '../errors.ts';
import { isQualifiedName } from '../flex/names.ts';
import { parseSegments, type Segments } from '../flex/topology.ts';
import { type LogFormat, type LogLevel, logFormats, logLevels } from '../log.ts';

export interface ServeOptions {
  /** This or `pluginDir`. */
  readonly driver?: string;
  readonly pluginDir?: string;
  /** FlexVolume names. */
  readonly only?: readonly string[];
  readonly endpoint?: string;
  readonly nodeId: string;
  readonly mode: Mode;
  readonly name?: string;
  readonly config?: string;
  readonly attachOn: 'controller' | 'node';
  readonly stateDir: string;
  readonly kubeletDir: string;
  /** Where this node is; wins over the driver's `init`. */
  readonly topology?: Segments;
  /** 0: as many as there may be. Wins over the driver's `init`. */
  readonly maxVolumesPerNode?: number;
  /** Milliseconds. */
  readonly driverTimeout: number;
  /** Driver calls at once. */
  readonly maxParallel: number;
  /** `kubelet` with `pluginDir` when left out, else `none`. */
  readonly registration?: 'kubelet' | 'none';
  readonly httpEndpoint?: string;
  /** Whether drivers and host tools run in the namespaces of `hostPid`. */
  readonly host?: boolean;
  readonly hostPid: number;
  readonly fsGroupKey: 'current' | 'legacy' | 'both';
  readonly fsGroupChangePolicy: 'Always' | 'OnRootMismatch';
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
}

/** Adds the options of `serve`. */
export function addServeOptions(command: Command): Command {
  return command
    .addOption(new Option('--driver <file>', 'the FlexVolume driver: an executable file'))
    .addOption(
      new Option(
        '--plugin-dir <directory>',
        "instead: all drivers of a directory like kubelet's, <vendor>~<driver>/<driver>, each as a plugin of its own; they may come, change and go",
      ),
    )
    .addOption(
      new Option(
        '--only <vendor/driver,...>',
        'of the drivers in --plugin-dir, serve these and no others, by FlexVolume name (default: all)',
      ).argParser(parseNames),
    )
    .addOption(
      new Option(
        '--endpoint <unix:///path>',
        'the unix socket to serve; {name} in it is the CSI name (default: unix://<kubelet-dir>/plugins/{name}/csi.sock)',
      ).env('CSI_ENDPOINT'),
    )
    .addOption(
      new Option(
        '--registration <how>',
        'whether kubelet is told of the drivers, in <kubelet-dir>/plugins_registry; none where node-driver-registrar does that (default: kubelet with --plugin-dir, else none)',
      ).choices(['kubelet', 'none']),
    )
    .addOption(
      hostOption(
        ', where --plugin-dir or --driver is then as well; sockets and records stay in the container',
      ),
    )
    .addOption(hostPidOption())
    .addOption(
      new Option(
        '--http-endpoint <host:port>',
        'where /healthz is answered, over HTTP: that this process lives, and how its drivers are (default: nowhere)',
      ),
    )
    .addOption(
      new Option(
        '--node-id <name>',
        "this node's name, as the driver's attach and detach get it; not needed with --mode controller",
      )
        .env('NODE_NAME')
        .default('', 'none'),
    )
    .addOption(
      new Option('--mode <mode>', 'which CSI services to serve beside Identity')
        .choices(['all', 'controller', 'node'])
        .default('all'),
    )
    .addOption(
      new Option(
        '--name <name>',
        "the CSI name (default: <driver>.<vendor>, from the driver's path <vendor>~<driver>/<driver>; <driver>.flexvolume without a vendor)",
      ),
    )
    .addOption(
      new Option(
        '--config <file>',
        'a YAML file with what is set per driver: its CSI name, where it attaches, gRPC codes for its failures',
      ),
    )
    .addOption(
      new Option(
        '--attach-on <where>',
        'where attach and detach run: by ControllerPublishVolume, or on the node in NodeStageVolume',
      )
        .choices(['controller', 'node'])
        .default('controller'),
    )
    .addOption(
      new Option(
        '--state-dir <directory>',
        'where flexcsi keeps its small records of volumes in use; has to survive a restart',
      ).default('/var/lib/flexcsi'),
    )
    .addOption(
      new Option('--kubelet-dir <directory>', "kubelet's root directory").default('/var/lib/kubelet'),
    )
    .addOption(
      new Option(
        '--topology <key=value,...>',
        "where this node is, for volumes that are not usable everywhere (default: what the driver's init says)",
      ).argParser(parseTopology),
    )
    .addOption(
      new Option(
        '--max-volumes-per-node <number>',
        "how many volumes of the driver may be attached to this node, 0 for no limit (default: what the driver's init says)",
      ).argParser(parseVolumeLimit),
    )
    .addOption(
      new Option(
        '--driver-timeout <duration>',
        'the longest that one driver call may run: a number with unit ms, s, m or h',
      )
        .argParser(parseDuration)
        .default(600_000, '10m'),
    )
    .addOption(
      new Option(
        '--max-parallel <number>',
        'how many driver calls run at once; one that has run for 30 s no longer counts',
      )
        .argParser(parseParallel)
        .default(32),
    )
    .addOption(
      new Option(
        '--fs-group-key <which>',
        "the option key of the pod's group: kubernetes.io/mounterArgs.FsGroup, the older kubernetes.io/fsGroup, or both",
      )
        .choices(['current', 'legacy', 'both'])
        .default('current'),
    )
    .addOption(
      new Option(
        '--fs-group-change-policy <policy>',
        "whether files are given to the pod's group at every mount, or only when the volume's root does not fit yet",
      )
        .choices(['Always', 'OnRootMismatch'])
        .default('Always'),
    )
    .addOption(
      new Option('--log-level <level>', 'the least that is logged, on standard error')
        .choices(logLevels)
        .default('info'),
    )
    .addOption(
      new Option('--log-format <format>', 'one JSON object per line, or lines for people')
        .choices(logFormats)
        .default('json'),
    );
}

export function hostOption(more = ''): Option {
  return new Option('--host', `run drivers and host tools in the host's namespaces${more}`);
}

export function hostPidOption(): Option {
  return new Option('--host-pid <pid>', 'whose namespaces those are: the id of a process of the host')
    .argParser(parsePid)
    .default(1);
}

function parseNames(text: string): string[] {
  if (text === '') return [];
  const names = text.split(',').map((name) => name.trim());
  const wrong = names.find((name) => !isQualifiedName(name));
  if (wrong === undefined) return names;
  throw new InvalidArgumentError(
    `expected FlexVolume names, such as example.com/lvm,example.com/nfs, and ${JSON.stringify(wrong)} is none`,
  );
}

function parseParallel(text: string): number {
  const number = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (number < 1 || number > 1024) throw new InvalidArgumentError('expected a whole number from 1 to 1024');
  return number;
}

function parsePid(text: string): number {
  if (!/^[1-9]\d{0,9}$/.test(text)) throw new InvalidArgumentError('expected the id of a process');
  return Number(text);
}

const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;

/** Milliseconds of `90s`, `10m`, `1.5h`. @throws {InvalidArgumentError} for anything else. */
export function parseDuration(text: string): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text) ?? [];
  const duration = Number(number) * (UNITS[unit as keyof typeof UNITS] ?? Number.NaN);
  if (!(duration >= 1 && duration <= 2 ** 31 - 1)) {
    throw new InvalidArgumentError(
      'expected a number with unit ms, s, m or h, such as 90s or 10m, from 1ms to 24 days',
    );
  }
  return duration;
}

function parseTopology(text: string): Segments {
  try {
    return parseSegments(text);
  } catch (error) {
    throw new InvalidArgumentError(errorMessage(error));
  }
}

/** Kubernetes keeps the number in 32 bits. */
const MAX_VOLUMES = 2 ** 31 - 1;

function parseVolumeLimit(text: string): number {
  const limit = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(limit <= MAX_VOLUMES)) {
    throw new InvalidArgumentError(`expected an integer from 0 to ${MAX_VOLUMES}`);
  }
  return limit;
}
