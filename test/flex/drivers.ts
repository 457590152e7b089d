/** Drivers for tests: small shell scripts in a directory of their own. */
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';

/** A directory that goes away with the test. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'flexcsi-test-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return directory;
}

/** Writes an executable script, `#!/bin/sh` before the text. Returns its path. */
export function writeScript(file: string, text: string): string {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `#!/bin/sh\n${text}\n`);
  chmodSync(file, 0o755);
  return file;
}

/** What drivers wrote down, line by line, in a file that none of them lies beside. */
export class Journal {
  readonly file: string;
  #read = 0;

  constructor(directory: string) {
    this.file = join(directory, 'journal');
    appendFileSync(this.file, '');
  }

  /** The lines since the last time this was asked, sorted: independent drivers write in any order. */
  next(): string[] {
    const lines = readFileSync(this.file, 'utf8').split('\n').slice(0, -1);
    const fresh = lines.slice(this.#read);
    this.#read = lines.length;
    return fresh.sort();
  }
}

/** The text of a driver that writes its calls to the journal, as its path and the verb, and answers this. */
export function answering(journal: Journal, answer = '{"status":"Success"}', exit = 0): string {
  return `echo "$0 $1" >> ${journal.file}\necho '${answer}'\nexit ${exit}`;
}
