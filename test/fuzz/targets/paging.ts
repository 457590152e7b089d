/** Pages of a list that changes while it is read. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { pageOf } from '../../../src/csi/paging.ts';
import { Failure } from '../../../src/errors.ts';
import { anyText } from '../support/bytes.ts';
import { target } from '../target.ts';

const ids = fc.uniqueArray(anyText, { maxLength: 30 });

export const pages = target({
  name: 'paging',
  what: 'what is there all the time is listed once; tokens keep to 128 bytes, pages to 4 MiB; other tokens are refused',
  share: 4,
  begin: () => ({
    of: fc.record({
      stays: ids,
      goes: ids,
      size: fc.integer({ min: 0, max: 7 }),
      bytes: fc.oneof(
        { weight: 50, arbitrary: fc.constant(10) },
        { weight: 1, arbitrary: fc.constant(400_000) },
      ),
      changesAt: fc.nat({ max: 4 }),
    }),
    holds: ({ stays, goes, size, bytes, changesAt }) => {
      const kept = new Set(stays);
      const passing = goes.filter((id) => !kept.has(id));
      const filler = 'x'.repeat(bytes);
      const listed: string[] = [];
      let token = '';
      for (let page = 0; page === 0 || token !== ''; page += 1) {
        assert.ok(page <= stays.length + goes.length, 'the list does not end');
        const all = page === changesAt ? [...stays].reverse() : [...passing, ...stays];
        const request = { max_entries: size, starting_token: token };
        const { entries, next_token } = pageOf(
          all,
          (id) => id,
          (id) => ({ id, filler }),
          request,
        );
        if (size > 0) assert.ok(entries.length <= size);
        assert.ok(entries.length > 0 || next_token === '');
        assert.ok(Buffer.byteLength(next_token) <= 128);
        assert.ok(Buffer.byteLength(JSON.stringify(entries)) < 4 * 1024 * 1024);
        listed.push(...entries.map(({ id }) => id));
        token = next_token;
      }
      assert.equal(new Set(listed).size, listed.length, 'listed twice');
      assert.deepEqual(listed.filter((id) => kept.has(id)).sort(), [...stays].sort());
    },
  }),
});

export const tokens = target({
  name: 'paging-token',
  what: 'a token that was not given out, or a negative number of entries, is a failure that says so',
  share: 2,
  begin: () => ({
    of: fc.tuple(
      fc.oneof(anyText, fc.constantFrom('after-', 'after-x', `after-${'0'.repeat(63)}`)),
      fc.integer(),
    ),
    holds: ([token, max_entries]) => {
      const read = (): unknown =>
        pageOf(
          ['a'],
          (id) => id,
          (id) => ({ id }),
          { max_entries, starting_token: token },
        );
      if (token === '' && max_entries >= 0) return void read();
      assert.throws(read, (error) => {
        return error instanceof Failure && error.kind === (max_entries < 0 ? 'invalid-request' : 'bad-token');
      });
    },
  }),
});
