/** The whole plugin on its socket: any requests, with a driver that does anything. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, credentials, Metadata, status } from '@grpc/grpc-js';
import fc from 'fast-check';
import { pino } from 'pino';
import { parseMountInfo } from '../../../src/mount/mount-table.ts';
import { type Plugin, startPlugin } from '../../support/plugin.ts';
import { formsOf } from '../support/forms.ts';
import { target } from '../target.ts';
import { FuzzDriver, inInit, inPlan, type Plans, verbs } from './driver.ts';
import {
  bytesOf,
  type Method,
  methods,
  type Places,
  type Request,
  requestTo,
  secretsIn,
} from './messages.ts';

/** Calls at once. */
const BATCH = 8;
const DEADLINE_MS = 150_000;

/** The codes that CSI or the driver may have given; UNKNOWN and DATA_LOSS are neither's. */
const codes: readonly number[] = [
  ...[status.OK, status.CANCELLED, status.INVALID_ARGUMENT, status.DEADLINE_EXCEEDED, status.NOT_FOUND],
  ...[status.ALREADY_EXISTS, status.RESOURCE_EXHAUSTED, status.FAILED_PRECONDITION, status.ABORTED],
  ...[status.OUT_OF_RANGE, status.UNIMPLEMENTED, status.INTERNAL, status.UNAVAILABLE],
];

/** What drivers may open and keep for later: FIFOs, connections. */
const MORE_DESCRIPTORS = 80;
/** After so many batches the plugin has opened what it keeps. */
const WARM = 20;

interface Batch {
  readonly plans: Plans;
  readonly init: number | undefined;
  readonly requests: readonly Request[];
}

export const grpc = target<Batch>({
  name: 'grpc',
  what: 'every call gets one answer, legal, on one line, without secrets; nothing is mounted elsewhere; the plugin lives',
  share: 17,
  size: BATCH,
  begin: async () => {
    const world = await World.begin();
    return { of: batches(world.places), holds: (batch) => world.run(batch), end: () => world.end() };
  },
});

/** How often a method is called, compared with others: the ones that do something, more often. */
function weightOf({ path }: Method): number {
  if (path.includes('Group') || path.includes('Health')) return 1;
  if (/\/Node(Un)?(Stage|Publish)Volume$/.test(path)) return 40;
  return /Volume$|Snapshot$|Capacity$/.test(path) ? 15 : 4;
}

function batches(places: Places): fc.Arbitrary<Batch> {
  const request = fc.oneof(
    { withCrossShrink: true },
    ...methods
      // The first is what a failing batch is simplified to.
      .toSorted((a, b) => Number(b.path.endsWith('/Probe')) - Number(a.path.endsWith('/Probe')))
      .map((method) => ({ weight: weightOf(method), arbitrary: requestTo(method, places) })),
  );
  return fc.record(
    {
      plans: fc.record(Object.fromEntries(verbs.map((verb) => [verb, inPlan])), { noNullPrototype: true }),
      init: inInit,
      requests: fc.array(request, { minLength: BATCH, maxLength: BATCH }),
    },
    { noNullPrototype: true },
  );
}

interface Reply {
  readonly code: number;
  readonly details: string;
  readonly bytes?: Buffer | undefined;
}

class World {
  readonly places: Places;
  readonly #driver: FuzzDriver;
  readonly #plugin: Plugin;
  readonly #client: Client;
  readonly #log: string[];
  readonly #mountsBefore: ReadonlySet<number>;
  readonly #stray: unknown[] = [];
  #batches = 0;
  #descriptors = 0;

