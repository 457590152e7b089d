/** The options as the bundled loop driver reads them: in bash, without a JSON parser. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import fc from 'fast-check';
import { encodeOptions } from '../../../src/flex/options.ts';
import { target } from '../target.ts';
import { key, map } from './options.ts';

const library = join(import.meta.dirname, '../../../drivers/flexcsi~loop/lib/options.sh');

/** What the driver itself sets first; then one case after the other, each ended by a NUL, as no option holds one. */
const program = `
set -u -o pipefail
shopt -s nullglob
export LC_ALL=C
source "$1"
while IFS= read -r -d '' text; do
  parse_options "$text"
  printf '%s\\0' "\${#keys[@]}" "\${keys[@]}" "\${#changed[@]}" "\${changed[@]}" "\${changes[@]}" \\
    "$name" "$fs_type" "$access" "$dir" "$volume" "$size" "$flags" "$request_bytes" "$limit_bytes" \\
    "$source_volume" "$source_snapshot" "$places" "$access_type" "$access_modes" "$snapshot_name" "$snapshot_id" \\
    "$read_ahead"
  printf 'end of case\\0\\0'
done
`;

/** The keys that the driver knows, in the order in which the program prints their values. */
const known = [
  'kubernetes.io/pvOrVolumeName',
  'kubernetes.io/fsType',
  'kubernetes.io/readwrite',
  'dir',
  'volume',
  'size',
  'csi/mountOptions',
  'requestBytes',
  'csi/limitBytes',
  'csi/sourceVolume',
  'csi/sourceSnapshot',
  'csi/topology',
  'csi/accessType',
  'csi/accessModes',
  'csi/snapshotName',
  'csi/snapshot',
  'readAheadKiB',
] as const;

const names = fc.oneof(
  { weight: 2, arbitrary: fc.constantFrom<string>(...known) },
  { weight: 2, arbitrary: key },
  { weight: 1, arbitrary: key.map((one) => `csi/parameter/${one}`) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('requestMiB', 'csi/other', 'kubernetes.io/secret/x', 'a.k8s.io/b', 'dirs'),
  },
);

const options = fc
  .tuple(
    map,
    fc.array(fc.tuple(names, fc.oneof(key, fc.constantFrom('rw', 'ro', '%s', '\\c', '\\0101', '$(id)')))),
  )
  .map(([one, pairs]) => Object.entries({ ...one, ...Object.fromEntries(pairs) }))
  // No argument of a program can hold a NUL, and the key of a volume without any would be no key.
  .map((pairs) =>
    Object.fromEntries(
      pairs.filter(([name]) => !name.includes('\0')).map(([n, v]) => [n, v.replaceAll('\0', '')]),
    ),
  );

export const bashOptions = target({
  name: 'options-bash',
  what: 'the loop driver reads back exactly the keys and values that were encoded',
  share: 6,
  begin: () => {
    const bash = spawn('bash', ['--norc', '-c', program, 'bash', library], {
      stdio: ['pipe', 'pipe', 'inherit'],
      // Without BASH_ENV and, since its input is a socket, .bashrc: they may do anything.
      env: { PATH: process.env.PATH },
    });
    const exited = once(bash, 'exit');
    const end = Buffer.from('end of case\0\0');
    let received = Buffer.alloc(0);
    let whenWhole: (bytes: Buffer) => void = () => {};
    bash.stdout.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (received.subarray(-end.length).equals(end)) whenWhole(received);
    });
    return {
      of: options,
      holds: async (all) => {
        assert.equal(bash.exitCode, null, 'bash has ended');
        received = Buffer.alloc(0);
        const whole = new Promise<Buffer>((resolve) => {
          whenWhole = resolve;
          void exited.then(() => resolve(Buffer.alloc(0)));
        });
        bash.stdin.write(`${encodeOptions(all)}\0`);
        assert.deepEqual(readBack(await whole), expected(all));
      },
      end: async () => {
        bash.stdin.end();
        await exited;
      },
    };
  },
});

interface Read {
  readonly own: readonly string[];
  readonly changes: readonly (readonly [string, string])[];
  readonly values: Readonly<Record<string, string>>;
}

function readBack(bytes: Buffer): Read {
  const parts = bytes.toString().split('\0');
  const take = (count: number): string[] => parts.splice(0, count);
  // An empty list still prints one NUL for "%s\0" only when there is no argument at all: there always are some.
  const own = take(Number(take(1)[0]));
  const number = Number(take(1)[0]);
  const names = take(number);
  const values = take(number);
  return {
    own,
    changes: names.map((name, at) => [name, values[at] ?? ''] as const),
    values: Object.fromEntries(known.map((name) => [name, take(1)[0] ?? ''])),
  };
}

function expected(all: Readonly<Record<string, string>>): Read {
  const sorted = Object.keys(all).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const parameter = 'csi/parameter/';
  const isOwn = (name: string): boolean =>
    !name.startsWith('csi/') &&
    !['requestBytes', 'requestMiB', 'requestGiB'].includes(name) &&
    !/^(.*\.)?(kubernetes|k8s)\.io\//s.test(name);
  return {
    own: sorted.filter(isOwn),
    changes: sorted
      .filter((name) => name.startsWith(parameter))
      .map((name) => [name.slice(parameter.length), all[name] ?? ''] as const),
    values: Object.fromEntries(
      known.map((name) => {
        const value = Object.hasOwn(all, name) ? (all[name] ?? '') : '';
        return [name, name === 'kubernetes.io/readwrite' && value !== 'rw' ? 'ro' : value];
      }),
    ),
  };
}
