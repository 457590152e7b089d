import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A file in a directory of its own. */
export class TemporaryFile {
  readonly path: string;
  readonly #directory = mkdtempSync(join(tmpdir(), 'flexcsi-file-'));

  constructor(name: string) {
    this.path = join(this.#directory, name);
  }

  write(text: string): void {
    writeFileSync(this.path, text);
  }

  remove(): void {
    rmSync(this.#directory, { recursive: true });
  }
}
