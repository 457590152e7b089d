/**
 * File systems on block devices: what kubelet does itself for a driver without `mountdevice` and `expandfs`
 * (`SafeFormatAndMount` and `ResizeFs` of k8s.io/mount-utils), with the same programs in the same order.
 */
import { Failure } from '../errors.ts';
import type { Mask } from '../secrets.ts';
import { mountOrUndo } from './bind.ts';
import { requireEmpty } from './blank.ts';
import { DEVICE_LIMIT_MS, type Host, hostFailure, oneLine, runChecked } from './host.ts';

export type DeviceContent =
  /** blkid recognises nothing. That is no proof that nothing is there: see blank.ts. */
  | { readonly kind: 'blank' }
  | { readonly kind: 'file-system'; readonly type: string }
  /** A partition table: never formatted, and not mounted as a file system. */
  | { readonly kind: 'partitions'; readonly table: string };

/**
 * What blkid finds on a device, read as kubelet reads it. Throws Failure `host-failed` for anything but an
 * answer (several signatures at once, a device that cannot be read), `host-timeout`.
 *
 * blkid says of a device that is not there what it says of a blank one.
 */
export async function probeDevice(host: Host, device: string): Promise<DeviceContent> {
  const args = ['-p', '-s', 'TYPE', '-s', 'PTTYPE', '-o', 'export', device];
  const ended = await host.run('blkid', args);
  const output = ended.output.toString();
  if (ended.exitCode === 2 && output.trim() === '') return { kind: 'blank' };
  if (ended.exitCode === 8) {
    throw new Failure(
      'host-failed',
      `blkid finds the marks of several file systems on ${oneLine(device)} and cannot tell which one is there: ` +
        'remove the wrong ones (wipefs shows them)',
    );
  }
  if (ended.exitCode !== 0) throw hostFailure('blkid', args, ended);
  const values = new Map<string, string>();
  for (const line of output.split('\n')) {
    if (line === '') continue;
    const [, key, value] = /^([A-Z_]+)=(.*)$/.exec(line) ?? [];
    if (key === undefined || value === undefined) {
      throw new Failure('host-failed', `blkid printed what it should not for ${device}: ${oneLine(output)}`);
    }
    values.set(key, value);
  }
  const table = values.get('PTTYPE');
  if (table) return { kind: 'partitions', table };
  const type = values.get('TYPE');
  // Neither: a partition that is blank itself.
  return type ? { kind: 'file-system', type } : { kind: 'blank' };
}

export interface DeviceMountOptions {
  /** `ext4` when empty or left out. */
  readonly fsType?: string;
  readonly readOnly?: boolean;
  readonly flags?: readonly string[];
  /** Keeps secrets in the flags out of error messages. */
  readonly mask?: Mask;
}

export interface DeviceMount {
  readonly formatted: boolean;
  /** What an administrator should know though it is no error: one line each, for the log. */
  readonly notes: readonly string[];
}

/**
 * Mounts a device on a directory that exists. A blank device is formatted first; a formatted one that is to be
 * written is checked (`fsck -a`). Throws Failure:
 * - `invalid-request` for a file system type that is no name;
 * - `precondition` for a blank device that is to be read only, and for one that only looks blank (blank.ts);
 * - `not-found` when there is no device;
 * - `host-failed`, `host-timeout`, after which nothing is mounted, else `undo-failed`.
 */
