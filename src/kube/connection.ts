/** How a request reaches the API server. Read anew for each: tokens and certificates are replaced while we run. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import { readKubeconfig } from './kubeconfig.ts';
import type { ClusterPlace } from './place.ts';

export interface Connection {
  readonly server: URL;
  readonly tls: Pick<ConnectionOptions, 'ca' | 'cert' | 'key' | 'servername' | 'rejectUnauthorized'>;
  /** A bearer token. */
  readonly token?: string;
}

/**
 * What the place says now.
 *
 * @throws {Failure} for a kubeconfig that cannot be used; the error of the operating system.
 */
export async function connectionTo(place: ClusterPlace): Promise<Connection> {
  if ('kubeconfig' in place) return await readKubeconfig(place.kubeconfig);
  const [ca, token] = await Promise.all([
    readFile(join(place.serviceAccount, 'ca.crt')),
    readFile(join(place.serviceAccount, 'token'), 'utf8'),
  ]);
  return { server: new URL(place.server), tls: { ca }, token: token.trim() };
}
