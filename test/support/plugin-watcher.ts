/**
 * A client that behaves like kubelet's plugin watcher: it sees sockets come and go in its directory, asks each new
 * one what it is, looks at the driver (NodeGetInfo) and tells the result. It never comes back to a socket.
 */
import { type FSWatcher, lstatSync, readdirSync, watch } from 'node:fs';
import { join } from 'node:path';
import { credentials, loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { messageOptions } from '../../src/grpc/messages.ts';
import type { PluginInfo__Output } from '../../src/kube/generated/pluginregistration/PluginInfo.ts';
import type { ProtoGrpcType } from '../../src/kube/generated/pluginregistration.ts';
import { CsiClient } from './csi-client.ts';

const proto = join(import.meta.dirname, '../../proto/pluginregistration.proto');
const { Registration } = (loadPackageDefinition(loadSync(proto, messageOptions)) as unknown as ProtoGrpcType)
  .pluginregistration;

export interface Registered extends PluginInfo__Output {
  /** The answer of NodeGetInfo. */
  readonly nodeId: string;
}

export class PluginWatcher {
  /** By CSI name. */
  readonly registered = new Map<string, Registered>();
  /** What was told to whom: `name: registered`, `name: removed`, `name: <problem>`. */
  readonly events: string[] = [];
  /** Refuses a driver by throwing. */
  check: (info: PluginInfo__Output) => void = () => {};
  readonly #directory: string;
  readonly #watcher: FSWatcher;
  /** Sockets that have been asked, with what tells them from later ones of the same name. */
  readonly #seen = new Map<string, { readonly identity: string; name?: string }>();
  #running: Promise<void> = Promise.resolve();

  constructor(directory: string) {
    this.#directory = directory;
    this.#watcher = watch(directory, () => this.#look());
    this.#look();
  }

  async close(): Promise<void> {
    this.#watcher.close();
    await this.#running;
  }

  #look(): void {
    this.#running = this.#running.then(async () => {
      const present = new Map(readdirSync(this.#directory).flatMap((name) => this.#identify(name)));
      for (const [path, { identity, name }] of this.#seen) {
        if (present.get(path) === identity) continue;
        this.#seen.delete(path);
        if (name !== undefined && this.registered.delete(name)) this.events.push(`${name}: removed`);
      }
      for (const [path, identity] of present) if (!this.#seen.has(path)) await this.#ask(path, identity);
    });
  }

  #identify(name: string): [path: string, identity: string][] {
    const path = join(this.#directory, name);
    try {
      const { ino, ctimeMs } = lstatSync(path);
      return name.startsWith('.') || !lstatSync(path).isSocket() ? [] : [[path, `${ino} ${ctimeMs}`]];
    } catch {
      return [];
    }
  }

  async #ask(path: string, identity: string): Promise<void> {
    const seen: { identity: string; name?: string } = { identity };
    this.#seen.set(path, seen);
    const client = new Registration(`unix://${path}`, credentials.createInsecure());
    try {
      const info = await new Promise<PluginInfo__Output>((resolve, reject) =>
        client.GetInfo({}, (error, answer) => (answer ? resolve(answer) : reject(error))),
      );
      let error = '';
      try {
        this.check(info);
        const csi = new CsiClient(info.endpoint);
        const { node_id: nodeId } = await csi.node('NodeGetInfo', {}).finally(() => csi.close());
        this.registered.set(info.name, { ...info, nodeId });
        seen.name = info.name;
      } catch (problem) {
        error = problem instanceof Error ? problem.message : String(problem);
      }
      this.events.push(`${info.name}: ${error || 'registered'}`);
      await new Promise<void>((resolve) =>
        client.NotifyRegistrationStatus({ plugin_registered: error === '', error }, () => resolve()),
      );
    } catch (error) {
      this.events.push(`${path}: ${error}`);
    } finally {
      client.close();
    }
  }
}
