/**
 * The one wrapper around every RPC: counts calls for the drain, masks secrets, makes exactly one answer of
 * whatever happens (grpc-js never answers for a handler that throws after an await), and logs it.
 */
import { type handleUnaryCall, status } from '@grpc/grpc-js';
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

/** Lets calls in until the drain begins. */
export class Gate {
  #open = true;

  /** @throws {Failure} `draining` once closed. */
  enter(): void {
    if (!this.#open) throw new Failure('draining', 'flexcsi is shutting down: it takes no new calls');
  }

  close(): void {
    this.#open = false;
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

/** Makes a gRPC handler of a function that answers or throws. */
export function unary<Request extends object, Response>(
  rpc: Rpc,
  { gate, log }: { readonly gate: Gate; readonly log: Logger },
  handle: (request: Request, context: CallContext) => Promise<Response>,
): handleUnaryCall<Request, Response> {
  const message = `csi.v1.${rpc}Request`;
  return (call, callback) => {
    const { request } = call;
    const started = performance.now();
    const mask = createMask(secretValues(message, request));
    const cancelled = new AbortController();
    call.on('cancelled', () => cancelled.abort());
    const about = aboutOf(request);
    if (log.isLevelEnabled('debug')) log.debug({ rpc, request: stripSecrets(message, request) }, 'called');

    const work = async (): Promise<Response> => {
      gate.enter();
      return await handle(request, { mask, cancelled: cancelled.signal });
    };
    work().then(
      (response) => {
        const durationMs = Math.round(performance.now() - started);
        log[quiet.has(rpc) ? 'debug' : 'info']({ rpc, ...about, durationMs }, 'done');
        callback(null, response);
      },
      (error: unknown) => {
        const durationMs = Math.round(performance.now() - started);
        const code = codeOf(rpc, error);
        const details = mask(statusMessage(error));
        const bug = error instanceof Failure ? {} : { stack: mask(String((error as Error | null)?.stack)) };
        log.warn(
          { rpc, ...about, durationMs, code: status[code], problem: mask(errorMessage(error)), ...bug },
          'failed',
        );
        callback({ code, details });
      },
    );
  };
}

/** What tells in a log line which call it was: ids and paths, no options. */
function aboutOf(request: object): Record<string, unknown> {
  const fields = ['volume_id', 'node_id', 'staging_target_path', 'target_path', 'volume_path'];
  return Object.fromEntries(
    Object.entries(request).filter(([name, value]) => fields.includes(name) && value !== ''),
  );
}
