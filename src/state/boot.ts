import { readFileSync } from 'node:fs';

/**
 * Identifies the running boot of the machine. What a record says of mounts and devices holds for the boot in
 * which it was written.
 */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}
