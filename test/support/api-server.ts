/**
 * A stand-in for the Kubernetes API server, over real HTTP or HTTPS: it serves the PersistentVolumes and claims that a
 * test puts into it, page by page, with the answers of the real one (tried with 1.35) for what is missing, forbidden
 * or not signed in.
 */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer as createPlainServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import { TLSSocket } from 'node:tls';

/** What goes wrong with a request: an answer with this status, one that is no JSON, none at all, or a broken one. */
export type Fault = number | 'nonsense' | 'silence' | 'cut short';

export interface SeenRequest {
  /** With the query. */
  readonly path: string;
  readonly token: string | undefined;
  /** The subject's common name in the client's certificate. */
  readonly certificate: string | undefined;
}

export class ApiServerStandIn {
  /** By name. */
  readonly volumes = new Map<string, object>();
  /** By namespace and name, with a slash between them. */
  readonly claims = new Map<string, object>();
  readonly requests: SeenRequest[] = [];
  /** Undefined: everybody is let in. */
  token: string | undefined;
  /** At most so many items on a page, whatever is asked for. */
  largestPage = 500;
  fault: (path: string) => Fault | undefined = () => undefined;
  /** Answers wait for it. */
  gate: Promise<unknown> = Promise.resolve();
  readonly #server: ReturnType<typeof createPlainServer>;
  readonly #scheme: string;

  private constructor(tls: ServerOptions | undefined) {
    const answer = (request: IncomingMessage, response: ServerResponse): void => {
      void this.gate.then(() => this.#answer(request, response));
    };
    this.#server = tls === undefined ? createPlainServer(answer) : createTlsServer(tls, answer);
    this.#scheme = tls === undefined ? 'http' : 'https';
  }

  static async start(tls?: ServerOptions): Promise<ApiServerStandIn> {
    const standIn = new ApiServerStandIn(tls);
    standIn.#server.listen(0, '127.0.0.1');
    await once(standIn.#server, 'listening');
    return standIn;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `${this.#scheme}://127.0.0.1:${this.port}`;
  }

  /** The paths asked for since the last call, in order. */
  paths(): string[] {
    return this.requests.splice(0).map(({ path }) => path);
  }

  /** Writes a kubeconfig for this server. `cluster` and `user` are added to its entries. */
  writeKubeconfig(file: string, entries: { cluster?: object; user?: object } = {}): string {
    writeFileSync(
      file,
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Config',
        'current-context': 'here',
        contexts: [{ name: 'here', context: { cluster: 'stand-in', user: 'me' } }],
        clusters: [{ name: 'stand-in', cluster: { server: this.url, ...entries.cluster } }],
        users: [{ name: 'me', user: entries.user ?? {} }],
      }),
    );
    return file;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { url: path = '', headers, socket } = request;
    const token = headers.authorization?.replace(/^Bearer /, '');
    const subject = socket instanceof TLSSocket ? socket.getPeerCertificate().subject : undefined;
    const certificate = subject === undefined ? undefined : String(subject.CN);
    this.requests.push({ path, token, certificate });
    const fault = this.fault(path);
    if (fault === 'silence') return;
    if (fault === 'nonsense') {
      response.end('<html>not the API server</html>');
    } else if (fault === 'cut short') {
      response.writeHead(200, { 'content-length': 1_000 });
      response.write('{"kind":', () => response.destroy());
    } else if (this.token !== undefined && token !== this.token) {
      send(response, 401, status(401, 'Unauthorized', 'Unauthorized'));
    } else if (fault !== undefined) {
      const reason = fault === 403 ? 'Forbidden' : 'InternalError';
      send(response, fault, status(fault, reason, `${path} is refused by the test with ${fault}`));
    } else {
      const found = this.#find(new URL(path, this.url));
      if (found !== undefined) send(response, 200, found);
      else send(response, 404, status(404, 'NotFound', `${path} not found`));
    }
  }

  #find({ pathname, searchParams }: URL): object | undefined {
    const [, name, namespace, claim] =
      /^\/api\/v1\/(?:persistentvolumes(?:\/([^/]+))?|namespaces\/([^/]+)\/persistentvolumeclaims\/([^/]+))$/.exec(
        pathname,
      ) ?? [];
    if (claim !== undefined) return this.claims.get(`${namespace}/${claim}`);
    if (name !== undefined) return this.volumes.get(decodeURIComponent(name));
    if (pathname !== '/api/v1/persistentvolumes') return undefined;
    const from = Number(searchParams.get('continue') ?? 0);
    const to = from + Math.min(Number(searchParams.get('limit')), this.largestPage);
    const next = to < this.volumes.size ? { continue: String(to) } : {};
    const items = [...this.volumes.values()].slice(from, to);
    return { kind: 'PersistentVolumeList', metadata: { resourceVersion: '1', ...next }, items };
  }
}

/** What the test says of a PersistentVolume; the rest is as usual. */
export interface VolumeWish {
  readonly name: string;
  readonly driver?: string;
  readonly handle?: string;
  readonly attributes?: Readonly<Record<string, string>>;
  readonly fsType?: string;
  readonly capacity?: string;
  readonly phase?: string;
  readonly claim?: { readonly namespace: string; readonly name: string; readonly uid?: string };
}

/** A PersistentVolume as the API server shows it; named by its handle unless said otherwise. */
export function persistentVolume(wish: VolumeWish): object {
  const { name, driver = 'loop.flexcsi', handle = name, capacity = '1Gi', phase = 'Bound' } = wish;
  return {
    kind: 'PersistentVolume',
    apiVersion: 'v1',
    metadata: { name, uid: `uid-of-${name}`, finalizers: ['kubernetes.io/pv-protection'] },
    spec: {
      capacity: { storage: capacity },
      csi: {
        driver,
        volumeHandle: handle,
        ...(wish.fsType === undefined ? {} : { fsType: wish.fsType }),
        ...(wish.attributes === undefined ? {} : { volumeAttributes: wish.attributes }),
      },
      accessModes: ['ReadWriteOnce'],
      ...(wish.claim === undefined ? {} : { claimRef: { kind: 'PersistentVolumeClaim', ...wish.claim } }),
      persistentVolumeReclaimPolicy: 'Retain',
      volumeMode: 'Filesystem',
    },
    status: { phase },
  };
}

/** A claim as the API server shows it. */
export function claim(uid: string, capacity?: string): object {
  return {
    kind: 'PersistentVolumeClaim',
    apiVersion: 'v1',
    metadata: { name: 'data', namespace: 'default', uid },
    spec: { resources: { requests: { storage: '1Ti' } } },
    status:
      capacity === undefined ? { phase: 'Pending' } : { phase: 'Bound', capacity: { storage: capacity } },
  };
}

function status(code: number, reason: string, message: string): object {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, code };
}

function send(response: ServerResponse, code: number, body: object): void {
  response.writeHead(code, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
