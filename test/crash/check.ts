/** What has to be true when nothing is under way: found in the kernel's own tables and on the disk. */
import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, readdirSync, readFileSync, statSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { loopDevicesBelow, mountsBelow, processesWith } from '../sanity/leftovers.ts';
import { filesBelow, volumeRecords } from '../support/files.ts';
import { placesAbove } from './places.ts';
import { MARK } from './server.ts';
import { placesOf, type Setting, stagingRoot } from './setting.ts';
import { require } from './violation.ts';
import type { Volume } from './volume.ts';

/** The driver's own limit for a lock is one minute, and there may be some that wait for each other. */
const ORPHANS_MS = 180_000;
/** Where the loop driver remembers what is attached. */
const ATTACHED = '/run/flexcsi-loop';

/**
 * What was asked for is there, once, and nothing else.
 *
 * @throws {Violation}
 */
export async function checkWorld(
  setting: Setting,
  server: number,
  volumes: readonly Volume[],
): Promise<void> {
  const { directory } = setting;
  const { kubelet, images } = placesOf(directory);
  await checkProcesses(directory, server);
  require('what is in use is mounted, once, and nothing else is', difference(
    volumes.flatMap(({ mountPoints }) => mountPoints),
    mountsBelow(directory),
  ));
  require('what is to be read-only is', notReadOnly(volumes.flatMap(({ readOnlyPoints }) => readOnlyPoints)));
  require('what is in use is attached, once, and nothing else is', difference(
    volumes.flatMap(({ attachedImage }) => attachedImage ?? []),
    loopDevicesBelow(directory).map(({ file }) => file),
  ));
  const own = [
    ...placesAbove(join(kubelet, 'pods'), kubelet),
    ...placesAbove(stagingRoot(directory), kubelet),
  ];
  require("kubelet's directories are those of what is in use", difference(
    [...new Set([...own, ...volumes.flatMap(({ directories }) => directories)])],
    below(kubelet),
  ));
  require('no lock is held', locksBelow(images));
  for (const volume of volumes) await volume.verify();
}

/**
 * After everything was taken down and deleted, nothing is left of it.
 *
 * @throws {Violation}
 */
export function checkNothingLeft({ directory, prefix }: Setting): void {
  const { images, state, sockets, temporary } = placesOf(directory);
  require('no process is left', processesWith(`${MARK}=${directory}`).map(({ command }) => command));
  // Of the locks one is for the room, which is for all volumes.
  const rooms = existsSync(images) ? readdirSync(images) : [];
  const kept = rooms.flatMap((room) => readEntries(join(images, room)).map((name) => join(room, name)));
  const files = rooms.filter((room) => !lstatSync(join(images, room)).isDirectory());
  require('the driver keeps nothing', [...kept, ...files].filter((path) => path !== 'locks/room'));
  require('no draft of the driver is left', rooms.filter((room) => room.startsWith('.')));
  require('nothing is known as attached', readEntries(ATTACHED).filter((name) =>
    name.startsWith(`${prefix}-`),
  ));
  require('no record is left', volumeRecords(state));
  require('no socket is left', readEntries(sockets));
  require('no temporary file is left', readEntries(temporary));
}

/** Removes what a batch that failed has left outside its directory. */
export function forgetAttached({ prefix }: Setting): void {
  const names = readEntries(ATTACHED).filter((name) => name.startsWith(`${prefix}-`));
  for (const name of names) unlinkSync(join(ATTACHED, name));
}

/** Those that a killed flexcsi or driver has left at work come to their end. */
async function checkProcesses(directory: string, server: number): Promise<void> {
  const others = (): string[] =>
    processesWith(`${MARK}=${directory}`)
      .filter(({ pid }) => pid !== server)
      .map(({ pid, command }) => `${pid} ${command}`);
  for (const start = Date.now(); others().length > 0 && Date.now() - start < ORPHANS_MS; ) await sleep(25);
  require(`no process is left after ${ORPHANS_MS / 1000} s`, others());
}

/** What one list lacks or has too often, compared with another. */
export function difference(expected: readonly string[], found: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const one of expected) counts.set(one, (counts.get(one) ?? 0) + 1);
  for (const one of found) counts.set(one, (counts.get(one) ?? 0) - 1);
  return [...counts].flatMap(([one, count]) => {
    if (count === 0) return [];
    return count > 0 ? [`missing: ${one}`] : [`${-count} too many: ${one}`];
  });
}

function notReadOnly(points: readonly string[]): string[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const fields = lines.map((line) => line.split(' '));
  return points.filter((point) =>
    fields.some((field) => field[4] === point && !field[5]?.split(',').includes('ro')),
  );
}

/** All that is below a directory, but not in what is mounted there. */
function below(directory: string): string[] {
  const args = [directory, '-xdev', '-mindepth', '1', '-print0'];
  // A mount that is there is one of ours, and checked before. What it holds is on the other side of -xdev.
  const output = execFileSync('find', args, { encoding: 'utf8', timeout: 120_000 });
  return output.split('\0').filter((path) => path !== '');
}

function readEntries(directory: string): string[] {
  return existsSync(directory) && lstatSync(directory).isDirectory() ? readdirSync(directory) : [];
}

/** Files below a directory on which a lock is held. */
function locksBelow(directory: string): string[] {
  const held = new Set(
    readFileSync('/proc/locks', 'utf8')
      .split('\n')
      .flatMap((line) => /:(\d+) \d+ \S+$/.exec(line)?.[1] ?? []),
  );
  return filesBelow(directory).filter((file) => {
    const state = statSync(file, { throwIfNoEntry: false });
    return state !== undefined && held.has(String(state.ino));
  });
}
