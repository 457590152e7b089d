/**
 * `npm run soak`: flexcsi under a mixed load of many volumes, with a driver that misbehaves, for as long as is wanted.
 * Fails when anything grows or is left behind, and when an answer is wrong or missing.
 */
import { existsSync } from 'node:fs';
import { Command, Option } from 'commander';
import { anySeed, MAX_SEED, runSuite, wholeNumber } from '../support/suite.ts';
import { soak } from './soak.ts';

interface Options {
  readonly minutes: number;
  readonly seed?: number;
  readonly inFlight: number;
}

const MOST_MINUTES = 7 * 24 * 60;
const MOST_IN_FLIGHT = 500;

await runSuite<Options>({
  name: 'soak',
  example: '--minutes 30',
  command: new Command('npm run soak --')
    .description('Puts flexcsi under a long mixed load with a driver that misbehaves, and looks for leaks.')
    .addOption(new Option('--minutes <n>', 'how long').argParser(wholeNumber(MOST_MINUTES)).default(2))
    .addOption(
      new Option('--seed <x>', "repeats the callers' random decisions (default: random)").argParser(
        wholeNumber(MAX_SEED),
      ),
    )
    .addOption(
      new Option('--in-flight <n>', 'calls at once').argParser(wholeNumber(MOST_IN_FLIGHT)).default(32),
    ),
  run: async ({ minutes, inFlight, seed = anySeed() }, stop, namespace) => {
    console.log(`seed ${seed}, ${minutes} min, ${inFlight} calls in flight`);
    const block = namespace === 'root' && existsSync('/dev/loop-control');
    if (!block)
      console.log('without raw block volumes, for want of root or loop devices (/dev/loop-control)');
    return (await soak({ minutes, seed, inFlight, block, stop })) ? 0 : 1;
  },
});
