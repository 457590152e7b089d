/** csi-sanity, the conformance suite of the CSI project: where it comes from, and how it is run. */
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { delimiter, join } from 'node:path';

const MODULE = 'github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity@v5.6.0';
const directory = join(import.meta.dirname, '../../node_modules/.cache/csi-sanity-v5.6.0');
const binary = join(directory, 'csi-sanity');

/**
 * The file of csi-sanity; built with Go and kept below node_modules when it is not there yet.
 *
 * @throws {Error} saying what has to be installed.
 */
export function csiSanity(): string {
  if (existsSync(binary)) return binary;
  const env = {
    ...process.env,
    PATH: [process.env.PATH, '/usr/local/go/bin'].join(delimiter),
    GOBIN: directory,
  };
  const go = spawnSync('go', ['version'], { env, encoding: 'utf8' });
  if (go.status !== 0) {
    throw new Error(
      'csi-sanity is built with Go: install Go 1.25 or later (https://go.dev/dl), on PATH or in /usr/local/go',
    );
  }
  console.log(`building csi-sanity: go install ${MODULE}`);
  mkdirSync(directory, { recursive: true });
  if (spawnSync('go', ['install', MODULE], { env, stdio: 'inherit' }).status !== 0 || !existsSync(binary)) {
    throw new Error(`go install ${MODULE} failed (with ${go.stdout.trim()}; it needs Go 1.25 or later)`);
  }
  return binary;
}

export interface SuiteRun {
  /** csi-sanity's own arguments. */
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** The file for what it prints; undefined: shown instead. */
  readonly output: string | undefined;
  readonly seed: number;
  /** The file of ginkgo's JSON report. */
  readonly report: string;
  /** Lets it end after its clean-up. */
  readonly stop: AbortSignal;
}

/** The suite as a whole, in seconds: its calls have no deadline, so one that hangs would hang it for an hour. */
const LIMIT_S = 240;
/** How much longer it has to write its report. */
const GRACE_S = 30;

/** Runs it to its end, in random order. Answers what kept it from ending, if anything did. */
export async function runSuite({
  args,
  env,
  output,
  seed,
  report,
  stop,
}: SuiteRun): Promise<string | undefined> {
  const ginkgo = {
    seed,
    'randomize-all': true,
    timeout: `${LIMIT_S}s`,
    'grace-period': '5s',
    'json-report': report,
    'no-color': true,
    v: output === undefined,
  };
  const flags = Object.entries(ginkgo).map(([name, value]) => `-ginkgo.${name}=${value}`);
  const file = output === undefined ? undefined : openSync(output, 'w');
  // A process group of its own: at Ctrl-C it is told once, and what it uses is still there for its clean-up.
  const stdio = ['ignore', file ?? 1, file ?? 2] as const;
  const child = spawn(csiSanity(), [...flags, ...args], { env, stdio: [...stdio], detached: true });
  const interrupt = (): unknown => child.kill('SIGINT');
  stop.addEventListener('abort', interrupt);
  if (file !== undefined) closeSync(file);
  return await new Promise((resolve) => {
    const hang = setTimeout(() => child.kill('SIGKILL'), (LIMIT_S + GRACE_S) * 1000);
    child.once('error', (error) => resolve(`csi-sanity: ${error.message}`));
    child.once('exit', (_code, signal) => {
      clearTimeout(hang);
      stop.removeEventListener('abort', interrupt);
      resolve(signal === null ? undefined : `csi-sanity was ended by ${signal}`);
    });
  });
}
