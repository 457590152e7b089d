/** Prints the demo as a table: each CSI call, what it became, and what came of it. */
import type { Deed } from './recorder.ts';

const STEP_COLUMN = 30;
const DEED_COLUMN = 66;
const RESULT_COLUMN = 26;

export class Story {
  readonly #write: (text: string) => void;
  #count = 0;
  #failed = 0;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  /** Whether all that was checked was as it should be. */
  get verified(): boolean {
    return this.#failed === 0;
  }

  say(text = ''): void {
    this.#write(`${text}\n`);
  }

  head(): void {
    this.#row('    CSI call', 'what flexcsi did for it', 'result', 'time');
    this.say('─'.repeat(STEP_COLUMN + DEED_COLUMN + RESULT_COLUMN + 9));
  }

  /** One CSI call with the driver calls and mounts that it became. */
  call(rpc: string, deeds: readonly Deed[], result: string, durationMs: number): void {
    this.#count += 1;
    const step = `${String(this.#count).padStart(2)}  ${rpc}`;
    if (deeds.length === 0) this.#row(step, '(no driver call)', result, time(durationMs));
    else this.#row(step, '', result, time(durationMs));
    this.#deeds(deeds);
  }

  /** What flexcsi did by itself. */
  happened(what: string, deeds: readonly Deed[]): void {
    this.#row(`    ${what}`, '', '', '');
    this.#deeds(deeds);
  }

  #deeds(deeds: readonly Deed[]): void {
    for (const deed of deeds) this.#row('', `→ ${deed.text}`, deed.outcome, time(deed.durationMs));
  }

  /** Something that a pod does, or that the demo has checked. */
  check(who: string, what: string, good: boolean): void {
    if (!good) this.#failed += 1;
    this.#row(`    ${who}`, what, good ? '✓' : '✗ FAILED', '');
  }

  #row(step: string, deed: string, result: string, duration: string): void {
    const cells = [
      step.padEnd(STEP_COLUMN),
      deed.padEnd(DEED_COLUMN),
      result.padEnd(RESULT_COLUMN),
      duration.padStart(7),
    ];
    this.say(cells.join(' ').trimEnd());
  }
}

function time(durationMs: number): string {
  return `${durationMs < 10 ? durationMs.toFixed(1) : Math.round(durationMs)} ms`;
}
