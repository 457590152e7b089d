/**
 * `npm run e2e`: flexcsi on a real cluster, the one of KUBECONFIG, on which the chart is installed with the bundled loop
 * driver. Pods with its volumes come and go, flexcsi and kubelet are interrupted, and the files have to be there.
 */
import { spawnSync } from 'node:child_process';
import { Command } from 'commander';
import { optionsTakenByNpm } from '../../src/cli/here.ts';
import { cases, type Setting } from './cases.ts';
import { Cluster } from './cluster.ts';

interface Options {
  readonly image: string;
  readonly driver: string;
  readonly node?: string;
  readonly storageClass: string;
  readonly snapshotClass: string;
  readonly namespace: string;
  readonly selector: string;
  readonly flexVolume?: string;
  readonly restartKubelet?: string;
  readonly case?: string;
}

const command = new Command('npm run e2e --')
  .description(
    'Runs pods with volumes of the bundled loop driver on the cluster of KUBECONFIG, with kubectl.',
  )
  .requiredOption('--image <name>', 'an image with a shell for the pods, busybox for instance')
  .option('--driver <name>', 'the CSI name of the loop driver', 'loop.flexcsi')
  .option('--node <name>', 'the node on which to try it (default: the first)')
  .option('--storage-class <name>', 'of the driver, with xfs and allowVolumeExpansion', 'loop')
  .option('--snapshot-class <name>', 'of the driver', 'loop')
  .option('--namespace <name>', "of flexcsi's pods", 'kube-system')
  .option('--selector <labels>', "of flexcsi's pod on the node", 'app.kubernetes.io/component=node')
  .option(
    '--flex-volume <vendor/driver>',
    'the FlexVolume name of the loop driver, where kubelet serves it, too',
  )
  .option('--restart-kubelet <command>', 'a shell command that restarts kubelet on the node')
  .option('--case <text>', 'only cases whose name contains this');

const names = command.options.map(({ long }) => (long ?? '').slice(2));
const taken = optionsTakenByNpm(process.env, names).map((name) => `--${name}`);
if (taken.length > 0) {
  console.error(
    `e2e: npm took ${taken.join(', ')} for its own: put -- before the options: npm run e2e -- --image busybox`,
  );
  process.exit(1);
}
const options = command.parse().opts<Options>();
try {
  process.exitCode = await run();
} catch (error) {
  console.error(`e2e: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}

async function run(): Promise<number> {
  const cluster = new Cluster();
  const node =
    options.node ?? (await cluster.kubectl(['get', 'node', '-o', 'jsonpath={.items[0].metadata.name}']));
  const setting: Setting = {
    ...{ cluster, node, image: options.image, driver: options.driver },
    ...{ storageClass: options.storageClass, snapshotClass: options.snapshotClass },
    flexVolume: options.flexVolume,
    plugin: { namespace: options.namespace, selector: options.selector },
    restartKubelet: options.restartKubelet === undefined ? undefined : restart(options.restartKubelet),
  };
  let passed = 0;
  const failed: string[] = [];
  const left: string[] = [];
  for (const one of cases.filter(({ name }) => options.case === undefined || name.includes(options.case))) {
    const missing = await one.missing?.(setting);
    if (missing !== undefined) {
      left.push(`${one.name}: for want of ${missing}`);
      console.log(`skipped  ${one.name}: for want of ${missing}`);
      continue;
    }
    const started = Date.now();
    try {
      await one.run(setting);
      passed += 1;
      console.log(`ok       ${one.name} (${((Date.now() - started) / 1000).toFixed(0)} s)`);
    } catch (error) {
      failed.push(one.name);
      console.log(`FAILED   ${one.name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  console.log(
    `e2e: ${passed} passed, ${failed.length} failed${left.length > 0 ? `, ${left.length} skipped` : ''}`,
  );
  return failed.length === 0 && passed > 0 ? 0 : 1;
}

function restart(text: string): () => Promise<void> {
  return async () => {
    const { status } = spawnSync('sh', ['-c', text], { stdio: 'inherit' });
    if (status !== 0) throw new Error(`--restart-kubelet: "${text}" ended with ${status}`);
  };
}
