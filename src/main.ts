#!/usr/bin/env node
/** The command line: which command, and with which exit code it ends. */
import { Command, InvalidArgumentError, Option } from 'commander';
import type { DemoOptions } from './cli/demo/demo.ts';
import { optionsTakenByNpm } from './cli/here.ts';
import type { ManifestOptions } from './cli/manifest.ts';
import { addServeOptions, hostOption, hostPidOption, type ServeOptions } from './cli/settings.ts';
import { version } from './cli/version.ts';
import { errorMessage, Failure } from './errors.ts';

const program = new Command('flexcsi')
  .description('Runs FlexVolume drivers, unchanged, as CSI plugins.')
  .version(version)
  .showHelpAfterError('(see --help)');

addServeOptions(
  program.command('serve').description('Serve FlexVolume drivers as CSI plugins, each on a unix socket.'),
).action(async (options: ServeOptions) => {
  const { serve } = await import('./cli/serve.ts');
  // Before serving: a process that is PID 1 ignores signals for which it has no handler. `on`, not `once`: npm
  // passes a signal on that its whole group already got, and the drain must go on.
  const asked = new Promise((resolve) => {
    process.on('SIGTERM', resolve);
    process.on('SIGINT', resolve);
  });
  const serving = await serve(options);
  await asked;
  await serving.stop();
  // Not left to the event loop: a driver that is still running may hold it.
  process.exit(0);
});

program
  .command('manifest')
  .description(
    'Print what Kubernetes has to be told of drivers, from their own answers to init: values for the Helm chart, or CSIDriver objects.',
  )
  .option('--driver <file>', 'one FlexVolume driver')
  .option('--plugin-dir <directory>', "all drivers of a directory like kubelet's, <vendor>~<driver>/<driver>")
  .option('--config <file>', 'the file of serve --config, for the CSI names in it')
  .addOption(hostOption(', where --driver or --plugin-dir is then as well'))
  .addOption(hostPidOption())
  .addOption(
    new Option('--output <what>', 'values for the Helm chart, or CSIDriver objects')
      .choices(['values', 'objects'])
      .default('values'),
  )
  .action(async (options: ManifestOptions) => {
    const { manifest } = await import('./cli/manifest.ts');
    const { text, problems } = await manifest(options);
    process.stdout.write(text);
    // A comment also where both streams end up in one file, as in `kubectl logs`.
    for (const problem of problems) process.stderr.write(`# flexcsi: left out: ${problem}\n`);
    process.exit(problems.length === 0 ? 0 : 1);
  });

program
  .command('demo')
  .description(
    "Show a volume's whole life: a CSI client, this server, a real driver, real mounts. Leaves nothing behind.",
  )
  .option('--driver <file>', 'another FlexVolume driver than the bundled loop driver')
  .option(
    '--option <key=value>',
    'an option of the volume (repeatable): for --driver, what the driver needs',
    collect,
    {},
  )
  .option(
    '--secret <key=value>',
    'a key of the secret that the driver gets at mount (repeatable)',
    collect,
    {},
  )
  .option('--fs-type <type>', 'the file system (default: ext4 with the loop driver, none with --driver)')
  .action(async (options: DemoOptions) => {
    const { demo } = await import('./cli/demo/demo.ts');
    process.exit(await demo(options));
  });

/** Collects `key=value` arguments. */
function collect(text: string, before: Record<string, string>): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('expected key=value');
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}

const taken = optionsTakenByNpm(process.env, [
  'driver',
  'plugin-dir',
  'only',
  'endpoint',
  'registration',
  'http-endpoint',
  'node-id',
  'mode',
  'name',
  'option',
  'state-dir',
  'config',
  'topology',
  'max-volumes-per-node',
  'max-parallel',
  'output',
  'host-pid',
]);
if (taken.length > 0) {
  const options = taken.map((name) => `--${name}`).join(', ');
  process.stderr.write(
    `flexcsi: npm took ${options} for its own: put -- before the options, as in npm start -- serve --driver FILE\n`,
  );
  process.exit(1);
}

try {
  await program.parseAsync();
} catch (error) {
  const text = error instanceof Failure ? error.message : ((error as Error).stack ?? errorMessage(error));
  process.stderr.write(`flexcsi: ${text}\n`);
  process.exit(1);
}
