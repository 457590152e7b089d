import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { RecordStore } from '../../src/state/records.ts';
import { volumeRecordSchema } from '../../src/volume/records.ts';
import { lacks } from '../support/requirements.ts';

describe('RecordStore', () => {
  const schema = z.object({ device: z.string() });
  let parent: string;
  let directory: string;
  let logged: string;
  let store: RecordStore<z.infer<typeof schema>>;

  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'flexcsi-records-'));
    directory = join(parent, 'made/on/demand');
    logged = '';
    const log = pino(
      { level: 'warn' },
      {
        write(line: string) {
          logged += line;
        },
      },
    );
    store = new RecordStore(directory, schema, log);
  });

  afterEach(() => rmSync(parent, { recursive: true }));

  const file = (): string => join(directory, readdirSync(directory)[0] as string);

  it('keeps a record by any key, for its owner only', async () => {
    const key = '../../etc/passwd\n日本 "quoted"';
    expect(await store.read(key)).toBeUndefined();
    await store.write(key, { device: '/dev/vdb' });
    expect(await store.read(key)).toEqual({ device: '/dev/vdb' });
    expect(await store.read('another')).toBeUndefined();
    expect(statSync(file()).mode & 0o777).toBe(0o600);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    await store.remove(key);
    await store.remove(key);
    expect(await store.read(key)).toBeUndefined();
  });

  it('keeps keys apart that JSON.parse of Node 26 takes for one another', async () => {
    const volumes = new RecordStore(directory, volumeRecordSchema, pino({ level: 'silent' }));
    const record = (key: string) => ({
      boot: 'b',
      options: { a: '1', [key]: '2' },
      fsType: '',
      access: 'mount' as const,
      targets: {},
    });
    await volumes.write('first', record('k\\'));
    await volumes.write('second', record('k"'));
    expect(await volumes.read('first')).toEqual(record('k\\'));
    expect(await volumes.read('second')).toEqual(record('k"'));
  });

  it('leaves no file but the record', async () => {
    await store.write('v', { device: 'a' });
    await store.write('v', { device: 'b' });
    expect(readdirSync(directory)).toHaveLength(1);
    expect(await store.read('v')).toEqual({ device: 'b' });
  });

  it.each([
    ['empty', ''],
    ['cut short', '{"key":"v","content":{"dev'],
    ['of another shape', '{"key":"v","content":{"device":7}}'],
    ['of another key', '{"key":"w","content":{"device":"x"}}'],
    ['not an object', 'null'],
  ])('takes a file that is %s for none, says so, and replaces it', async (_what, text) => {
    await store.write('v', { device: 'a' });
    writeFileSync(file(), text);
    expect(await store.read('v')).toBeUndefined();
    expect(logged).toContain(file());
    await store.write('v', { device: 'b' });
    expect(await store.read('v')).toEqual({ device: 'b' });
  });

  it('is not disturbed by what a crash left half-written', async () => {
    await store.write('v', { device: 'a' });
    writeFileSync(`${file()}.new`, '{"key":"v","con');
    expect(await store.read('v')).toEqual({ device: 'a' });
    await store.write('v', { device: 'b' });
    expect(readFileSync(file(), 'utf8')).toContain('"b"');
  });

  it('removes what a crash left half-written, also where there is no record', async () => {
    await store.write('v', { device: 'a' });
    const aside = `${file()}.new`;
    writeFileSync(aside, '{"key":"v","con');
    await store.remove('v');
    expect(readdirSync(directory)).toEqual([]);
    writeFileSync(aside, '{"key":"v","con');
    await store.remove('v');
    expect(readdirSync(directory)).toEqual([]);
  });

  it.skipIf(lacks('mounts'))('leaves the old record and nothing else when the disk is full', async () => {
    mkdirSync(directory, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'flexcsi-test', directory]);
    try {
      await store.write('v', { device: 'a' });
      const before = readdirSync(directory);
      const large = { device: 'x'.repeat(64 * 1024) };
      await expect(store.write('v', large)).rejects.toMatchObject({ kind: 'precondition' });
      await expect(store.write('w', large)).rejects.toThrow(/ENOSPC/);
      expect(readdirSync(directory)).toEqual(before);
      expect(await store.read('v')).toEqual({ device: 'a' });
    } finally {
      execFileSync('umount', [directory]);
    }
  });

  it('writes and removes one record in the order of the calls, also when they come at once', async () => {
    const writes = Array.from({ length: 20 }, (_, at) => store.write('v', { device: `${at}` }));
    await Promise.all(writes);
    expect(await store.read('v')).toEqual({ device: '19' });
    await Promise.all([
      store.write('v', { device: 'a' }),
      store.remove('v'),
      store.write('w', { device: 'b' }),
    ]);
    expect(await store.read('v')).toBeUndefined();
    expect(await store.read('w')).toEqual({ device: 'b' });
    expect(readdirSync(directory)).toHaveLength(1);
  });

  it('names the directory and the flag when it cannot write', async () => {
    writeFileSync(join(parent, 'made'), 'a file');
    await expect(store.write('v', { device: 'a' })).rejects.toThrow(
      /^a state file in .*made\/on\/demand cannot be written: .*; see --state-dir$/,
    );
  });
});
