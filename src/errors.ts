/**
 * What can go wrong below `csi/`, as kinds. The gRPC code of each kind is chosen per RPC in
 * `csi/status.ts`, nowhere else.
 */
export type FailureKind =
  /** A field of the request cannot be used. The message names the field. */
  | 'invalid-request'
  /** Nothing is at that path, or the volume is not there. */
  | 'not-found'
  /** The volume is already staged or published there in an incompatible way. */
  | 'incompatible'
  /** The request is good, but the present state of the volume or node forbids it. */
  | 'precondition'
  /** Another call on the same volume is running. */
  | 'conflict'
  /** A page of a list was asked for with a token that is none of ours. */
  | 'bad-token'
  /** The node has as many volumes as it can. */
  | 'node-full'
  /** The driver (by its `init` answer) does not do this. */
  | 'unsupported'
  /** The driver ran and failed, or its answer could not be used. */
  | 'driver-failed'
  /** The driver ran, but not even whether it succeeded can be told: it says Success and fails, or says nothing. */
  | 'driver-unclear'
  /** The driver could not be started, or its `init` fails. */
  | 'driver-unusable'
  /** The driver was ended after its time limit: what it did is not known. */
  | 'driver-timeout'
  /** A program of the host (mount, blkid, …) failed. */
  | 'host-failed'
  /** A program of the host did not end in time, as on a hung mount. */
  | 'host-timeout'
  /** Something is still mounted, or a directory is not empty, after an unmount. */
  | 'busy'
  /** Nobody told flexcsi the options or size that an expansion needs. */
  | 'expand-unknown'
  /** A call failed, and what it had mounted could not be taken back. */
  | 'undo-failed'
  /** More calls at once than flexcsi takes. */
  | 'overloaded'
  /** flexcsi is ending: it takes no new calls. */
  | 'draining';

/** An error that users see. The message is one line, without secrets, and says what to do where that is known. */
export class Failure extends Error {
  override readonly name = 'Failure';
  readonly kind: FailureKind;
  /** The name of the gRPC code that the driver, or its configuration, gave this failure. It wins over `kind`. */
  readonly code: string | undefined;

  constructor(kind: FailureKind, message: string, options: ErrorOptions & { readonly code?: string } = {}) {
    super(message, options);
    this.kind = kind;
    this.code = options.code;
  }
}

/** Whether the driver says that what it was asked about is not there. */
export function saysNotFound(error: unknown): boolean {
  return error instanceof Failure && error.code === 'NOT_FOUND';
}

/** The text of anything that was thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The errno name (`ENOENT`, …) of an error of the operating system. */
export function errorCode(error: unknown): string | undefined {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return undefined;
}

/**
 * Takes back a part of what has been done before `cause` happened.
 *
 * @throws {Failure} `undo-failed`, with both reasons, when that fails too: the state is then not what the
 * first error alone would say.
 */
export async function undo(cause: unknown, what: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    throw new Failure('undo-failed', `${errorMessage(cause)}; then ${what}: ${errorMessage(error)}`, {
      cause,
    });
  }
}
