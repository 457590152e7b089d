/** Files below a directory, for what must not be left there. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Files and other things that are not directories, as paths; none where the directory is not there. */
export function filesBelow(directory: string): string[] {
  return entriesOf(directory).flatMap((entry) => {
    const path = join(directory, entry.name);
    return entry.isDirectory() ? filesBelow(path) : [path];
  });
}

/** The records of volumes in a state directory. What a driver can do is on record as well, and stays. */
export function volumeRecords(stateDir: string): string[] {
  return filesBelow(stateDir).filter((file) => !/\/served\/[^/]+$/.test(file));
}

function entriesOf(directory: string) {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch {
    // Not there, or removed meanwhile.
    return [];
  }
}
