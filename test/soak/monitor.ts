/** Watches the server while it works: samples every second, a Probe five times a second, gathered into windows. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CsiClient } from '../support/csi-client.ts';
import type { Calls } from './calls.ts';
import type { Inspector } from './inspector.ts';
import type { Places } from './places.ts';
import type { Problems } from './problems.ts';
import { type Sample, takeSample } from './sample.ts';
import { percentile } from './trend.ts';

export const PROBE = 'Probe is answered within 10 s';
export const ZOMBIES = 'every child is waited for';

const PROBE_LIMIT_MS = 10_000;
const PROBE_EVERY_MS = 200;
const SAMPLE_EVERY_MS = 1_000;
/** A child may have ended just now, and the kernel tells it later on a busy machine. */
const ZOMBIE_SAMPLES = 20;

export interface Window {
  /** Seconds since the start, at the window's end. */
  readonly until: number;
  readonly callsPerSecond: number;
  /** The least resident memory, bytes. */
  readonly rss: number;
  /** Bytes in use after a collection. */
  readonly heap: number;
  readonly samples: readonly Sample[];
  /** Milliseconds. */
  readonly probeP50: number;
  readonly probeP99: number;
}

export class Monitor {
  readonly windows: Window[] = [];
  readonly #pid: number;
  readonly #places: Places;
  readonly #calls: Calls;
  readonly #inspector: Inspector;
  readonly #problems: Problems;
  readonly #start = performance.now();
  readonly #zombies = new Map<number, number>();
  #samples: Sample[] = [];
  #probes: number[] = [];
  #last: { at: number; count: number };
  #ended = false;

  constructor(pid: number, places: Places, calls: Calls, inspector: Inspector, problems: Problems) {
    this.#pid = pid;
    this.#places = places;
    this.#calls = calls;
    this.#inspector = inspector;
    this.#problems = problems;
    this.#last = { at: this.#start, count: calls.count };
    problems.expect(PROBE, ZOMBIES);
  }

  /** Seconds since its start. */
  get seconds(): number {
    return (performance.now() - this.#start) / 1000;
  }

  end(): void {
    this.#ended = true;
  }

  /** The last sample, if there is one. */
  get now(): Sample | undefined {
    return this.#samples.at(-1) ?? this.windows.at(-1)?.samples.at(-1);
  }

  /** Samples until the end. @throws when the server is gone. */
  async sample(): Promise<void> {
    while (!this.#ended) {
      const sample = takeSample(this.#pid, this.#places);
      this.#samples.push(sample);
      this.#countZombies(sample.zombies);
      await sleep(SAMPLE_EVERY_MS);
    }
  }

  /** Probes until the end. */
  async probe(): Promise<void> {
    const client = new CsiClient(this.#places.socket);
    while (!this.#ended) {
      const start = performance.now();
      try {
        await client.identity('Probe', {}, { deadlineMs: PROBE_LIMIT_MS });
      } catch (error) {
        if (!this.#ended) this.#problems.add(PROBE, `${Math.round(this.seconds)} s: ${String(error)}`);
      }
      this.#probes.push(performance.now() - start);
      await sleep(PROBE_EVERY_MS);
    }
    client.close();
  }

  /** Ends a window. */
  async cut(): Promise<void> {
    const at = performance.now();
    const { count } = this.#calls;
    const samples = this.#samples.splice(0);
    const probes = this.#probes.splice(0);
    const callsPerSecond = ((count - this.#last.count) * 1000) / (at - this.#last.at);
    this.#last = { at, count };
    this.windows.push({
      until: (at - this.#start) / 1000,
      callsPerSecond,
      rss: Math.min(...samples.map(({ rss }) => rss)),
      heap: await this.#inspector.memoryInUse(),
      samples,
      probeP50: percentile(probes, 0.5),
      probeP99: percentile(probes, 0.99),
    });
  }

  #countZombies(zombies: readonly number[]): void {
    for (const pid of this.#zombies.keys()) if (!zombies.includes(pid)) this.#zombies.delete(pid);
    for (const pid of zombies) {
      const seen = (this.#zombies.get(pid) ?? 0) + 1;
      this.#zombies.set(pid, seen);
      if (seen === ZOMBIE_SAMPLES) this.#problems.add(ZOMBIES, `${Math.round(this.seconds)} s: pid ${pid}`);
    }
  }
}
