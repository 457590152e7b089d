/** Where the API server is, if there is any: decided from the environment, without asking anybody. */
import { access } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';

/** How to reach the API server, and as whom. */
export type ClusterPlace =
  /** The files of `KUBECONFIG`; what an earlier one says wins. */
  | { readonly kubeconfig: readonly string[] }
  /** In a pod: the URL, and the directory with `token` and `ca.crt`. */
  | { readonly server: string; readonly serviceAccount: string };

/** How a request reaches the API server. */
export interface Connection {
  readonly server: URL;
  readonly tls: Pick<ConnectionOptions, 'ca' | 'cert' | 'key' | 'servername' | 'rejectUnauthorized'>;
  /** A bearer token. */
  readonly token?: string;
}

/** Where Kubernetes mounts the service account of a pod. */
export const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * `KUBECONFIG` where it is set, else the pod's service account. Undefined: not in a cluster. A home directory is not
 * searched: what some user of the machine can reach is not where the volumes of this node come from.
 */
export async function findCluster(
  environment: Readonly<Record<string, string | undefined>>,
  serviceAccount: string,
): Promise<ClusterPlace | undefined> {
  const kubeconfig = (environment.KUBECONFIG ?? '').split(delimiter).filter((file) => file !== '');
  if (kubeconfig.length > 0) return { kubeconfig };
  const { KUBERNETES_SERVICE_HOST: host = '', KUBERNETES_SERVICE_PORT: port = '' } = environment;
  if (host === '' || port === '' || !(await exists(join(serviceAccount, 'token')))) return undefined;
  return { server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`, serviceAccount };
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
