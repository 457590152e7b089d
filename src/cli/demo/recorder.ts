/** What flexcsi did for a CSI call: the driver calls and mounts, as they happened. */
import { basename } from 'node:path';
import { parseAnswer } from '../../flex/answer.ts';
import type { Command, Ended, Run } from '../../process.ts';

export interface Deed {
  /** One line, with the options JSON as `{…}` and paths shortened. */
  readonly text: string;
  readonly durationMs: number;
  /** What came of it in a few words: a device, `Not supported`, an exit state. */
  readonly outcome: string;
}

/** Host programs that change something; the others only look. */
const TELLING = /^(mount|umount|mkfs\..*|fsck|resize2fs|xfs_growfs|btrfs)$/;

export class Recorder {
  readonly #driver: string;
  readonly #shorten: (text: string) => string;
  #deeds: Deed[] = [];
  /** The first options object that a driver was given; secrets come with `mount` alone, so it holds none. */
  sampleOptions: string | undefined;

  /** `shorten` makes long paths readable. */
  constructor(driver: string, shorten: (text: string) => string) {
    this.#driver = driver;
    this.#shorten = shorten;
  }

  /** A `Run` that records what goes through it. */
  wrap(run: Run): Run {
    return async (command) => {
      const ended = await run(command);
      this.#record(command, ended);
      return ended;
    };
  }

  /** What was done since the last call of this. */
  take(): Deed[] {
    const deeds = this.#deeds;
    this.#deeds = [];
    return deeds;
  }

  #record(command: Command, ended: Ended): void {
    const isDriver = command.file === this.#driver;
    if (!isDriver && !TELLING.test(basename(command.file))) return;
    if (isDriver && command.args[0] !== 'mount')
      this.sampleOptions ??= command.args.find((arg) => arg.startsWith('{'));
    const args = command.args.map((arg) =>
      arg.startsWith('{') ? '{…}' : arg === '' ? "''" : this.#shorten(arg),
    );
    this.#deeds.push({
      text: [isDriver ? `driver ${args[0]}` : basename(command.file), ...args.slice(isDriver ? 1 : 0)].join(
        ' ',
      ),
      durationMs: ended.durationMs,
      outcome: isDriver ? outcomeOfDriver(ended) : outcomeOfTool(ended),
    });
  }
}

function outcomeOfDriver(ended: Ended): string {
  const parsed = parseAnswer(ended.output);
  if (!parsed.ok) return outcomeOfTool(ended);
  return [parsed.answer.status, parsed.answer.device].filter(Boolean).join(' ');
}

function outcomeOfTool(ended: Ended): string {
  if (ended.startError !== undefined) return ended.startError;
  if (ended.exitCode === 0) return 'ok';
  return ended.signal ?? `exit ${ended.exitCode}`;
}
