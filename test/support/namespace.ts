/** A private mount namespace for what mounts: whatever is mounted in it is gone with it. */
import { spawnSync } from 'node:child_process';

export interface Namespace {
  /** `root`: of real root. `user`: as root of a user namespace, who may mount but has no devices. */
  readonly name: 'root' | 'user';
  /** The arguments of unshare(1) that make it. */
  readonly unshare: readonly string[];
}

const namespaces: readonly Namespace[] = [
  { name: 'root', unshare: ['--mount', '--propagation', 'private'] },
  { name: 'user', unshare: ['--user', '--map-root-user', '--mount', '--propagation', 'private'] },
];

/** The best namespace that can be made here; undefined when none can. */
export function privateNamespace(): Namespace | undefined {
  return namespaces.find(
    ({ unshare }) => spawnSync('unshare', [...unshare, 'true'], { stdio: 'ignore' }).status === 0,
  );
}
