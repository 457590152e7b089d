import { resolve } from 'node:path';

/**
 * A path as the user meant it: relative to where the command was given. npm runs its scripts in the directory
 * of the package, and says in INIT_CWD where it was called.
 */
export function resolveHere(path: string): string {
  const { npm_lifecycle_event, INIT_CWD } = process.env;
  return npm_lifecycle_event !== undefined && INIT_CWD !== undefined
    ? resolve(INIT_CWD, path)
    : resolve(path);
}

/**
 * Options that npm took for its own, because the `--` before them was left out: it hands them over as
 * `npm_config_…` and the command never sees them.
 */
export function optionsTakenByNpm(env: NodeJS.ProcessEnv, names: readonly string[]): string[] {
  if (env.npm_lifecycle_event === undefined) return [];
  return names.filter((name) => env[`npm_config_${name.replaceAll('-', '_')}`] !== undefined);
}
