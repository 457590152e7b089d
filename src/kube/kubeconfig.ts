/** Reads kubeconfig files: the cluster and the user of the current context. */
import { readFile } from 'node:fs/promises';
import { delimiter, dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { errorCode, errorMessage, Failure } from '../errors.ts';
import type { Connection } from './place.ts';

const text = z.string().nullish();

const clusterSchema = z.object({
  server: z.string(),
  'certificate-authority': text,
  'certificate-authority-data': text,
  'insecure-skip-tls-verify': z.boolean().nullish(),
  'tls-server-name': text,
  'proxy-url': text,
});

const userSchema = z.object({
  token: text,
  tokenFile: text,
  'client-certificate': text,
  'client-certificate-data': text,
  'client-key': text,
  'client-key-data': text,
  username: text,
  exec: z.unknown().optional(),
  'auth-provider': z.unknown().optional(),
});

const contextSchema = z.object({ cluster: z.string(), user: text });

const fileSchema = z.object({
  'current-context': text,
  clusters: z.array(z.object({ name: z.string(), cluster: clusterSchema })).nullish(),
  users: z.array(z.object({ name: z.string(), user: userSchema.nullish() })).nullish(),
  contexts: z.array(z.object({ name: z.string(), context: contextSchema })).nullish(),
});

/** A file as it is, and the directory that its relative paths are relative to. */
type File = z.infer<typeof fileSchema> & { readonly directory: string };

/**
 * The connection that the files say; what an earlier file says wins, as for kubectl.
 *
 * @throws {Failure} `precondition` naming the file and what in it cannot be used; the error of the operating system
 * for a file that it names.
 */
export async function readKubeconfig(paths: readonly string[]): Promise<Connection> {
  const where = paths.join(delimiter);
  const files = await readAll(paths);
  const current = files.map((file) => file['current-context']).find(Boolean);
  if (!current) throw unusable(where, 'it needs a current-context');
  const { context } = find(files, where, 'context', current, (file) => file.contexts);
  const cluster = find(files, where, 'cluster', context.cluster, (file) => file.clusters);
  const user = context.user ? find(files, where, 'user', context.user, (file) => file.users) : undefined;
  const { token, ...proof } = user === undefined ? {} : await signIn(where, user, user.user ?? {});
  const trust = await trustOf(where, cluster, cluster.cluster);
  return {
    server: serverUrl(where, cluster.cluster.server),
    tls: { ...trust, ...proof },
    ...(token && { token }),
  };
}

/** An entry's name, and the directory of its file. */
interface Entry {
  readonly name: string;
  readonly directory: string;
}

/** How the server proves who it is. */
async function trustOf(where: string, { name, directory }: Entry, cluster: z.infer<typeof clusterSchema>) {
  if (cluster['proxy-url']) throw unusable(where, `cluster ${name}: proxy-url is not supported`);
  const ca = await content(
    cluster['certificate-authority-data'],
    cluster['certificate-authority'],
    directory,
  );
  return {
    ...(ca && { ca }),
    ...(cluster['tls-server-name'] && { servername: cluster['tls-server-name'] }),
    ...(cluster['insecure-skip-tls-verify'] && { rejectUnauthorized: false }),
  };
}

/** How we prove who we are. */
async function signIn(where: string, { name, directory }: Entry, user: z.infer<typeof userSchema>) {
  const foreign = (['exec', 'auth-provider', 'username'] as const).find((key) => user[key]);
  if (foreign !== undefined) {
    throw unusable(
      where,
      `user ${name}: ${foreign} is not supported; use a token, a tokenFile or a client certificate`,
    );
  }
  const cert = await content(user['client-certificate-data'], user['client-certificate'], directory);
  const key = await content(user['client-key-data'], user['client-key'], directory);
  const file = await content(undefined, user.tokenFile, directory);
  // As for client-go: the file wins, since it is kept up to date.
  const token = file?.toString('utf8').trim() || user.token;
  return { ...(cert && { cert }), ...(key && { key }), ...(token && { token }) };
}

async function readAll(paths: readonly string[]): Promise<File[]> {
  const files: File[] = [];
  for (const path of paths) {
    try {
      files.push(await readOne(path));
    } catch (error) {
      // As for kubectl: of several files some may be missing.
      if (errorCode(error) !== 'ENOENT' || paths.length === 1) throw unusable(path, errorMessage(error));
    }
  }
  return files;
}

/** @throws {Failure} for a file that is no kubeconfig; the error of the operating system. */
async function readOne(path: string): Promise<File> {
  // Without pretty errors, which show the line: it may be a token.
  const document: unknown = parse(await readFile(path, 'utf8'), { prettyErrors: false, logLevel: 'error' });
  const read = fileSchema.safeParse(document);
  if (read.success) return { ...read.data, directory: dirname(path) };
  const { path: place = [], message = '' } = read.error.issues[0] ?? {};
  throw new Failure('precondition', [...(place.length === 0 ? [] : [place.join('.')]), message].join(': '));
}

/** @throws {Failure} when no file has one of that name. */
function find<Item extends { readonly name: string }>(
  files: readonly File[],
  where: string,
  kind: string,
  name: string,
  list: (file: File) => readonly Item[] | null | undefined,
): Item & Entry {
  for (const file of files) {
    const item = list(file)?.find((one) => one.name === name);
    if (item !== undefined) return { ...item, directory: file.directory };
  }
  throw unusable(where, `there is no ${kind} ${name}`);
}

/** What is given as base64, else in a file. */
async function content(
  data: string | null | undefined,
  file: string | null | undefined,
  directory: string,
): Promise<Buffer | undefined> {
  if (data) return Buffer.from(data, 'base64');
  return file ? await readFile(resolve(directory, file)) : undefined;
}

/** @throws {Failure} when it is none. */
function serverUrl(where: string, server: string): URL {
  const url = URL.parse(server);
  if (url?.protocol === 'https:' || url?.protocol === 'http:') return url;
  throw unusable(where, `server must be a URL of http or https, not ${JSON.stringify(server)}`);
}

function unusable(where: string, problem: string): Failure {
  return new Failure('precondition', `KUBECONFIG ${where}: ${problem}`);
}
