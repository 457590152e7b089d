/**
 * Pages of a list that is read anew for each of them. Entries are ordered by a hash of their id, and the token is
 * the hash of the last one given out: it needs no memory here, keeps to CSI's 128 bytes, and holds when entries come and
 * go in between. Pure.
 */
import { createHash } from 'node:crypto';
import { Failure } from '../errors.ts';

export interface PageRequest {
  readonly max_entries: number;
  readonly starting_token: string;
}

export interface Page<Message> {
  readonly entries: Message[];
  /** Empty: there is no more. */
  readonly next_token: string;
}

/** A client takes 4 MiB in one answer (the default of gRPC): a page ends well below, whatever was asked for. */
const PAGE_BYTES = 2 * 1024 * 1024;
const PREFIX = 'after-';

/**
 * One page of a list, as messages. An entry without a message is left out.
 *
 * @throws {Failure} `bad-token` for a token that is none of ours, `invalid-request` for a negative `max_entries`.
 */
export function pageOf<Entry, Message extends object>(
  all: readonly Entry[],
  idOf: (entry: Entry) => string,
  messageOf: (entry: Entry) => Message | undefined,
  { max_entries, starting_token }: PageRequest,
): Page<Message> {
  if (max_entries < 0) throw new Failure('invalid-request', 'max_entries must not be negative');
  const after = requireToken(starting_token);
  const rest = all
    .map((entry) => ({ entry, hash: createHash('sha256').update(idOf(entry)).digest('hex') }))
    .filter(({ hash }) => hash > after)
    .sort((a, b) => (a.hash < b.hash ? -1 : 1));
  const most = max_entries === 0 ? Number.POSITIVE_INFINITY : max_entries;
  const entries: Message[] = [];
  let bytes = 0;
  let last = '';
  for (const { entry, hash } of rest) {
    if (entries.length === most) return { entries, next_token: PREFIX + last };
    const message = messageOf(entry);
    bytes += message === undefined ? 0 : Buffer.byteLength(JSON.stringify(message));
    if (entries.length > 0 && bytes > PAGE_BYTES) return { entries, next_token: PREFIX + last };
    if (message !== undefined) entries.push(message);
    last = hash;
  }
  return { entries, next_token: '' };
}

/** The hash that a token stands for; smaller than all others for none. */
function requireToken(token: string): string {
  if (token === '') return '';
  const [, hash] = /^after-([0-9a-f]{64})$/.exec(token) ?? [];
  if (hash !== undefined) return hash;
  throw new Failure(
    'bad-token',
    'starting_token is not one that this plugin gave out: begin again without it',
  );
}
