/** Reads objects from the Kubernetes API: three kinds of GET are all that is needed of it. */
import { once } from 'node:events';
import { request as plainRequest } from 'node:http';
import { request as tlsRequest } from 'node:https';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { errorCode, errorMessage } from '../errors.ts';
import { connectionTo } from './connection.ts';
import type { ClusterPlace, Connection } from './place.ts';

/** Why the API server did not give what it was asked for. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  /** In short, the same for the same cause. */
  readonly reason: string;
  /** Of HTTP; undefined when there was no answer. */
  readonly status: number | undefined;

  constructor(message: string, reason: string, status?: number, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
    this.status = status;
  }
}

/** The answer where something went wrong. */
const statusSchema = z.object({
  kind: z.literal('Status'),
  message: z.string().optional(),
  reason: z.string().optional(),
});

export class ApiServer {
  readonly #place: ClusterPlace;
  readonly #timeoutMs: number;

  /** @param timeoutMs how long one request may take, milliseconds. */
  constructor(place: ClusterPlace, timeoutMs: number) {
    this.#place = place;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * The object at the path, which begins with `/api`. Undefined when the API server says that it is not there.
   *
   * @throws {ApiError}
   */
  async get<Content>(path: string, schema: z.ZodType<Content>): Promise<Content | undefined> {
    const { status, body } = await this.#ask(path);
    const answer = jsonOf(body);
    if (status !== 200) {
      const said = statusSchema.safeParse(answer).data;
      // A 404 of something that is no API server says nothing.
      if (status === 404 && said?.reason === 'NotFound') return undefined;
      throw new ApiError(said?.message ?? `HTTP status ${status} for ${path}`, `status ${status}`, status);
    }
    const read = schema.safeParse(answer);
    if (read.success) return read.data;
    const { path: place = [], message = '' } = read.error.issues[0] ?? {};
    const problem = `the answer for ${path} is not what was asked for (${[...place, message].join(': ')})`;
    throw new ApiError(problem, 'no such object', status);
  }

  /** @throws {ApiError} when there is no answer. */
  async #ask(path: string): Promise<{ readonly status: number; readonly body: string }> {
    const signal = AbortSignal.timeout(this.#timeoutMs);
    try {
      return await exchange(await connectionTo(this.#place), path, signal);
    } catch (error) {
      if (signal.aborted)
        throw new ApiError(`no answer within ${this.#timeoutMs} ms`, 'timeout', undefined, { cause: error });
      // Where a name has several addresses, the message is empty.
      const problem = errorMessage(error) || String(errorCode(error));
      throw new ApiError(problem, errorCode(error) ?? problem, undefined, { cause: error });
    }
  }
}

async function exchange(
  { server, tls, token }: Connection,
  path: string,
  signal: AbortSignal,
): Promise<{ readonly status: number; readonly body: string }> {
  // The server's URL may have a path of its own, as behind a management proxy.
  const url = new URL(server.pathname.replace(/\/$/, '') + path, server);
  const request = url.protocol === 'https:' ? tlsRequest : plainRequest;
  const call = request(url, {
    // A connection for each request: they are rare, and certificates change.
    agent: false,
    ...tls,
    signal,
    headers: {
      accept: 'application/json',
      'user-agent': 'flexcsi',
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
  });
  // Errors after the response has begun reach whoever reads that, too.
  call.on('error', () => {});
  call.end();
  const [response] = (await once(call, 'response', { signal })) as [
    Readable & { readonly statusCode: number },
  ];
  return { status: response.statusCode, body: await text(response) };
}

function jsonOf(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}
