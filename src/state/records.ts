/**
 * Small records that survive a restart: one JSON file each, named by the hash of its key. They hold what a
 * later call needs and its request does not carry. Losing them costs convenience (which call was the same as
 * an earlier one, the options of an expansion), never a clean-up: what is mounted says the mount table.
 *
 * Secrets are not written here: no record has a field for them.
 */
import { createHash } from 'node:crypto';
import { open, readdir, readFile, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { ZodType } from 'zod';
import { errorCode, errorMessage, Failure } from '../errors.ts';
import type { Logger } from '../log.ts';
import { makePrivateDirectory } from './directory.ts';

/** Records of one kind, in one directory. */
export class RecordStore<Content> {
  readonly #directory: string;
  readonly #schema: ZodType<Content>;
  readonly #log: Logger;
  /** The last write or removal of each file that has not ended yet. */
  readonly #turns = new Map<string, Promise<void>>();

  constructor(directory: string, schema: ZodType<Content>, log: Logger) {
    this.#directory = directory;
    this.#schema = schema;
    this.#log = log;
  }

  /**
   * The record, or undefined when there is none. A file that cannot be used (cut short, of another format, of
   * another key) is as good as none: it is logged and replaced by the next `write`.
   *
   * @throws {Failure} `precondition` when the directory cannot be read.
   */
  async read(key: string): Promise<Content | undefined> {
    return (await this.#load(this.#file(key), key))?.content;
  }

  /**
   * Whether there is no record, not even one that cannot be used.
   *
   * @throws {Failure} `precondition` when the directory cannot be read.
   */
  async isEmpty(): Promise<boolean> {
    return (await this.#names()).length === 0;
  }

  /** All records, with their keys. Files that cannot be used are passed over, as in `read`. */
  async all(): Promise<{ readonly key: string; readonly content: Content }[]> {
    const found: { key: string; content: Content }[] = [];
    for (const name of await this.#names()) {
      const stored = await this.#load(join(this.#directory, name));
      if (stored !== undefined && this.#file(stored.key) === join(this.#directory, name)) found.push(stored);
    }
    return found;
  }

  /**
   * Writes the record so that a crash at any instant leaves the old one or the new one: aside, flushed, renamed.
   *
   * @throws {Failure} `precondition` when it cannot be written (disk full, read-only).
   */
  async write(key: string, content: Content): Promise<void> {
    const file = this.#file(key);
    await this.#inTurn(file, () => this.#replace(file, key, content));
  }

  async #replace(file: string, key: string, content: Content): Promise<void> {
    const aside = `${file}.new`;
    try {
      await makePrivateDirectory(this.#directory);
      const handle = await open(aside, 'w', 0o600);
      try {
        await handle.writeFile(JSON.stringify({ key, content: this.#schema.encode(content) }));
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(aside, file);
      await syncDirectory(dirname(file));
    } catch (error) {
      // On a full disk, what is of no use takes room, too.
      await unlink(aside).catch(() => {});
      throw this.#unusable('written', error);
    }
  }

  /**
   * Removes the record, and what a crash has left of an unfinished one; fine when there is none.
   *
   * @throws {Failure} `precondition` when it cannot be removed.
   */
  async remove(key: string): Promise<void> {
    const file = this.#file(key);
    await this.#inTurn(file, () => this.#unlink(file));
  }

  /**
   * One after the other: two at once would use the same file aside. Calls that hold different locks can meet here, as
   * those for in-line volumes of different names that a client gives one id.
   */
  async #inTurn(file: string, work: () => Promise<void>): Promise<void> {
    const done = (this.#turns.get(file) ?? Promise.resolve()).then(work);
    const turn = done.catch(() => {});
    this.#turns.set(file, turn);
    try {
      await done;
    } finally {
      if (this.#turns.get(file) === turn) this.#turns.delete(file);
    }
  }

  async #unlink(file: string): Promise<void> {
    for (const path of [`${file}.new`, file]) {
      try {
        await unlink(path);
      } catch (error) {
        if (errorCode(error) !== 'ENOENT') throw this.#unusable('removed', error);
      }
    }
  }

  async #names(): Promise<string[]> {
    try {
      return (await readdir(this.#directory)).filter((name) => name.endsWith('.json'));
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return [];
      throw this.#unusable('read', error);
    }
  }

  async #load(file: string, expected?: string): Promise<{ key: string; content: Content } | undefined> {
    let text: string;
    try {
      text = await readFile(file, 'utf8');
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined;
      throw this.#unusable('read', error);
    }
    try {
      const { key, content } = (JSON.parse(text) ?? {}) as { key?: unknown; content?: unknown };
      if (typeof key !== 'string' || key !== (expected ?? key))
        throw new Error('it belongs to another volume');
      return { key, content: this.#schema.parse(content) };
    } catch (error) {
      this.#log.warn({ file, problem: errorMessage(error) }, 'state file ignored: it cannot be used');
      return undefined;
    }
  }

  #file(key: string): string {
    return join(this.#directory, `${createHash('sha256').update(key).digest('hex')}.json`);
  }

  #unusable(done: string, error: unknown): Failure {
    return new Failure(
      'precondition',
      `a state file in ${this.#directory} cannot be ${done}: ${errorMessage(error)}; see --state-dir`,
      { cause: error },
    );
  }
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
