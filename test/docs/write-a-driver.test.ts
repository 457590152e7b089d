/**
 * docs/write-a-driver.md, as somebody who follows it: saves the scripts, applies the patches, types the commands, and
 * sees what the page says. What the page claims of each version beyond that: driver-steps.test.ts.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { lacks } from '../support/requirements.ts';
import { mountsBelow } from '../support/scenario.ts';
import { type Block, isAsShown, pageFile, readPage, versionsOf } from './page.ts';

const root = join(import.meta.dirname, '../..');
const blocks = readPage();
const versions = versionsOf(blocks);

describe('the scripts of the page', () => {
  it('are the eight versions, and the whole script is the last one', () => {
    expect(versions).toHaveLength(9);
    expect(versions[8]).toBe(versions[7]);
  });

  it('begin with at most 15 lines', () => {
    expect((versions[0] ?? '').trimEnd().split('\n').length).toBeLessThanOrEqual(15);
  });

  describe.each(versions.slice(0, 8).map((text, index) => [index + 1, text] as const))(
    '%i',
    (_step, text) => {
      it.skipIf(lacks('shellcheck'))('is clean to shellcheck', () => {
        const { stdout } = spawnSync('shellcheck', ['-'], { input: text, encoding: 'utf8' });
        expect(stdout).toBe('');
      });

      it.skipIf(lacks('dash'))('is understood by dash', () => {
        expect(spawnSync('dash', ['-n'], { input: text, encoding: 'utf8' }).stderr).toBe('');
      });

      it('deletes recursively in .drafts only', () => {
        for (const [command] of text.matchAll(/\brm -.*/g)) expect(command).toMatch(/^rm -rf "\$draft[/"]/);
      });
    },
  );

  it.skipIf(lacks('patch'))('come out of patch(1) the same', () => {
    const directory = mkdtempSync(join(tmpdir(), 'flexcsi-patch-'));
    const file = join(directory, 'folder');
    writeFileSync(file, versions[1] ?? '', { mode: 0o755 });
    for (const block of blocks) {
      if (block.kind === 'patch') execFileSync('patch', [file], { input: block.text });
    }
    expect(readFileSync(file, 'utf8')).toBe(versions[7]);
    expect(statSync(file).mode & 0o777).toBe(0o755);
    rmSync(directory, { recursive: true });
  });
});

describe.skipIf(lacks('mounts'))('the commands of the page', () => {
  const driver = '/srv/example.com~folder/folder';
  let serving: ChildProcess | undefined;
  let umask = 0;

  beforeAll(() => {
    umask = process.umask(0o022);
    // Of this test alone: `npm test` runs in a mount namespace of its own.
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m,mode=755', 'tmpfs', '/srv']);
  });

  afterAll(async () => {
    if (serving?.pid !== undefined && serving.exitCode === null) {
      const gone = new Promise((resolve) => serving?.once('exit', resolve));
      process.kill(-serving.pid, 'SIGTERM');
      await gone;
    }
    for (const path of mountsBelow('/srv')) execFileSync('umount', ['--lazy', path]);
    // The server's last process may be just ending; the mount namespace goes with the test run.
    execFileSync('umount', ['--lazy', '/srv']);
    process.umask(umask);
  });

  /** `name='value'` lines hold for the rest of the page, as in a terminal. */
  const assignments: string[] = [];

  const type = (command: string): string => {
    if (/^\w+=('[^']*'|\S*)$/.test(command)) assignments.push(command);
    const script = [...assignments, command].join('\n');
    const env = { ...process.env, LC_ALL: 'C' };
    // What hangs is to fail here, not to keep the test from its end.
    const limits = { timeout: 60_000, killSignal: 'SIGKILL' } as const;
    const typed = ['-c', `exec 2>&1\n${script}`];
    return spawnSync('sh', typed, { cwd: root, env, encoding: 'utf8', ...limits }).stdout;
  };

  const serve = async (command: string): Promise<void> => {
    const script = [...assignments, command].join('\n');
    serving = spawn('sh', ['-c', script], { cwd: root, detached: true, stdio: 'ignore' });
    await vi.waitFor(() => expect(existsSync('/srv/csi.sock')).toBe(true), { timeout: 30_000 });
  };

  const follow = async (block: Block, step: number): Promise<void> => {
    if (block.kind !== 'examples') {
      // What is there stays as it is but for its content: the page says chmod once.
      writeFileSync(driver, versions[step] ?? '');
      return;
    }
    for (const { command, output } of block.examples) {
      if (/\bserve --driver/.test(command)) await serve(command);
      else {
        const printed = type(command);
        const place = `${pageFile}, code block at line ${block.line}: ${command}`;
        if (!isAsShown(printed, output)) expect.soft(printed, place).toBe(output);
      }
    }
  };

  it('print what the page says', { timeout: 300_000 }, async () => {
    let step = -1;
    for (const block of blocks) {
      if (block.kind !== 'examples') step += 1;
      await follow(block, step);
    }
    expect(step).toBe(8);
  });
});
