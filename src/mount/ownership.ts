/**
 * The pod's group on a volume, as kubelet sets it (`SetVolumeOwnership`): everything gets the group; files get
 * `ug+rw`, directories `ug+rwx` and the setgid bit; of a symbolic link only the link's own group changes.
 *
 * The pods that use the volume can change it meanwhile: put a link where a directory was, for instance. The
 * programs used here walk from directory to directory without following links (`chgrp -R -P`, `chmod -R`,
 * `find -execdir`), so that nothing outside the volume is changed. `find -exec … +` would do it by full path.
 */
import type { Ended } from '../process.ts';
import { type Mask, noSecrets } from '../secrets.ts';
import { type Host, hostFailure, oneLine } from './host.ts';

/** `OnRootMismatch`: nothing is done when the volume's root directory already is as it should be. */
export type GroupPolicy = 'Always' | 'OnRootMismatch';

export interface GroupResult {
  readonly skipped: boolean;
  /** One line about what could not be changed, for the log. */
  readonly problem?: string;
}

const DEFAULT_LIMIT_MS = 10 * 60 * 1000;

/**
 * Gives everything at and below `path`, in other mounts there too, to the group. Goes on after what cannot be
 * changed. Never throws, also not when the time limit (10 minutes) passes: kubelet starts the pod even so. What
 * is done by then stays done, and need not be done again.
 */
export async function applyGroup(
  host: Host,
  path: string,
  gid: number,
  policy: GroupPolicy,
  options: { timeoutMs?: number; mask?: Mask } = {},
): Promise<GroupResult> {
  const deadline = performance.now() + (options.timeoutMs ?? DEFAULT_LIMIT_MS);
  const mask = options.mask ?? noSecrets;
  let problem: string | undefined;
  /** Undefined, and `problem` set, when the program could not do its work: not there, out of time. */
  const run = async ([file, args]: Step): Promise<Ended | undefined> => {
    const ended = await host.run(file, args, { timeoutMs: Math.max(1, deadline - performance.now()) });
    if (ended.exitCode !== undefined) return ended;
    problem = hostFailure(file, args, ended, mask).message;
    return undefined;
  };

  const stat = await run(['stat', ['-c', '%f %g', '--', path]]);
  const root = stat && parseRoot(stat.output.toString());
  if (stat && !root) problem = oneLine(mask(stat.output.toString()));
  if (!root) return failed(problem);
  const fits = root.isDirectory && root.gid === gid && (root.mode & 0o2770) === 0o2770;
  if (policy === 'OnRootMismatch' && fits) return { skipped: true };

  const special = await run(['find', [path, ...setIdFile, '-printf', 'x', '-quit']]);
  if (!special) return failed(problem);
  const keepsBits = special.exitCode !== 0 || special.output.length > 0;
  let complete = true;
  for (const step of root.isDirectory && !keepsBits ? fastSteps(path, gid) : [carefulStep(path, gid)]) {
    const ended = await run(step);
    if (!ended) return failed(problem);
    // find tells failures by what it prints.
    if (ended.exitCode !== 0 || ended.output.length > 0) complete = false;
  }
  if (complete) return { skipped: false };
  const diagnosis = await run(diagnosisStep(path, gid));
  return failed(diagnosis ? describeMisfit(mask(diagnosis.output.toString()), gid) : problem);
}

function failed(problem: string | undefined): GroupResult {
  return problem === undefined ? { skipped: false } : { skipped: false, problem };
}

type Step = readonly [file: string, args: readonly string[]];

const directory = ['-type', 'd'];
const otherFile = ['!', '-type', 'd', '!', '-type', 'l'];
const setIdFile = [...otherFile, '-perm', '/6000'];
const wrongDirectoryMode = [...directory, '!', '-perm', '-2770'];
const wrongFileMode = [...otherFile, '!', '-perm', '-0660'];

