import { readFileSync } from 'node:fs';
import { join } from 'node:path';

// package.json is two levels up in a checkout (src/cli) and in a build (dist/cli).
const manifest = readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8');

/** flexcsi's version. */
export const { version } = JSON.parse(manifest) as { version: string };
