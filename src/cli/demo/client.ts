/** A CSI client: what kubelet and the sidecars are to flexcsi. */
import { credentials, type ServiceError, status } from '@grpc/grpc-js';
import { csi } from '../../csi/proto.ts';

type Service = 'Identity' | 'Controller' | 'Node';
type Callback = (error: ServiceError | null, response: Record<string, unknown>) => void;
type Method = (request: object, callback: Callback) => void;

export class DemoClient {
  readonly #clients;

  constructor(endpoint: string) {
    const channel = credentials.createInsecure();
    this.#clients = {
      Identity: new csi.Identity(endpoint, channel),
      Controller: new csi.Controller(endpoint, channel),
      Node: new csi.Node(endpoint, channel),
    };
  }

  /** Calls an RPC; rejects with the gRPC code and message as text. */
  call(service: Service, rpc: string, request: object): Promise<Record<string, unknown>> {
    const client = this.#clients[service] as unknown as Record<string, Method>;
    return new Promise((resolve, reject) => {
      client[rpc]?.(request, (error, response) => {
        if (error === null) resolve(response);
        else reject(new Error(`${status[error.code]}: ${error.details}`));
      });
    });
  }

  close(): void {
    for (const client of Object.values(this.#clients)) client.close();
  }
}