/** Three programs over the whole volume, a few microseconds a file. */
function fastSteps(path: string, gid: number): Step[] {
  return [
    // -f: no messages; there may be millions. "+": a number, even if a group is named so.
    ['chgrp', ['-f', '-R', '-h', '-P', '--', `+${gid}`, path]],
    ['chmod', ['-f', '-R', '--', 'ug+rw', path]],
    ['find', [path, ...wrongDirectoryMode, ...change('chmod', 'ug+rwx,g+s')]],
  ];
}

/**
 * A change of group takes the setuid and setgid bits from a file, and kubelet's chmod after it puts them back.
 * Where there are such files, one find does everything, file by file (half a millisecond each): so an end at any
 * moment leaves at most one file without its bits.
 */
function carefulStep(path: string, gid: number): Step {
  const otherGroup = ['!', '-gid', String(gid)];
  const changeGroup = change('chgrp', '-h', `+${gid}`);
  const keepBits = (bits: string, mode: string): string[] => [
    ...['(', ...setIdFile, '-perm', bits, ...otherGroup],
    ...['(', ...changeGroup, ',', ...change('chmod', mode), ')', ')'],
  ];
  return [
    'find',
    [
      path,
      ...[...keepBits('-6000', 'ug+rws'), '-o'],
      ...[...keepBits('-4000', 'ug+rw,u+s'), '-o'],
      ...[...keepBits('-2000', 'ug+rw,g+s'), '-o'],
      ...['(', '(', ...otherGroup, ...changeGroup, ')', ','],
      ...['(', ...wrongDirectoryMode, ...change('chmod', 'ug+rwx,g+s'), ')', ','],
      ...['(', ...wrongFileMode, ...change('chmod', 'ug+rw'), ')', ')'],
    ],
  ];
}

/** Runs chgrp or chmod for one file, and prints an `x` when that fails. */
function change(program: string, ...args: string[]): string[] {
  return ['(', ...inItsDirectory(program, '-f', ...args), '-o', '-printf', 'x', ')'];
}

/** From the file's own directory, where it is `./name` whatever characters it is named by. */
function inItsDirectory(...command: string[]): string[] {
  return ['-execdir', ...command, '{}', ';'];
}

/** Finds the first thing that is not as it should be, prints it between NULs, and tries once more, aloud. */
function diagnosisStep(path: string, gid: number): Step {
  return [
    'find',
    [
      path,
      ...['(', '!', '-gid', String(gid), '-o', ...wrongDirectoryMode, '-o', ...wrongFileMode, ')'],
      ...['-printf', '\\0%p\\0'],
      ...['(', ...inItsDirectory('chgrp', '-h', `+${gid}`), ',', '!', '-type', 'l'],
      ...[...inItsDirectory('chmod', 'ug+rw'), ',', '-quit', ')'],
    ],
  ];
}

function describeMisfit(output: string, gid: number): string | undefined {
  const [walk = '', path, retry = ''] = output.split('\0');
  // Nothing is wrong any more, or a directory could not be read: that is what find itself says.
  if (path === undefined) return walk === '' ? undefined : oneLine(walk.split('\n', 1)[0] as string);
  const reason = /: ([^:\n]+)$/m.exec(retry)?.[1] ?? 'for no reason given';
  const hint =
    reason === 'Operation not permitted' ? '; the file system or its server refuses it (root squash?)' : '';
  return `${oneLine(path)} and perhaps more could not be given to group ${gid}: ${reason}${hint}`;
}

interface Root {
  readonly isDirectory: boolean;
  readonly mode: number;
  readonly gid: number;
}

function parseRoot(text: string): Root | undefined {
  const [, mode, gid] = /^([0-9a-f]+) (\d+)\n$/.exec(text) ?? [];
  if (mode === undefined || gid === undefined) return undefined;
  const bits = Number.parseInt(mode, 16);
  return { isDirectory: (bits & 0o170000) === 0o040000, mode: bits & 0o7777, gid: Number(gid) };
}
