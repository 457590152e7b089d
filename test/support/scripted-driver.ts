/**
 * The FlexVolume driver of the tests: a real executable (test/fixtures/golden-driver/driver) that writes down
 * every execution byte for byte, and answers what the test has scripted. A verb that is not scripted answers
 * `Not supported` with exit code 1, as real drivers do; `init` answers Success without capabilities.
 */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';

const template = join(import.meta.dirname, '../fixtures/golden-driver/driver');

/** What one execution does, in this order. */
export interface Answer {
  /** Goes on when the driver gets SIGTERM; so do the children that it starts. */
  readonly ignoreSigterm?: boolean;
  /** Shell commands, `$1` being the verb and `$2` the first argument after it. Their output is dropped. */
  readonly shell?: string;
  readonly sleepMs?: number;
  /** What it prints, stream by stream in this order. A string is stdout. */
  readonly prints?: string | Uint8Array | readonly Print[];
  /** Leaves a child behind that holds stdout open so long. */
  readonly daemonMs?: number;
  /** Starts a child that holds stdout open so long, and waits for it. */
  readonly childMs?: number;
  /** The signal, by number, with which it kills itself instead of exiting. */
  readonly signal?: number;
  /** 0 when left out. */
  readonly exit?: number;
}

export interface Print {
  readonly to: 'stdout' | 'stderr';
  readonly bytes: string | Uint8Array;
}

/** One execution, as the driver saw it. */
export interface DriverCall {
  readonly verb: string;
  /** The arguments after the verb. Bytes that are not UTF-8 show as U+FFFD: see `argv`. */
  readonly args: readonly string[];
  /** The verb and all that follows, as bytes. */
  readonly argv: readonly Buffer[];
  /** The path by which it was started. */
  readonly file: string;
  readonly pid: number;
  readonly processGroup: number;
  readonly cwd: string;
  readonly umask: string;
  readonly env: ReadonlyMap<string, string>;
  readonly stdin: Buffer;
  /** What the descriptors 0, 1 and 2 were, as /proc shows it. */
  readonly streams: readonly [stdin: string, stdout: string, stderr: string];
}

/** The text of a driver's answer object: `answer('Success', { device: '/dev/sdb' })`. */
export function answer(status: string, fields: Readonly<Record<string, unknown>> = {}): string {
  return JSON.stringify({ status, ...fields });
}

/** What drivers have written down, to be removed when the process ends. */
const controls = new Set<string>();

function removeControls(): void {
  for (const control of controls) rmSync(control, { recursive: true, force: true });
}

export class ScriptedDriver {
  /** The executable. */
  readonly file: string;
  readonly #control: string;

  private constructor(file: string, control: string) {
    this.file = file;
    this.#control = control;
  }

  /**
   * Installs the driver as `<pluginDir>/<vendor~driver>/<driver>`, written aside and renamed into place as
   * installers do. `name` is FlexVolume's: `vendor/driver`, or `driver` without a vendor.
   */
  static install(pluginDir: string, name = 'example.com/scripted'): ScriptedDriver {
    return ScriptedDriver.installAt(join(pluginDir, name.replaceAll('/', '~'), basename(name)));
  }

  /** Installs the driver as this very file. */
  static installAt(file: string): ScriptedDriver {
    const control = mkdtempSync(join(tmpdir(), 'flexcsi-driver-'));
    if (controls.size === 0) process.once('exit', removeControls);
    controls.add(control);
    mkdirSync(join(control, 'calls'));
    mkdirSync(join(control, 'answers'));
    const driver = new ScriptedDriver(file, control);
    driver.script('init', { prints: answer('Success') });
    driver.write();
    return driver;
  }

  /** Writes the executable (again), aside and renamed into place: to a plugin, the driver has changed. */
  write(): void {
    mkdirSync(dirname(this.file), { recursive: true });
    const aside = join(dirname(this.file), `.${basename(this.file)}.new`);
    writeFileSync(aside, readFileSync(template, 'utf8').replace("'CONTROL'", `'${this.#control}'`));
    chmodSync(aside, 0o755);
    renameSync(aside, this.file);
  }

