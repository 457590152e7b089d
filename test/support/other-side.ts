/** A second mount and process namespace that stands for the host of a container. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

export class OtherSide {
  /** The id, as this side sees it, of the init of the other side. */
  readonly pid: number;
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess, pid: number) {
    this.#process = process;
    this.pid = pid;
  }

  /** `setup` is a script that prepares it: what it mounts is seen there only. */
  static async start(setup: string, ...args: string[]): Promise<OtherSide> {
    const script = `${setup}\necho ready; exec sleep 100000`;
    const namespaces = [
      '--mount',
      '--propagation',
      'private',
      '--pid',
      '--fork',
      '--kill-child',
      '--mount-proc',
    ];
    const process = spawn('unshare', [...namespaces, 'sh', '-ec', script, 'sh', ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(process, 'exit').then(() => 'it ended');
    const first = await Promise.race([once(process.stdout, 'data').then(String), ended]);
    if (!first.includes('ready')) throw new Error(`the other side could not be made: ${first}`);
    const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8');
    return new OtherSide(process, Number(children.trim()));
  }

  /** Runs a script there. */
  sh(script: string, ...args: string[]): string {
    const enter = ['--target', String(this.pid), '--mount', '--pid', 'sh', '-ec', script, 'sh', ...args];
    return execFileSync('nsenter', enter, { encoding: 'utf8' });
  }

  async end(): Promise<void> {
    const exited = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await exited;
  }
}
