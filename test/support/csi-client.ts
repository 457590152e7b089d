/** A CSI client for tests: promises instead of callbacks, typed by the generated definitions. */
import { Client, credentials, Metadata, type MethodDefinition } from '@grpc/grpc-js';
import type { ControllerDefinition } from '../../src/csi/generated/csi/v1/Controller.ts';
import type { IdentityDefinition } from '../../src/csi/generated/csi/v1/Identity.ts';
import type { NodeDefinition } from '../../src/csi/generated/csi/v1/Node.ts';
import { csi } from '../../src/csi/proto.ts';

/** The RPCs of a service: the named ones, without the index signature that the definitions have as well. */
type RpcOf<Service> = keyof {
  [Name in keyof Service as string extends Name ? never : number extends Name ? never : Name]: true;
} &
  string;

// biome-ignore format: one line each
type RequestOf<Method> = Method extends { requestSerialize: (value: infer Request) => Buffer } ? Request : never;
// biome-ignore format: one line each
type ResponseOf<Method> = Method extends { responseDeserialize: (bytes: Buffer) => infer Response } ? Response : never;

export interface CallOptions {
  /** 30 s when left out. */
  readonly deadlineMs?: number;
  /** Cancels the call. */
  readonly signal?: AbortSignal;
}

/** `await client.node('NodePublishVolume', {…})` resolves to the response, or rejects with grpc-js' `ServiceError`. */
export class CsiClient {
  readonly #client: Client;

  /** @param socket the path of the plugin's socket. */
  constructor(socket: string) {
    this.#client = new Client(`unix:${socket}`, credentials.createInsecure(), {
      // Tests stop a plugin and start it again: do not wait for long before the next attempt to connect.
      'grpc.initial_reconnect_backoff_ms': 50,
      'grpc.max_reconnect_backoff_ms': 200,
    });
  }

  identity<Name extends RpcOf<IdentityDefinition>>(
    rpc: Name,
    request: RequestOf<IdentityDefinition[Name]>,
    options: CallOptions = {},
  ): Promise<ResponseOf<IdentityDefinition[Name]>> {
    return this.#call(csi.Identity.service[rpc], request, options);
  }

  controller<Name extends RpcOf<ControllerDefinition>>(
    rpc: Name,
    request: RequestOf<ControllerDefinition[Name]>,
    options: CallOptions = {},
  ): Promise<ResponseOf<ControllerDefinition[Name]>> {
    return this.#call(csi.Controller.service[rpc], request, options);
  }

  node<Name extends RpcOf<NodeDefinition>>(
    rpc: Name,
    request: RequestOf<NodeDefinition[Name]>,
    options: CallOptions = {},
  ): Promise<ResponseOf<NodeDefinition[Name]>> {
    return this.#call(csi.Node.service[rpc], request, options);
  }

  close(): void {
    this.#client.close();
  }

  #call<Request, Response>(
    method: unknown,
    request: Request,
    { deadlineMs = 30_000, signal }: CallOptions,
  ): Promise<Response> {
    const { path, requestSerialize, responseDeserialize } = method as MethodDefinition<Request, Response>;
    return new Promise((resolve, reject) => {
      const call = this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        new Metadata(),
        { deadline: Date.now() + deadlineMs },
        (error, response) => (error === null ? resolve(response as Response) : reject(error)),
      );
      signal?.addEventListener('abort', () => call.cancel(), { once: true });
    });
  }
}
