/**
 * The one wrapper around every RPC: counts calls for the drain, masks secrets, makes exactly one answer of
 * whatever happens (grpc-js never answers for a handler that throws after an await), and logs it.
 */
import { type handleUnaryCall, type ServerErrorResponse, type StatusObject, status } from '@grpc/grpc-js';
import { errorMessage, Failure } from '../errors.ts';
import type { Logger } from '../log.ts';
import { createMask, type Mask } from '../secrets.ts';
import { secretValues, stripSecrets } from './proto.ts';
import { codeOf, type Rpc, statusMessage } from './status.ts';

/** What a handler knows of its call besides the request. */
export interface CallContext {
  /** Masks the secrets of this request. */
  readonly mask: Mask;
  /** Fires when the client has cancelled or its deadline has passed. */
  readonly cancelled: AbortSignal;
}

/** Calls at once. Each waits for its volume and holds its request, at most 4 MiB. */
const MOST_CALLS = 1_000;

/** Lets calls in until the drain begins, and knows when the last one has left. */
export class Gate {
  #open = true;
  #inside = 0;
  #left: () => void = () => {};

  /**
   * Answers what to call at the end of the call.
   *
   * @throws {Failure} `draining` once closed, `overloaded` when too many are inside.
   */
  enter(): () => void {
    if (!this.#open) throw new Failure('draining', 'flexcsi is shutting down: it takes no new calls');
    if (this.#inside >= MOST_CALLS) {
      throw new Failure(
        'overloaded',
        `flexcsi is serving ${MOST_CALLS} calls at once, and takes no more; try again later`,
      );
    }
    this.#inside += 1;
    return () => {
      this.#inside -= 1;
      if (this.#inside === 0) this.#left();
    };
  }

  get isBusy(): boolean {
    return this.#inside > 0;
  }

  /** Lets nobody in any more; resolves when all who are inside have left. */
  async close(): Promise<void> {
    this.#open = false;
    if (this.#inside === 0) return;
    await new Promise<void>((resolve) => {
      this.#left = resolve;
    });
  }
}

/** Asked often and of little interest: logged at debug when they succeed. */
const quiet: ReadonlySet<Rpc> = new Set([
  'Probe',
  'GetPluginInfo',
  'GetPluginCapabilities',
  'ControllerGetCapabilities',
  'NodeGetCapabilities',
  'NodeGetInfo',
  'NodeGetVolumeStats',
]);

/** For what is done also while the driver's `init` fails. @throws any other error. */
export function unlessUnusable(error: unknown): void {
  if (!(error instanceof Failure) || error.kind !== 'driver-unusable') throw error;
}

/** Makes a gRPC handler of a function that answers or throws. */
export function unary<Request extends object, Response>(
  rpc: Rpc,
  { gate, log }: { readonly gate: Gate; readonly log: Logger },
  handle: (request: Request, context: CallContext) => Promise<Response>,
): handleUnaryCall<Request, Response> {
  const message = `csi.v1.${rpc}Request`;
  return (call, callback) => {
    const started = performance.now();
    const cancelled = new AbortController();
    call.on('cancelled', () => cancelled.abort());
    let mask: Mask = hideAll;
    let about: Record<string, unknown> = { rpc };

    const work = async (): Promise<Response> => {
      const { request } = call;
      mask = createMask([...secretValues(message, request), ...tokensOf(request)]);
      about = { rpc, ...aboutOf(request) };
      const leave = gate.enter();
      try {
        if (log.isLevelEnabled('debug')) {
          log.debug({ rpc, request: mask(JSON.stringify(stripSecrets(message, request))) }, 'called');
        }
        return await handle(request, { mask, cancelled: cancelled.signal });
      } finally {
        leave();
      }
    };
    const failed = (error: unknown): ServerErrorResponse | Partial<StatusObject> => {
      try {
        const code = codeOf(rpc, error);
        const details = statusMessage(mask(errorMessage(error)));
        const bug = error instanceof Failure ? {} : { stack: mask(String((error as Error | null)?.stack)) };
        log.warn(
          { ...about, durationMs: since(started), code: status[code], problem: details, ...bug },
          'failed',
        );
        return { code, details };
      } catch {
        // Whatever goes wrong in telling what went wrong: the client gets an answer, and no secret.
        return { code: status.INTERNAL, details: `${rpc} failed, and so did the report of it` };
      }
    };
    work().then(
      (response) => {
        log[quiet.has(rpc) ? 'debug' : 'info']({ ...about, durationMs: since(started) }, 'done');
        callback(null, response);
      },
      (error: unknown) => callback(failed(error)),
    );
  };
}

/** Until the secrets of a request are known. */
const hideAll: Mask = () => 'the request could not be read';

function since(started: number): number {
  return Math.round(performance.now() - started);
}

/** Tokens of the pod's service account, where the CSIDriver asks for them: secrets, though CSI does not mark them. */
function tokensOf(request: object): string[] {
  const context = (request as { volume_context?: Record<string, string> }).volume_context;
  const tokens = context?.['csi.storage.k8s.io/serviceAccount.tokens'];
  return tokens === undefined ? [] : [tokens, ...tokens.split('"').filter((part) => part.length > 20)];
}

/** What tells in a log line which call it was: ids and paths, no options. */
function aboutOf(request: object): Record<string, unknown> {
  const fields = [
    'name',
    'volume_id',
    'snapshot_id',
    'source_volume_id',
    'node_id',
    'staging_target_path',
    'target_path',
    'volume_path',
  ];
  return Object.fromEntries(
    Object.entries(request).filter(([name, value]) => fields.includes(name) && value !== ''),
  );
}
