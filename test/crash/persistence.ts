/** How long Kubernetes goes on with the calls for one volume, and what it makes of their errors. */
import { loopDevicesBelow, mountsBelow } from '../sanity/leftovers.ts';
import type { Random } from './random.ts';
import { imageOf, type Setting } from './setting.ts';
import { require, Violation } from './violation.ts';

/** Thrown when the pod is deleted while something is still being done for it. */
export class PodGone extends Error {}

/** The resizer and kubelet give an expansion up for good. */
const INFEASIBLE = new Set(['INVALID_ARGUMENT', 'NOT_FOUND', 'OUT_OF_RANGE', 'FAILED_PRECONDITION']);
/** How often a pod is deleted while a call for it meets errors, and after how many of them. */
const GONE = 0.25;
const ERRORS = 6;
const GONE_AFTER_FINAL = 0.5;

export class Persistence {
  readonly #setting: Setting;
  readonly #random: Random;
  readonly #volume: string;

  constructor(setting: Setting, random: Random, volume: string) {
    this.#setting = setting;
    this.#random = random;
    this.#volume = volume;
  }

  /** Repeats a call whatever its error: so do the sidecars, and kubelet when it takes something down. */
  async always<Answer>(rpc: string, send: () => Promise<Answer>): Promise<Answer> {
    return (await this.#setting.calls.until(this.#volume, rpc, send, () => false)) as Answer;
  }

  /** The same, but the pod may be deleted after an error. @throws {PodGone} */
  async unlessGone<Answer>(rpc: string, send: () => Promise<Answer>): Promise<Answer> {
    const answer = await this.#setting.calls.until(this.#volume, rpc, send, this.#patience());
    return answer ?? this.#goes(rpc);
  }

  /**
   * As kubelet stages and publishes at a path. After a final error it takes it that nothing is there: when the pod is
   * then deleted, it makes no call to take down what it holds for never mounted.
   *
   * @param forget is called then.
   * @throws {PodGone}
   */
  async mounting<Answer>(
    rpc: string,
    path: string,
    send: () => Promise<Answer>,
    forget: () => void,
  ): Promise<void> {
    const { calls } = this.#setting;
    const isTooLong = this.#patience();
    const answer = await calls.until(this.#volume, rpc, send, ({ kind, code, message }) => {
      if (kind === 'pending') return isTooLong();
      this.#refuseLeftovers(rpc, path, `${code} ${message}`);
      const isGone = this.#random.chance(GONE_AFTER_FINAL);
      if (isGone) forget();
      return isGone;
    });
    if (answer === undefined) this.#goes(rpc);
  }

  /**
   * As the resizer and kubelet expand; undefined when it is put off.
   *
   * @throws {Violation} after an error that ends an expansion for good.
   */
  async expanding<Answer>(
    rpc: string,
    send: () => Promise<Answer>,
    isPutOff: () => boolean,
  ): Promise<Answer | undefined> {
    return await this.#setting.calls.until(this.#volume, rpc, send, ({ code, message }) => {
      if (INFEASIBLE.has(code)) {
        throw new Violation('an expansion that is possible is not given up', [
          `${this.#volume}: ${rpc}: ${code} ${message}`,
        ]);
      }
      return isPutOff();
    });
  }

  /** Whether the pod is deleted, to be asked after each error of a call. */
  #patience(): () => boolean {
    let left = this.#random.chance(GONE) ? this.#random.whole(1, ERRORS) : Number.POSITIVE_INFINITY;
    return () => {
      left -= 1;
      return left === 0;
    };
  }

  #goes(rpc: string): never {
    this.#setting.history.note(this.#volume, `the pod is deleted, ${rpc} is not repeated`);
    this.#setting.done.abandoned += 1;
    throw new PodGone();
  }

  #refuseLeftovers(rpc: string, path: string, error: string): void {
    const { directory, attachOn } = this.#setting;
    const mounts = mountsBelow(directory).filter((point) => point === path);
    const attachesHere = rpc === 'NodeStageVolume' && attachOn === 'node';
    const image = imageOf(directory, this.#volume);
    const devices = attachesHere ? loopDevicesBelow(directory).filter(({ file }) => file === image) : [];
    require(`after a final error of ${rpc} nothing of it is left`, [
      ...mounts.map((point) => `${point} is mounted, after ${error}`),
      ...devices.map(({ device }) => `${device} is attached to ${this.#volume}, after ${error}`),
    ]);
  }
}
