/** What the client did and what was killed, for the report of a failure. */
import { EventEmitter } from 'node:events';

const KEPT = 20_000;

interface Entry {
  readonly at: number;
  readonly who: string;
  readonly text: string;
  /** How often it was said again, with nothing else in between. */
  again: number;
}

export class History {
  readonly #entries: Entry[] = [];
  readonly #last = new Map<string, Entry>();
  readonly #answers = new EventEmitter();
  /** How often each error was answered, as `NodeStageVolume INTERNAL`. */
  readonly errors = new Map<string, number>();
  calls = 0;

  /** @param who a volume, or what is done to flexcsi. */
  note(who: string, text: string): void {
    const before = this.#last.get(who);
    if (before?.text === text) {
      before.again += 1;
      return;
    }
    const entry = { at: Date.now(), who, text, again: 0 };
    this.#last.set(who, entry);
    this.#entries.push(entry);
    if (this.#entries.length > KEPT) this.#entries.shift();
  }

  answered(who: string, rpc: string, code: string, text: string): void {
    this.note(who, `${rpc}: ${text}`);
    this.calls += 1;
    if (code !== 'OK') this.errors.set(`${rpc} ${code}`, (this.errors.get(`${rpc} ${code}`) ?? 0) + 1);
    this.#answers.emit('answer');
  }

  /** Resolves at the next answer that a client gets. */
  nextAnswer(): Promise<void> {
    return new Promise((resolve) => this.#answers.once('answer', resolve));
  }

  /** The last entries, of one volume and what was killed meanwhile, or of all. */
  last(count: number, who?: string): string[] {
    const wanted = this.#entries.filter((entry) => who === undefined || ['kill', who].includes(entry.who));
    return wanted.slice(-count).map(({ at, who: name, text, again }) => {
      const more = again === 0 ? '' : ` (and ${again} times more)`;
      return `${new Date(at).toISOString().slice(11, 23)} ${name}: ${text}${more}`;
    });
  }
}
