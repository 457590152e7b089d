/**
 * `npm test`: runs vitest in a private mount namespace, so that whatever a test mounts is gone with it, and
 * says at the end what was skipped and why. Arguments are vitest's: `npm test -- golden` runs the test files
 * whose path contains "golden".
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { privateNamespace } from './support/namespace.ts';

const directory = mkdtempSync(join(tmpdir(), 'flexcsi-test-run-'));
const skipped = join(directory, 'skipped');
writeFileSync(skipped, '');

// A developer's cluster is none of the tests' business.
delete process.env.KUBECONFIG;

const namespace = privateNamespace();
const vitest = [process.execPath, 'node_modules/vitest/vitest.mjs', 'run', ...process.argv.slice(2)];
const [command, ...args] = namespace ? ['unshare', ...namespace.unshare, ...vitest] : vitest;
const result = spawnSync(command as string, args, {
  stdio: 'inherit',
  cwd: join(import.meta.dirname, '..'),
  env: { ...process.env, FLEXCSI_NAMESPACE: namespace?.name ?? 'none', FLEXCSI_SKIPPED: skipped },
});

const missing = [...new Set(readFileSync(skipped, 'utf8').split('\n').filter(Boolean))].sort();
for (const what of missing) console.log(`skipped: tests that need ${what}, which this machine lacks`);
if (missing.length === 0) console.log('skipped: nothing; this machine has all that the tests need');
rmSync(directory, { recursive: true });
process.exitCode = result.status ?? 1;
