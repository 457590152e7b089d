/** The real way in which programs are started, with a list of what was started beside the driver. */
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { createRun, type Run } from '../../../src/process.ts';

/** What kubelet runs as well, and whatever else changes mounts or devices: all of it is compared. */
const compared =
  /^(?:mount|umount|blkid|fsck|e2fsck|mkfs|mke2fs|resize2fs|xfs_|btrfs|wipefs|dd|losetup|dumpe2fs)/;
/** With these programs flexcsi looks, and handles directories; kubelet made system calls. */
const uncompared: ReadonlySet<string> = new Set([
  ...['stat', 'realpath', 'mkdir', 'rmdir', 'unlink', 'find', 'chgrp', 'chmod', 'chown', 'cmp', 'blockdev'],
]);

export interface RecordedRun {
  readonly run: Run;
  /** The compared commands since the last `take`, and what is not allowed at all. */
  take(): { commands: string[][]; strange: string[] };
  /** Resolves when nothing runs. */
  idle(): Promise<void>;
}

/**
 * @param isDriver tells a driver's executable.
 * @param isAllowedDevice tells devices that a host command may touch; all others are this machine's own.
 */
export function recordedRun(
  isDriver: (file: string) => boolean,
  isAllowedDevice: (path: string) => boolean,
): RecordedRun {
  const real = createRun();
  let commands: string[][] = [];
  let strange: string[] = [];
  const running = new Set<Promise<unknown>>();
  return {
    async run(command) {
      if (!isDriver(command.file)) {
        const program = basename(command.file);
        const words = [program, ...command.args];
        if (compared.test(program)) commands.push(asKubelet(words));
        else if (!uncompared.has(program)) strange.push(words.join(' '));
        const device = command.args.find(
          (argument) => argument.startsWith('/dev/') && argument !== '/dev/null' && argument !== '/dev/zero',
        );
        if (device !== undefined && existsSync(device) && !isAllowedDevice(device)) {
          throw new Error(`the replay does not let flexcsi touch ${device}: ${words.join(' ')}`);
        }
      }
      const ended = real(command);
      running.add(ended);
      try {
        return await ended;
      } finally {
        running.delete(ended);
      }
    },
    take() {
      const taken = { commands, strange };
      commands = [];
      strange = [];
      return taken;
    },
    async idle() {
      while (running.size > 0) await Promise.allSettled(running);
    },
  };
}

/** flexcsi always says `umount -c` (do not resolve the path); kubelet says the same without it. */
function asKubelet(words: string[]): string[] {
  return words[0] === 'umount' ? words.filter((word) => word !== '-c') : words;
}
