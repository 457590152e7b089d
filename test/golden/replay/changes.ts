/** The `change` of a look-up: what somebody did to the drivers' files, done to real ones. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { ScriptedDriver } from '../../support/scripted-driver.ts';
import { NotUnderstood } from './records.ts';
import { pluginDir, pluginRoot } from './world.ts';

/** The drivers of a plugin directory, by the path of the executable. */
export class DriverFiles {
  readonly #drivers = new Map<string, ScriptedDriver>();

  /** All that were ever there: what has been renamed away may still run. */
  all(): ScriptedDriver[] {
    return [...new Set(this.#drivers.values())];
  }

  at(file: string): ScriptedDriver | undefined {
    return this.#drivers.get(file);
  }

  install(file: string): ScriptedDriver {
    const driver = this.#drivers.get(file) ?? ScriptedDriver.installAt(file);
    driver.write();
    this.#drivers.set(file, driver);
    return driver;
  }

  /** The same executable under another path. */
  moved(from: string, to: string): void {
    const driver = this.#drivers.get(from);
    if (driver !== undefined) this.#drivers.set(to, driver);
  }

  /** A driver's directory in which no driver can be started. */
  putBroken(name: string): void {
    const directory = dirname(fileOf(name));
    mkdirSync(directory, { recursive: true });
    if (/empty/.test(name)) return;
    if (/two|perm|not-exec/.test(name)) writeFileSync(fileOf(name), '#!/bin/sh\n', { mode: 0o644 });
    else writeFileSync(fileOf(name), '#!/nonexistent/interpreter\n', { mode: 0o755 });
  }
}

/** `vendor/driver` → its executable. */
export function fileOf(name: string): string {
  return join(pluginDir, name.replaceAll('/', '~'), basename(name));
}

type Change = (files: DriverFiles, file: string, ...parts: string[]) => void;

/** `file` is the executable that the record is about. */
const changes: readonly (readonly [RegExp, Change])[] = [
  [/^nothing\b/, () => {}],
  [/^driver directory made, executable written aside\b.* and renamed$/, (files, file) => files.install(file)],
  [
    /^(?:executable|driver) (?:is )?(?:replaced|back|written|installed)\b/,
    (files, file) => files.install(file),
  ],
  [/^another file written in the driver's directory$/, (_files, file) => touch(join(dirname(file), 'other'))],
  [/^a file whose name starts with \. written$/, (_files, file) => touch(join(dirname(file), '.hidden'))],
  [
    /^a subdirectory (?:made )?and a file (?:written )?in it$/,
    (_files, file) => {
      mkdirSync(join(dirname(file), 'sub'), { recursive: true });
      touch(join(dirname(file), 'sub', 'file'));
    },
  ],
  [/^a subdirectory made$/, (_files, file) => mkdirSync(join(dirname(file), 'sub'))],
  [/^executable (?:removed|deleted)$/, (_files, file) => unlinkSync(file)],
  [
    /^directory (?:removed|deleted)$/,
    (_files, file) => {
      for (const name of readdirSync(dirname(file))) rmSync(join(dirname(file), name), { recursive: true });
      rmSync(dirname(file), { recursive: true });
    },
  ],
  [/^executable touched$/, (_files, file) => utimesSync(file, new Date(), new Date())],
  [/^(?:executable's mode changed|mode of the executable changed|executable chmod\b.*)$/, toggleMode],
  [/^executable renamed away\b/, (_files, file) => renameSync(file, outside())],
  [/^directory renamed away\b/, (_files, file) => renameSync(dirname(file), outside())],
  [
    /^(\S+) renamed to (\S+)$/,
    (files, _file, from, to) => {
      const [source, target] = [from, to].map((entry) => join(pluginDir, String(entry))) as [string, string];
      renameSync(source, target);
      const name = String(to).split('~').at(-1) as string;
      files.moved(join(source, name), join(target, name));
    },
  ],
  [
    /^(\S+) renamed away\b.*$/,
    (_files, _file, entry) => renameSync(join(pluginDir, String(entry)), outside()),
  ],
  [
    /^(\S+\/\S+) replaced by a working driver$/,
    (files, _file, path) => files.install(join(pluginDir, String(path))),
  ],
  [
    /^(?:executable|driver) is (?:now )?a symbolic link\b/,
    (_files, file) => {
      const real = outside();
      renameSync(file, real);
      symlinkSync(real, file);
    },
  ],
  [
    /^(?:driver )?directory is (?:now )?a symbolic link\b/,
    (files, file) => {
      if (!existsSync(file)) files.install(file);
      const real = outside();
      renameSync(dirname(file), real);
      symlinkSync(real, dirname(file));
    },
  ],
];

/** Does what the text says. */
export function change(files: DriverFiles, text: string, file: string): void {
  for (const [pattern, apply] of changes) {
    const match = pattern.exec(text);
    if (match === null) continue;
    apply(files, file, ...match.slice(1));
    return;
  }
  throw new NotUnderstood(`change "${text}"`);
}

function touch(path: string): void {
  writeFileSync(path, 'x', { flag: 'a' });
}

function toggleMode(_files: DriverFiles, file: string): void {
  chmodSync(file, 0o700);
}

let count = 0;
/** A path on the same file system, beside the plugin directory. */
function outside(): string {
  count += 1;
  return join(pluginRoot, `outside-${count}`);
}