  /** Answers of a verb from now on: one after the other, then the last one again and again. */
  script(verb: string, ...answers: readonly (Answer | string)[]): void {
    const directory = join(this.#control, 'answers', verb);
    rmSync(directory, { recursive: true, force: true });
    if (answers.length === 0) return;
    mkdirSync(directory);
    answers.forEach((one, index) => {
      const name = index === answers.length - 1 ? 'rest' : String(index + 1);
      this.#writeAnswer(directory, name, typeof one === 'string' ? { prints: one } : one);
    });
  }

  /** The calls since the driver was installed or `forget` was called, in the order of their start. */
  calls(): DriverCall[] {
    const order = join(this.#control, 'order');
    if (!existsSync(order)) return [];
    const pids = readFileSync(order, 'utf8').trim().split('\n').filter(Boolean);
    return pids.map((pid) => readCall(join(this.#control, 'calls', pid), Number(pid)));
  }

  /** The verbs of `calls`, for short comparisons. */
  verbs(): string[] {
    return this.calls().map((call) => call.verb);
  }

  /** Forgets the calls up to now. */
  forget(): void {
    rmSync(join(this.#control, 'order'), { force: true });
  }

  /** Removes what the driver has written down, not the executable. */
  remove(): void {
    rmSync(this.#control, { recursive: true, force: true });
  }

  #writeAnswer(directory: string, name: string, what: Answer): void {
    const lines: string[] = [];
    if (what.ignoreSigterm) lines.push("trap '' TERM");
    if (what.shell) lines.push(`{ ${what.shell}\n} > /dev/null 2>&1`);
    if (what.sleepMs !== undefined) lines.push(`sleep ${what.sleepMs / 1000}`);
    printsOf(what).forEach(({ to, bytes }, index) => {
      writeFileSync(join(directory, `${name}.${index}`), bytes);
      lines.push(`cat "$answers/${name}.${index}"${to === 'stderr' ? ' >&2' : ''}`);
    });
    if (what.daemonMs !== undefined) lines.push(`sleep ${what.daemonMs / 1000} &`);
    if (what.childMs !== undefined) lines.push(`sleep ${what.childMs / 1000} &`, 'wait');
    lines.push(what.signal === undefined ? `exit ${what.exit ?? 0}` : `kill -${what.signal} $$`, '');
    writeFileSync(join(directory, name), lines.join('\n'));
  }
}

function printsOf({ prints }: Answer): readonly Print[] {
  if (prints === undefined) return [];
  if (typeof prints === 'string' || prints instanceof Uint8Array) return [{ to: 'stdout', bytes: prints }];
  return prints;
}

function readCall(record: string, pid: number): DriverCall {
  const [file, ...argv] = splitAtNul(readFileSync(`${record}.argv`));
  const [verb = '', ...args] = argv.map(String);
  const [cwd = '', umask = '', stat = ''] = readFileSync(`${record}.process`, 'utf8').split('\n');
  const [stdin = '', stdout = '', stderr = ''] = readFileSync(`${record}.streams`, 'utf8').split('\n');
  const env = splitAtNul(readFileSync(`${record}.environ`)).map(String);
  return {
    verb,
    args,
    argv,
    file: String(file),
    pid,
    // pid (comm) state ppid pgrp
    processGroup: Number(/^.*\) \S \d+ (\d+)/.exec(stat)?.[1]),
    cwd,
    umask,
    env: new Map(env.map((entry) => [entry.replace(/=.*/s, ''), entry.replace(/^.*?=/s, '')])),
    stdin: readFileSync(`${record}.stdin`),
    streams: [stdin, stdout, stderr],
  };
}

/** The parts of what ends each part with a NUL. */
function splitAtNul(bytes: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let from = 0; from < bytes.length; ) {
    const end = bytes.indexOf(0, from);
    parts.push(bytes.subarray(from, end));
    from = end + 1;
  }
  return parts;
}
