/** A FUSE mount whose server takes every request and answers none, and then dies. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const program = join(import.meta.dirname, '../../mount/support/fuse-server.ts');

export interface HungServer {
  /** From now on the mount is dead, and whoever waited for it wakes. */
  die(): Promise<void>;
}

/** Mounts it at a directory that is there. Whoever touches the directory now sleeps until the server dies. */
export async function hangAt(directory: string): Promise<HungServer> {
  const server = spawn(process.execPath, [program, directory], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(server, 'exit');
  const ready = once(server.stdout, 'data').then(() => 'ready');
  const first = await Promise.race([ready, exited.then(() => 'ended')]);
  if (first !== 'ready') throw new Error(`no FUSE mount could be made at ${directory}`);
  return {
    die: async () => {
      server.kill('SIGKILL');
      await exited;
    },
  };
}