export async function mountDevice(
  host: Host,
  device: string,
  target: string,
  options: DeviceMountOptions = {},
): Promise<DeviceMount> {
  const fsType = options.fsType || 'ext4';
  // It becomes part of a program's name.
  if (!/^[A-Za-z0-9][\w.+-]*$/.test(fsType)) {
    throw new Failure('invalid-request', `"${oneLine(fsType)}" is not the name of a file system type`);
  }
  const flags = options.flags ?? [];
  const readOnly = options.readOnly === true || flags.some((flag) => flag.split(',').includes('ro'));
  const content = await probeDevice(host, device);
  const notes: string[] = [];
  if (content.kind === 'blank') {
    if (readOnly) {
      throw new Failure(
        'precondition',
        `cannot mount unformatted disk ${oneLine(device)} as we are manipulating it in read-only mode`,
      );
    }
    await requireEmpty(host, device);
    await format(host, device, fsType);
  } else if (!readOnly) {
    notes.push(...(await check(host, device)));
  }
  const args = ['-t', fsType, '-o', [readOnly ? 'ro' : 'rw', 'defaults', ...flags].join(','), device, target];
  const holds = describeContent(content);
  const mask = options.mask === undefined ? {} : { mask: options.mask };
  await mountOrUndo(host, target, readOnly, async () => {
    const ended = await host.run('mount', args, { timeoutMs: DEVICE_LIMIT_MS });
    if (ended.exitCode === 0) return;
    const failure = hostFailure('mount', args, ended, mask.mask);
    if (holds === undefined || holds === fsType) throw failure;
    throw new Failure(
      failure.kind,
      `${oneLine(device)} holds ${holds}, but ${fsType} was asked for: ${failure.message}`,
    );
  });
  if (holds !== undefined && holds !== fsType) {
    notes.push(`${oneLine(device)} holds ${holds}, but was mounted as ${fsType}, as asked for`);
  }
  return { formatted: content.kind === 'blank', notes };
}

function describeContent(content: DeviceContent): string | undefined {
  if (content.kind === 'blank') return undefined;
  return content.kind === 'partitions' ? `a partition table (${content.table})` : content.type;
}

async function format(host: Host, device: string, fsType: string): Promise<void> {
  // ext: -F as there is nobody to ask, -m0 keeps no blocks for root. Once -F or -f still refuses a device in use.
  const force = fsType === 'ext3' || fsType === 'ext4' ? ['-F', '-m0'] : fsType === 'xfs' ? ['-f'] : [];
  await runChecked(host, `mkfs.${fsType}`, [...force, device], { timeoutMs: DEVICE_LIMIT_MS });
}

/** Repairs what fsck can repair without asking. Its exit code is a sum of the values in fsck(8). */
async function check(host: Host, device: string): Promise<string[]> {
  const args = ['-a', device];
  const ended = await host.run('fsck', args, { timeoutMs: DEVICE_LIMIT_MS });
  const { exitCode } = ended;
  if (exitCode === 0) return [];
  if (exitCode === 1) return [`fsck found errors on ${oneLine(device)} and corrected them`];
  const failure = hostFailure('fsck', args, ended);
  if (exitCode === undefined) {
    if (ended.startError === undefined) throw failure;
    return [`${oneLine(device)} is mounted unchecked: ${failure.message}`];
  }
  // Above the sum of all values it is not fsck that speaks: it could not be run.
  if ((exitCode & 4) !== 0 && exitCode < 64) {
    throw new Failure(
      'host-failed',
      `${oneLine(device)} has errors that fsck does not correct by itself: run fsck by hand (${failure.message})`,
    );
  }
  // As kubelet does: no checker for this type, the device in use, …; mount has the last word.
  return [`${oneLine(device)} is mounted unchecked: ${failure.message}`];
}

/**
 * Grows the file system on a device to the size of the device; `mountPath` is where it is mounted, which xfs and
 * btrfs want. `grown` is false for a blank device: formatting will use all of it. Already as large: done. Throws
 * Failure `unsupported` for what cannot be grown, `host-failed`, `host-timeout`.
 */
export async function growFileSystem(
  host: Host,
  device: string,
  mountPath: string,
): Promise<{ grown: boolean }> {
  const content = await probeDevice(host, device);
  if (content.kind === 'blank') return { grown: false };
  const command = growCommand(content, device, mountPath);
  if (command === undefined) {
    throw new Failure(
      'unsupported',
      `cannot grow what ${oneLine(device)} holds (${describeContent(content)}): only ext2, ext3, ext4, xfs, btrfs`,
    );
  }
  await runChecked(host, command[0], command[1], { timeoutMs: DEVICE_LIMIT_MS });
  return { grown: true };
}

function growCommand(
  content: DeviceContent,
  device: string,
  mountPath: string,
): [file: string, args: string[]] | undefined {
  switch (content.kind === 'file-system' ? content.type : undefined) {
    case 'ext2':
    case 'ext3':
    case 'ext4':
      return ['resize2fs', [device]];
    case 'xfs':
      return ['xfs_growfs', ['-d', mountPath]];
    case 'btrfs':
      return ['btrfs', ['filesystem', 'resize', 'max', mountPath]];
    default:
      return undefined;
  }
}
