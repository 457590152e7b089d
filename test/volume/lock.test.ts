import { describe, expect, it } from 'vitest';
import { Failure } from '../../src/errors.ts';
import { type Call, VolumeLocks } from '../../src/volume/lock.ts';

const call = (kind: string, target = '/t', text = '', volume = 'v'): Call => ({ volume, kind, target, text });

/** Work that ends when told, and counts how often it was begun. */
function work() {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const controls = {
    begun: 0,
    resolve,
    reject,
    run: async () => {
      controls.begun += 1;
      return await promise;
    },
  };
  return controls;
}

const isConflict = (error: unknown): boolean => error instanceof Failure && error.kind === 'conflict';

describe('VolumeLocks', () => {
  it('gives a repeat of a running call the result of the first', async () => {
    const locks = new VolumeLocks();
    const first = work();
    const second = work();
    const results = [locks.run(call('stage'), first.run), locks.run(call('stage'), second.run)];
    first.resolve('staged');
    expect(await Promise.all(results)).toEqual(['staged', 'staged']);
    expect([first.begun, second.begun]).toEqual([1, 0]);
  });

  it('gives the repeats of a failing call its error, and runs the next one anew', async () => {
    const locks = new VolumeLocks();
    const first = work();
    const results = [locks.run(call('stage'), first.run), locks.run(call('stage'), first.run)];
    first.reject(new Error('broken'));
    for (const result of results) await expect(result).rejects.toThrow('broken');
    expect(await locks.run(call('stage'), async () => 'good')).toBe('good');
  });

  it('runs the same kind for other targets one after another, in order', async () => {
    const locks = new VolumeLocks();
    const order: string[] = [];
    const publish = (target: string) =>
      locks.run(call('publish', target), async () => {
        order.push(`${target} begins`);
        await new Promise((resolve) => setTimeout(resolve, 5));
        order.push(`${target} ends`);
      });
    await Promise.all([publish('a'), publish('b'), publish('c')]);
    expect(order).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
  });

  it.each([
    ['the opposite call', call('unpublish')],
    ['the opposite call for another target', call('unpublish', '/other')],
    ['the same call with other arguments', call('publish', '/t', 'read-only')],
    ['another kind', call('expand')],
  ])('turns %s away while one runs', async (_what, other) => {
    const locks = new VolumeLocks();
    const first = work();
    const running = locks.run(call('publish'), first.run);
    await expect(locks.run(other, async () => 'done')).rejects.toSatisfy(isConflict);
    first.resolve('');
    await running;
    expect(await locks.run(other, async () => 'done')).toBe('done');
  });

  it('lets other volumes go on', async () => {
    const locks = new VolumeLocks();
    const first = work();
    const running = locks.run(call('publish'), first.run);
    expect(await locks.run(call('unpublish', '/t', '', 'other'), async () => 'done')).toBe('done');
    first.resolve('');
    await running;
  });

  it('lets the work of a client that has gone run to its end, for the repeat to join', async () => {
    const locks = new VolumeLocks();
    const first = work();
    const client = new AbortController();
    const gone = locks.run(call('publish'), first.run, client.signal);
    client.abort();
    await expect(gone).rejects.toSatisfy(isConflict);
    const repeat = locks.run(call('publish'), async () => 'run twice');
    first.resolve('run once');
    expect(await repeat).toBe('run once');
    expect(first.begun).toBe(1);
  });

  it('does not begin work that all its clients have left before its turn', async () => {
    const locks = new VolumeLocks();
    const first = work();
    const second = work();
    const running = locks.run(call('publish', 'a'), first.run);
    const client = new AbortController();
    const gone = locks.run(call('publish', 'b'), second.run, client.signal);
    client.abort();
    await expect(gone).rejects.toSatisfy(isConflict);
    first.resolve('');
    await running;
    await locks.idle();
    expect(second.begun).toBe(0);
  });

  it('begins waiting work that one of two clients still wants', async () => {
    const locks = new VolumeLocks();
    const first = work();
    const running = locks.run(call('publish', 'a'), first.run);
    const client = new AbortController();
    const gone = locks.run(call('publish', 'b'), async () => 'b', client.signal);
    const stays = locks.run(call('publish', 'b'), async () => 'b');
    client.abort();
    await expect(gone).rejects.toSatisfy(isConflict);
    first.resolve('');
    await running;
    expect(await stays).toBe('b');
  });

  it('is idle only when nothing runs and nothing waits', async () => {
    const locks = new VolumeLocks();
    const first = work();
    const second = work();
    void locks.run(call('publish', 'a'), first.run);
    void locks.run(call('publish', 'b'), second.run);
    let idle = false;
    const done = locks.idle().then(() => {
      idle = true;
    });
    first.resolve('');
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(idle).toBe(false);
    second.resolve('');
    await done;
  });
});
