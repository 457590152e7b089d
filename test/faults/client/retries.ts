/** Clients that ask again, give up, or go away while the driver still works on what they asked for. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Cell, Fault } from '../fault.ts';
import { answerOf, demand, expectCode } from '../support/answers.ts';
import { onSite, type Site } from '../support/site.ts';
import type { Volume } from '../support/volume.ts';
import { frame, openSession, post } from './http2.ts';
import { type DriverRpc, onTheWire, rpcs, send } from './rpcs.ts';

const AT_ONCE = 64;

/** A cell for each RPC: what comes before it is done, and its verb waits until `release` is called. */
function whileItRuns(
  work: (site: Site, rpc: DriverRpc, volume: Volume, release: () => void) => Promise<string>,
): Cell[] {
  return rpcs.map((rpc) => ({
    call: rpc.call,
    run: () =>
      onSite(rpc.options, async (site) => {
        const volume = site.volume();
        await rpc.before(volume);
        // Others need the verb as well: they are served before and after, not while it is held.
        await site.round();
        const release = site.hold(rpc.verb);
        const outcome = await work(site, rpc, volume, release);
        await site.round();
        await volume.down();
        await volume.forget();
        return outcome;
      }),
  }));
}

/** How often the verb has run for the volume. */
function runs(site: Site, rpc: DriverRpc, volume: Volume): number {
  return site.calls(rpc.verb, rpc.about(volume));
}

async function manyAtOnce(site: Site, rpc: DriverRpc, volume: Volume, release: () => void): Promise<string> {
  const answers = Array.from({ length: AT_ONCE }, () => expectCode(send(rpc, volume), 'OK'));
  await site.untilCalled(rpc.verb, rpc.about(volume));
  release();
  await Promise.all(answers);
  demand(runs(site, rpc, volume) === 1, `the driver ran ${runs(site, rpc, volume)} times`);
  return `${AT_ONCE} × OK, one call of the driver`;
}

/** After the client has left: the driver goes on, a retry joins it, and a later one finds it done. */
async function retryJoins(site: Site, rpc: DriverRpc, volume: Volume, release: () => void): Promise<void> {
  const retry = expectCode(send(rpc, volume), 'OK');
  await Promise.race([retry, site.server.settle()]);
  demand(runs(site, rpc, volume) === 1, 'the retry ran the driver a second time');
  release();
  await retry;
  demand(runs(site, rpc, volume) === 1, 'the retry ran the driver a second time');
  await expectCode(send(rpc, volume), 'OK');
}

async function cancelled(site: Site, rpc: DriverRpc, volume: Volume, release: () => void): Promise<string> {
  const cancel = new AbortController();
  const answer = expectCode(send(rpc, volume, { signal: cancel.signal }), 'CANCELLED');
  await site.untilCalled(rpc.verb, rpc.about(volume));
  cancel.abort();
  const code = await answer;
  await retryJoins(site, rpc, volume, release);
  return `${code}; retry: OK`;
}

async function deadline(site: Site, rpc: DriverRpc, volume: Volume, release: () => void): Promise<string> {
  // However slow the machine is: the deadline passes while the driver is held.
  const code = await expectCode(send(rpc, volume, { deadlineMs: 1_500 }), 'DEADLINE_EXCEEDED');
  await expectCode(send(rpc, volume, { deadlineMs: 1_500 }), 'DEADLINE_EXCEEDED');
  await retryJoins(site, rpc, volume, release);
  return `${code}; retry: OK`;
}

async function destroyed(site: Site, rpc: DriverRpc, volume: Volume, release: () => void): Promise<string> {
  const session = await openSession(site.socket);
  const { path, message } = onTheWire(rpc.service, rpc.name, rpc.request(volume));
  const reply = post(session, path, frame(message)).catch(() => {});
  await site.untilCalled(rpc.verb, rpc.about(volume));
  session.destroy();
  await reply;
  await retryJoins(site, rpc, volume, release);
  return 'retry: OK';
}

const caller = join(import.meta.dirname, 'caller.ts');

async function killed(site: Site, rpc: DriverRpc, volume: Volume, release: () => void): Promise<string> {
  const { path, message } = onTheWire(rpc.service, rpc.name, rpc.request(volume));
  const args = [caller, site.socket, path, message.toString('base64')];
  const client: ChildProcess = spawn(process.execPath, args, { stdio: 'inherit' });
  const exited = once(client, 'exit');
  await site.untilCalled(rpc.verb, rpc.about(volume));
  client.kill('SIGKILL');
  await exited;
  await retryJoins(site, rpc, volume, release);
  return 'retry: OK';
}

/** The opposite call, or another one, while this one runs: turned away, and done when it is asked for again. */
async function opposite(site: Site, rpc: DriverRpc, volume: Volume, release: () => void): Promise<string> {
  const answer = expectCode(send(rpc, volume), 'OK');
  await site.untilCalled(rpc.verb, rpc.about(volume));
  const others = rpcs.filter(
    ({ service, call, options }) =>
      service === rpc.service &&
      call !== rpc.call &&
      (options.attaches ?? false) === (rpc.options.attaches ?? false),
  );
  const codes = new Set<string>();
  for (const other of others) codes.add(await expectCode(send(other, volume), 'ABORTED', /still running/));
  release();
  await answer;
  return [...codes].join(', ');
}

/** Waits for its turn behind another target, and is cancelled there: it is never begun. */
async function cancelledInQueue(site: Site): Promise<string> {
  const volume = site.volume();
  const release = site.hold('mount');
  const first = expectCode(volume.publish(), 'OK');
  await site.untilCalled('mount', volume.id);
  const cancel = new AbortController();
  const second = `${volume.target}-2`;
  const request = volume.publishRequest(second);
  const waiting = answerOf(volume.client.node('NodePublishVolume', request, { signal: cancel.signal }));
  await site.server.settle();
  cancel.abort();
  const { code } = await waiting;
  release();
  await first;
  await volume.unpublish();
  demand(site.calls('mount', volume.id) === 1, 'it was begun, though nobody waited for it');
  demand(site.mountsAt(second) === 0, 'it is mounted');
  return `${code}, not begun`;
}

export const faults: readonly Fault[] = [
  { group: 'client', name: `${AT_ONCE} retries at once`, cells: whileItRuns(manyAtOnce) },
  {
    group: 'client',
    name: 'cancelled call',
    cells: [
      ...whileItRuns(cancelled),
      { call: 'publish, waiting for its turn', run: () => onSite({}, cancelledInQueue) },
    ],
  },
  { group: 'client', name: 'deadline passes', cells: whileItRuns(deadline) },
  { group: 'client', name: 'connection destroyed', cells: whileItRuns(destroyed) },
  { group: 'client', name: 'client killed', cells: whileItRuns(killed) },
  { group: 'client', name: 'another call meanwhile', cells: whileItRuns(opposite) },
];
