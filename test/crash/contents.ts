/**
 * Files in volumes. Only child programs with a time limit look at them: a file system that a killed driver has left
 * frozen must not stop this process.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { createRun } from '../../src/process.ts';
import { Violation } from './violation.ts';

/** The SHA-256 of each file, by its name. */
export type Files = ReadonlyMap<string, string>;

const LIMIT_MS = 120_000;
const run = createRun();

/** Makes a new file whose bytes follow from its name, and answers their SHA-256. */
export async function writeFile(
  directory: string,
  name: string,
  { bytes, sync }: { readonly bytes: number; readonly sync: boolean },
): Promise<string> {
  // Text, which is three quarters random.
  const text = createHash('shake256', { outputLength: Math.ceil((bytes * 3) / 4) })
    .update(name)
    .digest('base64');
  const conversions = ['excl', ...(sync ? ['fsync'] : [])].join(',');
  const args = [`of=${join(directory, name)}`, `conv=${conversions}`, 'bs=64K', 'status=none'];
  await runWell('a file can be written', { file: 'dd', args, stdin: text });
  return createHash('sha256').update(text).digest('hex');
}

/** The files at the top of a volume, read to their last byte. */
export async function readFiles(directory: string): Promise<Files> {
  const args = [directory, '-maxdepth', '1', '-type', 'f', '-exec', 'sha256sum', '--', '{}', '+'];
  const output = await runWell('every file can be read', { file: 'find', args });
  const lines = output.split('\n').filter((line) => line !== '');
  return new Map(lines.map((line) => [line.slice(line.lastIndexOf('/') + 1), line.slice(0, 64)]));
}

/** What a volume lacks, has besides, or has with other bytes. */
export function differences(expected: Files, found: Files): string[] {
  const missing = [...expected.keys()].filter((name) => !found.has(name));
  const other = [...found.keys()].filter((name) => expected.get(name) !== found.get(name));
  return [
    ...missing.map((name) => `${name}: lost`),
    ...other.map((name) => `${name}: ${expected.has(name) ? 'has other bytes' : 'was never written there'}`),
  ];
}

async function runWell(
  invariant: string,
  command: { readonly file: string; readonly args: readonly string[]; readonly stdin?: string },
): Promise<string> {
  const ended = await run({ ...command, timeoutMs: LIMIT_MS });
  const output = ended.output.toString();
  if (ended.exitCode === 0) return output;
  const how = ended.timedOut ? `does not end within ${LIMIT_MS / 1000} s` : `ends with ${ended.exitCode}`;
  throw new Violation(invariant, [`${command.file} ${command.args.join(' ')} ${how}: ${output.trim()}`]);
}
