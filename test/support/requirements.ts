/**
 * What a test needs of the machine. A test whose needs are not met is skipped, and `npm test` prints one line
 * for each thing that was missing.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  accessSync,
  appendFileSync,
  constants,
  mkdtempSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const checks = {
  /** May mount: real root in a private mount namespace (`npm test` makes it), or root of a user namespace. */
  mounts: { what: 'a private mount namespace (run as root, or allow user namespaces)', check: canMount },
  /** Real root: devices, ownership, kernel file systems. */
  root: {
    what: 'root',
    check: () => process.getuid?.() === 0 && process.env.FLEXCSI_NAMESPACE === 'root',
  },
  loop: { what: 'loop devices', check: canLoop },
  fuse: { what: 'FUSE (/dev/fuse)', check: () => canOpen('/dev/fuse') },
  /** Without it the kernel refuses to grow a mounted ext4. */
  sysResource: { what: 'CAP_SYS_RESOURCE', check: () => hasCapability(24) },
} as const;

export type Requirement = keyof typeof checks;

const known = new Map<string, boolean>();

/**
 * Whether the machine lacks something: `describe.skipIf(lacks('root', 'loop', 'mkfs.xfs'))`. A name that is
 * not one of the requirements above is a program on PATH.
 */
export function lacks(...needs: readonly (Requirement | (string & {}))[]): boolean {
  const missing = needs.filter((need) => !isMet(need));
  for (const need of missing) reportMissing(need);
  return missing.length > 0;
}

function isMet(need: string): boolean {
  let met = known.get(need);
  if (met === undefined) {
    met = need in checks ? checks[need as Requirement].check() : isOnPath(need);
    known.set(need, met);
  }
  return met;
}

function reportMissing(need: string): void {
  const file = process.env.FLEXCSI_SKIPPED;
  if (file === undefined) return;
  const what = need in checks ? checks[need as Requirement].what : `the program ${need}`;
  appendFileSync(file, `${what}\n`);
}

function isOnPath(program: string): boolean {
  return spawnSync('sh', ['-c', 'command -v "$1"', 'sh', program], { stdio: 'ignore' }).status === 0;
}

function canMount(): boolean {
  return process.env.FLEXCSI_NAMESPACE === 'root' || process.env.FLEXCSI_NAMESPACE === 'user';
}

function canLoop(): boolean {
  if (process.env.FLEXCSI_NAMESPACE !== 'root') return false;
  const directory = mkdtempSync(join(tmpdir(), 'flexcsi-test-'));
  try {
    const image = join(directory, 'image');
    writeFileSync(image, '');
    truncateSync(image, 1024 * 1024);
    const device = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
    execFileSync('losetup', ['--detach', device]);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function canOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function hasCapability(bit: number): boolean {
  const status = execFileSync('cat', ['/proc/self/status'], { encoding: 'utf8' });
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> BigInt(bit)) & 1n) === 1n;
}
