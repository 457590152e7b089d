import { once } from 'node:events';
import { existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { removeStale, temporaryName } from '../../src/csi/endpoint.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'flexcsi-endpoint-'));
});

afterEach(() => rmSync(directory, { recursive: true }));

describe('the temporary name of a socket', () => {
  it.each(['/run/csi.sock', '/run/csi-with-a-long-name.sock'])('is beside %s, and no longer', (path) => {
    const name = temporaryName(path);
    expect(dirname(name)).toBe('/run');
    expect(basename(name)).toMatch(/^\.[0-9a-f]+$/);
    expect(name.length).toBeLessThanOrEqual(path.length);
  });

  it('is always the same, and another for another socket', () => {
    expect(temporaryName('/run/a.sock')).toBe(temporaryName('/run/a.sock'));
    expect(temporaryName('/run/a.sock')).not.toBe(temporaryName('/run/b.sock'));
  });
});

describe('what an earlier process has left there', () => {
  it('is removed', async () => {
    const path = join(directory, '.left');
    const server = createServer().listen(join(directory, 'first'));
    await once(server, 'listening');
    // At its end the server removes the name that it knows: this one stays, as after SIGKILL.
    renameSync(join(directory, 'first'), path);
    server.close();
    await once(server, 'close');
    expect(existsSync(path)).toBe(true);
    await removeStale(path);
    expect(existsSync(path)).toBe(false);
    await removeStale(path);
  });

  it('is left alone while it is served, or when it is no socket', async () => {
    const path = join(directory, '.live');
    const server = createServer().listen(path);
    await once(server, 'listening');
    await expect(removeStale(path)).rejects.toThrow('another process is serving');
    server.close();
    await once(server, 'close');
    writeFileSync(path, 'data');
    await expect(removeStale(path)).rejects.toThrow('is not a socket');
    expect(existsSync(path)).toBe(true);
  });
});
