/** Helm: where it comes from, and the chart as it renders it. */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { objectsOf, Rendered } from './rendered.ts';

const MODULE = 'helm.sh/helm/v4/cmd/helm@v4.3.1';
const root = join(import.meta.dirname, '../..');
const directory = join(root, 'node_modules/.cache/helm-v4.3.1');
const built = join(directory, 'helm');
const env = { ...process.env, PATH: [process.env.PATH, '/usr/local/go/bin'].join(delimiter) };

export const chart = join(root, 'deploy/helm/flexcsi');

/**
 * The file of helm 4: one on PATH, or built with Go and kept below node_modules, which takes minutes the first time.
 * Undefined when it cannot be had.
 */
export async function findHelm(): Promise<string | undefined> {
  if (existsSync(built)) return built;
  if (prints('helm', 'version', '--short').startsWith('v4.')) return 'helm';
  if (prints('go', 'version') === '') return undefined;
  console.log(`building helm: go install ${MODULE}`);
  mkdirSync(directory, { recursive: true });
  // One after the other: test files begin at the same time, and the second then finds it built.
  const go = spawn('flock', [directory, 'go', 'install', MODULE], {
    env: { ...env, GOBIN: directory },
    stdio: 'inherit',
  });
  await once(go, 'exit');
  return existsSync(built) ? built : undefined;
}

/** What a program prints; nothing when it is not there, or fails. */
function prints(program: string, ...args: readonly string[]): string {
  const { status, stdout } = spawnSync(program, args, { env, encoding: 'utf8' });
  return status === 0 ? stdout : '';
}

/** What helm said when it refused. */
export class Refused extends Error {}

/**
 * Runs helm with a text on its standard input; answers what it printed.
 *
 * @throws {Refused} with helm's words.
 */
export async function runHelm(args: readonly string[], input = ''): Promise<string> {
  const helm = await findHelm();
  if (helm === undefined) throw new Error('helm is not installed, and there is no Go to build it');
  const child = promisify(execFile)(helm, args, { env, maxBuffer: 16 * 1024 * 1024 });
  child.child.stdin?.end(input);
  try {
    return (await child).stdout;
  } catch (error) {
    throw new Refused((error as { stderr: string }).stderr);
  }
}

/** The chart rendered with values, as a text. The release is `flexcsi` in the namespace `storage`. */
export async function template(values: object): Promise<string> {
  const release = ['template', 'flexcsi', chart, '--namespace', 'storage'];
  return await runHelm([...release, '--values', '-'], JSON.stringify(values));
}

/** The same as objects. */
export async function render(values: object): Promise<Rendered> {
  return new Rendered(objectsOf(await template(values)));
}
