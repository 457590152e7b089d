/** The driver of a cell, `flexdriver`, installed: told what to do wrong, and asked what it was called for. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { until } from './outcome.ts';

const template = readFileSync(join(import.meta.dirname, 'flexdriver'), 'utf8');

export class FaultyDriver {
  readonly file: string;
  readonly #base: string;
  readonly #victim: string;

  /** Installs it below `base`. `victim`: the volume to which it does wrong. */
  constructor(base: string, victim: string) {
    this.#base = base;
    this.#victim = victim;
    this.file = join(base, 'drivers/example.com~faulty/faulty');
    for (const name of ['faults', 'attached', 'volumes', 'snapshots', 'disks']) {
      mkdirSync(this.path(name), { recursive: true });
    }
    this.install();
  }

  /** Where it keeps what it knows. */
  path(...names: readonly string[]): string {
    return join(this.#base, 'world', ...names);
  }

  /** Writes the file, aside and renamed into place. */
  install(edit: (text: string) => string = (text) => text): void {
    mkdirSync(dirname(this.file), { recursive: true });
    const aside = join(dirname(this.file), '.new');
    const text = template.replace("'BASE'", `'${this.#base}'`).replace("'VICTIM'", `'${this.#victim}'`);
    writeFileSync(aside, edit(text));
    chmodSync(aside, 0o755);
    renameSync(aside, this.file);
  }

  /** To flexcsi it has changed: `init` is due. */
  touch(): void {
    const now = new Date();
    utimesSync(this.file, now, now);
  }

  /** From now on it does this for the victim, instead of its work. */
  inflict(verb: string, script: string): void {
    rmSync(this.path('go'), { force: true });
    const aside = this.path(`.${verb}`);
    writeFileSync(aside, `${script}\n`);
    renameSync(aside, this.path('faults', verb));
  }

  /** From now on it does its work; a call that waits goes on. */
  heal(): void {
    for (const verb of readdirSync(this.path('faults'))) rmSync(this.path('faults', verb));
    this.go();
  }

  /** Lets a call go on that waits for it. */
  go(): void {
    writeFileSync(this.path('go'), '');
  }

  /** How often a verb was called for the victim. */
  count(verb: string): number {
    return this.lines('calls').filter((line) => line === `${verb} victim`).length;
  }

  /** Resolves when it has been called that often. */
  async untilCalled(verb: string, times: number): Promise<void> {
    await until(`driver called with ${verb}`, () => this.count(verb) >= times);
  }

  /** What it has written to a file of its own; none when it has not. */
  lines(name: string): string[] {
    const path = this.path(name);
    return existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean) : [];
  }
}
