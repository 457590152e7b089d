/** How a request reaches the API server. Read anew for each: tokens and certificates are replaced while we run. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readKubeconfig } from './kubeconfig.ts';
import type { ClusterPlace, Connection } from './place.ts';

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
