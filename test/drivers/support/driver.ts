/** Calls a bundled driver as kubelet does. */
import { join } from 'node:path';
import { createRun } from '../../../src/process.ts';

/** What a driver printed, parsed; the exit code has been checked against it. */
export interface Answer {
  readonly status: 'Success' | 'Failure' | 'Not supported';
  readonly message?: string;
  readonly device?: string;
  readonly attached?: boolean;
  readonly capabilities?: Readonly<Record<string, boolean | string>>;
}

/** Runs one verb: `call('attach', optionsText({ … }), 'node-1')`. */
export type Call = (...args: readonly string[]) => Promise<Answer>;

const run = createRun();

/** The file of a bundled driver: `bundled('flexcsi~loop')`. */
export function bundled(directory: string): string {
  const name = directory.slice(directory.indexOf('~') + 1);
  return join(import.meta.dirname, '../../../drivers', directory, name);
}

/**
 * Calls of a driver, with `env` added to this process's environment.
 *
 * Throws where kubelet would not understand the driver: when it prints anything but one JSON object, or when
 * the exit code is not 0 with `Success`, or 0 without.
 */
export function createCall(file: string, env: Readonly<Record<string, string>> = {}): Call {
  return async (...args) => {
    const ended = await run({
      file,
      args,
      env: { ...(process.env as Record<string, string>), ...env },
      timeoutMs: 120_000,
    });
    const output = ended.output.toString();
    const said = `${args[0]} printed ${JSON.stringify(output)}, exit code ${ended.exitCode ?? ended.signal ?? ended.startError}`;
    let answer: Answer;
    try {
      answer = JSON.parse(output);
    } catch {
      throw new Error(said);
    }
    if ((answer.status === 'Success') !== (ended.exitCode === 0)) throw new Error(said);
    return answer;
  };
}

/** The JSON argument, written as Go's `encoding/json` writes a `map[string]string`. */
export function optionsText(options: Readonly<Record<string, string>>): string {
  const entries = Object.entries(options).sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const text = entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',');
  return `{${text.replace(/[<>&\u2028\u2029]/g, escapeCharacter)}}`;
}

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
