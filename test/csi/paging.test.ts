import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pageOf } from '../../src/csi/paging.ts';

interface Entry {
  readonly id: string;
}

const entries = (count: number): Entry[] =>
  Array.from({ length: count }, (_, index) => ({ id: `v-${index}` }));
const idOf = ({ id }: Entry): string => id;
const same = <Message>(entry: Message): Message => entry;

/** All pages, read with this many entries each. */
function pagesOf(all: readonly Entry[], max_entries: number): Entry[][] {
  const pages: Entry[][] = [];
  let starting_token = '';
  do {
    const page = pageOf(all, idOf, same, { max_entries, starting_token });
    pages.push(page.entries);
    starting_token = page.next_token;
  } while (starting_token !== '');
  return pages;
}

describe('pageOf', () => {
  it('gives all without a limit, and nothing of an empty list', () => {
    expect(pageOf(entries(3), idOf, same, { max_entries: 0, starting_token: '' }).entries).toHaveLength(3);
    expect(pageOf([], idOf, same, { max_entries: 0, starting_token: '' })).toEqual({
      entries: [],
      next_token: '',
    });
  });

  it('gives every entry once, whatever the size of the pages', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 30 }), fc.integer({ min: 1, max: 31 }), (count, size) => {
        const all = entries(count);
        const pages = pagesOf(all, size);
        expect(pages.flat().map(idOf).sort()).toEqual(all.map(idOf).sort());
        for (const page of pages.slice(0, -1)) expect(page).toHaveLength(size);
      }),
    );
  });

  it('goes on where it was when entries come and go in between', () => {
    const all = entries(20);
    const first = pageOf(all, idOf, same, { max_entries: 10, starting_token: '' });
    const last = first.entries.at(-1) as Entry;
    const changed = [...all.filter((entry) => entry !== last), { id: 'new' }];
    const second = pageOf(changed, idOf, same, { max_entries: 0, starting_token: first.next_token });
    const seen = [...first.entries, ...second.entries].map(idOf);
    expect(new Set(seen).size).toBe(seen.length);
    expect(all.every(({ id }) => seen.includes(id))).toBe(true);
  });

  it('ends a page before a client with the usual limit of 4 MiB could not read it', () => {
    const large = Array.from({ length: 1200 }, (_, index) => ({
      id: `v-${index}`,
      options: 'x'.repeat(4000),
    }));
    let starting_token = '';
    let count = 0;
    do {
      const page = pageOf(large, idOf, same, { max_entries: 0, starting_token });
      expect(Buffer.byteLength(JSON.stringify(page.entries))).toBeLessThan(3 * 1024 * 1024);
      count += page.entries.length;
      starting_token = page.next_token;
    } while (starting_token !== '');
    expect(count).toBe(1200);
  });

  it('has tokens within the 128 bytes that CSI allows', () => {
    const all = [{ id: 'x'.repeat(1000) }, { id: 'y'.repeat(1000) }];
    expect(pageOf(all, idOf, same, { max_entries: 1, starting_token: '' }).next_token.length).toBeLessThan(
      128,
    );
  });

  it.each(['invalid-token', 'after-', '1', `after-${'g'.repeat(64)}`])(
    'refuses the token %j',
    (starting_token) => {
      expect(() => pageOf(entries(3), idOf, same, { max_entries: 0, starting_token })).toThrow(
        'starting_token is not one that this plugin gave out: begin again without it',
      );
    },
  );

  it('refuses a negative limit', () => {
    expect(() => pageOf(entries(3), idOf, same, { max_entries: -1, starting_token: '' })).toThrow(
      'max_entries',
    );
  });
});
