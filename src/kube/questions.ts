/** Questions to the API server, and what becomes of them: what is wrong is said once, not at every call. */
import type { ZodType } from 'zod';
import type { Logger } from '../log.ts';
import { ApiError, type ApiServer } from './api-server.ts';

/** What is asked, in the words of RBAC. */
export type Question = 'get persistentvolumes' | 'list persistentvolumes' | 'get persistentvolumeclaims';

export class Questions {
  readonly #api: ApiServer;
  readonly #pauseMs: number;
  readonly #log: Logger;
  /** By question (or another subject) the reason of the last warning. */
  readonly #told = new Map<string, string>();
  #pausedUntil = 0;

  /** @param pauseMs for how long an API server that did not answer is left alone, milliseconds. */
  constructor(api: ApiServer, pauseMs: number, log: Logger) {
    this.#api = api;
    this.#pauseMs = pauseMs;
    this.#log = log;
  }

  /** Whether the API server has just not answered: calls must not wait for it one after the other. */
  get isPaused(): boolean {
    return Date.now() < this.#pausedUntil;
  }

  /**
   * What is at the path; undefined when nothing is.
   *
   * @throws {ApiError} that is in the log.
   */
  async ask<Content>(
    question: Question,
    path: string,
    schema: ZodType<Content>,
  ): Promise<Content | undefined> {
    try {
      const answer = await this.#api.get(path, schema);
      if (this.#told.delete(question)) this.#log.info(`the Kubernetes API: can ${question} again`);
      return answer;
    } catch (error) {
      if (error instanceof ApiError) {
        const text = `the Kubernetes API: cannot ${question}: ${advice(error)}`;
        this.warnOnce(question, error.reason, { problem: error.message }, text);
        if (error.status === undefined) this.#pausedUntil = Date.now() + this.#pauseMs;
      }
      throw error;
    }
  }

  /** Warns, unless the last warning on the subject had the same reason. */
  warnOnce(subject: string, reason: string, fields: Readonly<Record<string, unknown>>, text: string): void {
    if (this.#told.get(subject) === reason) return;
    this.#told.set(subject, reason);
    this.#log.warn(fields, text);
  }
}

function advice({ status }: ApiError): string {
  if (status === 403) {
    return 'the ClusterRole of flexcsi must allow get and list of persistentvolumes, and get of persistentvolumeclaims';
  }
  if (status === 401) return 'the token or certificate is not accepted';
  return 'only what is on record here, and what the driver says, is known of volumes meanwhile';
}
