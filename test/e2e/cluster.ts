/** A Kubernetes cluster, by kubectl: whoever has a cluster has that, with the right to use it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout } from 'node:timers/promises';

export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly [key: string]: unknown };
  readonly [key: string]: unknown;
}

/** What everything that a run makes is labelled with. */
export const LABEL = 'flexcsi-e2e';
const PATIENCE_MS = 180_000;

export class Cluster {
  readonly #kubectl: string;

  constructor(kubectl = 'kubectl') {
    this.#kubectl = kubectl;
  }

  /** @throws {Error} with what kubectl says when it fails. */
  async kubectl(args: readonly string[], stdin = ''): Promise<string> {
    const child = spawn(this.#kubectl, [...args], { stdio: ['pipe', 'pipe', 'pipe'] });
    let output = '';
    let problem = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk;
    });
    child.stderr.on('data', (chunk: Buffer) => {
      problem += chunk;
    });
    child.stdin.end(stdin);
    const [code] = await once(child, 'close');
    if (code === 0) return output;
    throw new Error(`kubectl ${args.slice(0, 4).join(' ')}: ${problem.trim() || `exit code ${code}`}`);
  }

  async apply(...objects: readonly KubeObject[]): Promise<void> {
    const list = { apiVersion: 'v1', kind: 'List', items: objects };
    await this.kubectl(['apply', '-f', '-'], JSON.stringify(list));
  }

  /** One field by JSONPath; empty when the object or the field is not there. */
  async field(kind: string, name: string, path: string): Promise<string> {
    try {
      return await this.kubectl(['get', kind, name, '-o', `jsonpath={${path}}`]);
    } catch (error) {
      if (String(error).includes('NotFound')) return '';
      throw error;
    }
  }

  /** Waits for it to be gone. */
  async delete(kind: string, ...names: readonly string[]): Promise<void> {
    await this.kubectl(['delete', kind, ...names, '--ignore-not-found', '--timeout=180s']);
  }

  /** Runs a shell command in a pod. */
  async sh(pod: string, command: string): Promise<string> {
    return await this.kubectl(['exec', pod, '--', 'sh', '-c', command]);
  }

  /**
   * Waits until a field is as wanted.
   *
   * @throws {Error} naming the object's events when that takes longer than three minutes.
   */
  async until(kind: string, name: string, path: string, wanted: string | RegExp): Promise<string> {
    const fits = (value: string) => (typeof wanted === 'string' ? value === wanted : wanted.test(value));
    let value = '';
    for (const start = Date.now(); Date.now() < start + PATIENCE_MS; await setTimeout(250)) {
      value = await this.field(kind, name, path);
      if (fits(value)) return value;
    }
    const events = await this.kubectl(['describe', kind, name]).catch(String);
    throw new Error(
      `${kind} ${name}: ${path} is "${value}", not ${wanted}\n${events.split('\n').slice(-15).join('\n')}`,
    );
  }

  /** Waits until kubelet lets commands into a pod: one that has just started does not know its pods yet. */
  async answers(pod: string): Promise<void> {
    for (const start = Date.now(); ; await setTimeout(500)) {
      try {
        await this.sh(pod, 'true');
        return;
      } catch (error) {
        if (Date.now() > start + PATIENCE_MS) throw error;
      }
    }
  }

  /** Waits for a pod to run. @throws {Error} as `until`. */
  async running(pod: string): Promise<void> {
    await this.until('pod', pod, '.status.phase', 'Running');
  }
}
