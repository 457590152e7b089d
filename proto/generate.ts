/**
 * `npm run generate`: makes the TypeScript types of the proto files with proto-loader's own generator.
 * `npm run generate -- --check` changes nothing; it names the files that are not what would be made, and ends
 * with 1 if there are any.
 */
import { execFileSync } from 'node:child_process';
import {
  type Dirent,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { messageOptions } from '../src/grpc/messages.ts';

const project = join(import.meta.dirname, '..');
/** What is made of which file, in which room. */
const outputs = [
  { proto: 'proto/csi.proto', checkedIn: join(project, 'src', 'csi', 'generated') },
  { proto: 'proto/pluginregistration.proto', checkedIn: join(project, 'src', 'kube', 'generated') },
] as const;

type Difference = { readonly file: string; readonly is: 'stale' | 'missing' | 'extra' };

const args = process.argv.slice(2);
if (args.some((arg) => arg !== '--check')) {
  console.error('usage: npm run generate [-- --check]');
  process.exitCode = 2;
} else {
  let differs = false;
  for (const { proto, checkedIn } of outputs) {
    const fresh = mkdtempSync(join(tmpdir(), 'flexcsi-generate-'));
    try {
      generate(proto, fresh);
      const differences = compare(fresh, checkedIn);
      for (const { file, is } of differences)
        console.log(`${is}: ${relative(project, join(checkedIn, file))}`);
      if (args.length === 0) update(fresh, checkedIn, differences);
      else if (differences.length > 0) {
        console.error(`The generated types are not those of ${proto}: run \`npm run generate\`.`);
        differs = true;
      }
    } finally {
      removeMade(fresh);
    }
  }
  if (differs) process.exitCode = 1;
}

function generate(proto: string, directory: string): void {
  const generator = import.meta.resolve('@grpc/proto-loader/build/bin/proto-loader-gen-types.js');
  const options = Object.entries(messageOptions).map(([name, value]) =>
    value === true ? `--${name}` : `--${name}=${value.name}`,
  );
  execFileSync(
    process.execPath,
    [
      fileURLToPath(generator),
      ...options,
      '--grpcLib=@grpc/grpc-js',
      '--importFileExtension=.ts',
      `--outDir=${directory}`,
      // Relative: the files made name it.
      proto,
    ],
    { cwd: project, stdio: 'inherit' },
  );
}

function compare(fresh: string, checkedIn: string): Difference[] {
  const made = new Set(filesIn(fresh));
  const present = new Set(existsSync(checkedIn) ? filesIn(checkedIn) : []);
  return [...made.union(present)].sort().flatMap((file): Difference[] => {
    if (!present.has(file)) return [{ file, is: 'missing' }];
    if (!made.has(file)) return [{ file, is: 'extra' }];
    const same = readFileSync(join(fresh, file)).equals(readFileSync(join(checkedIn, file)));
    return same ? [] : [{ file, is: 'stale' }];
  });
}

function update(fresh: string, checkedIn: string, differences: readonly Difference[]): void {
  for (const { file, is } of differences) {
    const target = join(checkedIn, file);
    if (is === 'extra') {
      unlinkSync(target);
      continue;
    }
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, readFileSync(join(fresh, file)));
  }
}

/** The files below a directory, relative to it. */
function filesIn(directory: string): string[] {
  return entriesIn(directory)
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)));
}

/** Removes the generator's directory and what it made there, and stops at anything else. */
function removeMade(directory: string): void {
  for (const file of filesIn(directory)) unlinkSync(join(directory, file));
  const directories = entriesIn(directory).map((entry) => join(entry.parentPath, entry.name));
  // The longer path first: what is inside comes before what it is in.
  for (const path of directories.sort((a, b) => b.length - a.length)) rmdirSync(path);
  rmdirSync(directory);
}

function entriesIn(directory: string): Dirent[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true });
}