  private constructor(places: Places, driver: FuzzDriver, plugin: Plugin, log: string[]) {
    this.places = places;
    this.#driver = driver;
    this.#plugin = plugin;
    this.#log = log;
    this.#client = new Client(`unix:${plugin.socket}`, credentials.createInsecure());
    this.#mountsBefore = new Set(mounts().map(({ id }) => id));
    process.on('unhandledRejection', this.#onStray);
    process.on('uncaughtException', this.#onStray);
  }

  readonly #onStray = (error: unknown): void => void this.#stray.push(error);

  static async begin(): Promise<World> {
    const directory = mkdtempSync(join(tmpdir(), 'flexcsi-fuzz-'));
    const places = { kubelet: join(directory, 'kubelet'), outside: join(directory, 'outside') };
    for (const path of [places.kubelet, places.outside]) mkdirSync(path);
    writeFileSync(join(places.outside, 'keep'), 'keep');
    writeFileSync(join(places.kubelet, 'file'), '');
    symlinkSync(places.outside, join(places.kubelet, 'link'));
    const device = join(directory, 'device');
    writeFileSync(device, Buffer.alloc(64 * 1024));
    const driver = new FuzzDriver(directory, device);
    const log: string[] = [];
    const stream = { write: (line: string) => void log.push(line) };
    const plugin = await startPlugin(
      { driver: driver.file, directory, kubeletDir: places.kubelet },
      { log: pino({ level: 'debug', base: null }, stream) },
    );
    return new World(places, driver, plugin, log);
  }

  async run({ plans, init, requests }: Batch): Promise<void> {
    this.#log.length = 0;
    this.#driver.follow(plans, init);
    const replies = await Promise.all(requests.map((request) => this.#call(request.path, bytesOf(request))));
    const secrets = secretsOf(requests);
    replies.forEach((reply, at) => {
      this.#check(requests[at]?.path ?? '', reply);
      refuseSecrets(`the answer of ${requests[at]?.path}`, reply.details, secrets);
    });
    const log = this.#log.join('');
    refuseSecrets('the log', log, secrets);
    const bug = this.#log.find((line) => line.includes('"stack":'));
    assert.equal(bug, undefined, 'something was thrown that is no Failure');
    await this.#survives();
  }

  /** Resolves to the one answer; rejects when there is another. */
  #call(path: string, bytes: Buffer): Promise<Reply> {
    return new Promise((resolve, reject) => {
      let reply: Reply | undefined;
      const call = this.#client.makeUnaryRequest(
        path,
        (value: Buffer) => value,
        (value) => value,
        bytes,
        new Metadata(),
        { deadline: Date.now() + DEADLINE_MS },
        (error, response) => {
          if (reply !== undefined) return reject(new Error(`${path} was answered twice`));
          reply = { code: error?.code ?? status.OK, details: error?.details ?? '', bytes: response };
        },
      );
      call.on('status', () =>
        setImmediate(() => (reply === undefined ? reject(new Error(path)) : resolve(reply))),
      );
    });
  }

  #check(path: string, { code, details, bytes }: Reply): void {
    const what = `${path}: ${status[code]} ${JSON.stringify(details)}`;
    assert.ok(codes.includes(code), what);
    assert.match(details, /^[^\r\n]*$/, what);
    assert.ok(Buffer.byteLength(details) <= 8_192 && details.length <= 2_048, what);
    // These are grpc-js' own words, when nobody answered.
    assert.doesNotMatch(details, /^(Deadline exceeded|Received RST|Connection dropped|No connection)/, what);
    assert.doesNotMatch(details, /^Error serializing response/, what);
    if (code !== status.OK) {
      assert.notEqual(details, '', what);
      return;
    }
    const method = methods.find((one) => one.path === path);
    assert.ok(method !== undefined && bytes !== undefined, what);
    method.response.decode(bytes);
  }

  /** What holds after any calls. */
  async #survives(): Promise<void> {
    assert.deepEqual(this.#stray, []);
    const probe = await this.#call('/csi.v1.Identity/Probe', Buffer.alloc(0));
    assert.equal(probe.code, status.OK, `Probe afterwards: ${probe.details}`);
    const elsewhere = this.#newMounts().filter((point) => !point.startsWith(`${this.places.kubelet}/`));
    assert.deepEqual(elsewhere, [], 'mounted outside of the directory of kubelet');
    assert.deepEqual(
      readdirSync(this.places.outside),
      ['keep'],
      'changed outside of the directory of kubelet',
    );
    this.#batches += 1;
    if (this.#batches % WARM !== 0) return;
    this.#unmountAll();
    const descriptors = readdirSync('/proc/self/fd').length;
    if (this.#batches === WARM) this.#descriptors = descriptors;
    assert.ok(
      descriptors <= this.#descriptors + MORE_DESCRIPTORS,
      `${descriptors} descriptors are open, after ${this.#descriptors} at the beginning`,
    );
  }

  #newMounts(): string[] {
    return mounts().flatMap(({ id, mountPoint }) => (this.#mountsBefore.has(id) ? [] : [mountPoint]));
  }

  /** What drivers have mounted, and nobody has asked to unmount. */
  #unmountAll(): void {
    for (const point of this.#newMounts().reverse()) execFileSync('umount', ['--lazy', '--', point]);
  }

  async end(): Promise<void> {
    process.off('unhandledRejection', this.#onStray);
    process.off('uncaughtException', this.#onStray);
    this.#client.close();
    await this.#plugin.stop();
    this.#unmountAll();
    if (existsSync(this.#plugin.socket)) throw new Error('the socket is left behind');
  }
}

/** The secrets that are nowhere but in fields for secrets: in a spoiled request they may be anywhere. */
function secretsOf(requests: readonly Request[]): string[] {
  const spoiled = requests.filter(({ spoils }) => spoils.length > 0).map(bytesOf);
  const secrets = requests.flatMap(({ message, spoils }) => (spoils.length > 0 ? [] : secretsIn(message)));
  return [...new Set(secrets)].filter((one) => !spoiled.some((bytes) => bytes.includes(one)));
}

function mounts() {
  return parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8'));
}

function refuseSecrets(where: string, text: string, secrets: readonly string[]): void {
  for (const secret of secrets) {
    const form = formsOf(secret).find((one) => text.includes(one));
    if (form === undefined) continue;
    const at = text.indexOf(form);
    assert.fail(`${where} holds ${JSON.stringify(form)}: …${text.slice(Math.max(0, at - 300), at + 100)}`);
  }
}
