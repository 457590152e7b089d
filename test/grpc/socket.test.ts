import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, lstatSync, mkdtempSync, readdirSync, rmdirSync, rmSync, symlinkSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type BindPlace, makeBindPlace } from '../../src/grpc/socket.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'flexcsi-endpoint-'));
});

afterEach(() => rmSync(directory, { recursive: true }));

async function bound(path: string): Promise<{ place: BindPlace; server: Server }> {
  const place = await makeBindPlace(path, '--endpoint');
  const server = createServer().listen(place.name);
  await once(server, 'listening');
  return { place, server };
}

async function ended(server: Server): Promise<void> {
  server.close();
  await once(server, 'close');
}

describe('the place where a socket is bound', () => {
  it.each(['csi.sock', 'a'.repeat(107 - tmpdir().length - 30)])('is for its owner only: %s', async (name) => {
    const path = join(directory, name);
    const { place, server } = await bound(path);
    const entries = readdirSync(directory);
    expect(entries).toHaveLength(1);
    expect(lstatSync(join(directory, entries[0] ?? '')).mode & 0o777).toBe(0o700);
    const placed = await place.putInPlace();
    expect(readdirSync(directory)).toEqual([name]);
    expect(lstatSync(path).mode & 0o777).toBe(0o600);
    await ended(server);
    place.close();
    expect(await placed.isThere()).toBe(true);
    await placed.remove();
    expect(await placed.isThere()).toBe(false);
    expect(readdirSync(directory)).toEqual([]);
  });

  it('is used again after a process that was killed before it was ready', async () => {
    const path = join(directory, 'csi.sock');
    const code = `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 9))`;
    const first = await makeBindPlace(path, '--endpoint');
    const entries = readdirSync(directory);
    spawnSync(process.execPath, ['-e', code, join(directory, entries[0] ?? '', 'socket')]);
    first.close();
    expect(readdirSync(join(directory, entries[0] ?? ''))).toEqual(['socket']);
    const { place, server } = await bound(path);
    await place.putInPlace();
    expect(readdirSync(directory)).toEqual(['csi.sock']);
    await ended(server);
    place.close();
  });

  it('is not taken from a plugin that is just starting', async () => {
    const path = join(directory, 'csi.sock');
    const { place, server } = await bound(path);
    await expect(makeBindPlace(path, '--endpoint')).rejects.toThrow('another process is about to serve');
    await place.putInPlace();
    await ended(server);
    place.close();
  });

  it('is no file or link of somebody else', async () => {
    const path = join(directory, 'csi.sock');
    const place = await makeBindPlace(path, '--endpoint');
    place.close();
    const [name = ''] = readdirSync(directory);
    rmdirSync(join(directory, name));
    symlinkSync(tmpdir(), join(directory, name));
    await expect(makeBindPlace(path, '--endpoint')).rejects.toThrow('--endpoint: E');
  });

  it('leaves the socket of a successor alone', async () => {
    const path = join(directory, 'csi.sock');
    const first = await bound(path);
    const placed = await first.place.putInPlace();
    const second = await bound(path);
    await second.place.putInPlace();
    await ended(first.server);
    first.place.close();
    expect(await placed.isThere()).toBe(false);
    await placed.remove();
    expect(existsSync(path)).toBe(true);
    await ended(second.server);
    second.place.close();
  });
});
