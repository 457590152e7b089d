/** Opposite calls at the same time, calls in any order, many targets: in the end there is what was asked for last. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Cell, Fault } from '../fault.ts';
import { answerOf, demand, expectCode } from '../support/answers.ts';
import { times } from '../support/scale.ts';
import { onSite, type Site, type SiteOptions } from '../support/site.ts';
import { capability, NO_HURRY, untilOk, type Volume } from '../support/volume.ts';

interface Race {
  readonly call: string;
  readonly options: SiteOptions;
  before(volume: Volume): Promise<void>;
  /** The two opposite calls. */
  readonly make: (volume: Volume) => Promise<unknown>;
  readonly undo: (volume: Volume) => Promise<unknown>;
  /** @throws {Error} unless it is there, or unless it is not. */
  demandState(site: Site, volume: Volume, isThere: boolean): void;
}

function demandMounted(path: (volume: Volume) => string): Race['demandState'] {
  return (site, volume, isThere) => {
    const count = site.mountsAt(path(volume));
    demand(count === (isThere ? 1 : 0), `${count} mounts are at ${path(volume)}`);
    if (isThere) volume.demandContent(path(volume));
    else demand(!existsSync(path(volume)), `${path(volume)} is left behind`);
  };
}

function demandFile(directory: string): Race['demandState'] {
  return (site, volume, isThere) =>
    demand(
      existsSync(join(site.shelf, directory, volume.id)) === isThere,
      `it is ${isThere ? 'not ' : ''}${directory}`,
    );
}

const races: readonly Race[] = [
  {
    ...{ call: 'publish, unpublish', options: {}, demandState: demandMounted(({ target }) => target) },
    before: async () => {},
    make: (volume) => volume.publish(),
    undo: (volume) => volume.unpublish(),
  },
  {
    ...{ call: 'stage, unstage', options: { attaches: true }, demandState: demandMounted((v) => v.staging) },
    before: async (volume) => void (await volume.attach()),
    make: (volume) => volume.stage(),
    undo: (volume) => volume.unstage(),
  },
  {
    ...{ call: 'attach, detach', options: { attaches: true }, demandState: demandFile('attached') },
    before: async () => {},
    make: (volume) => volume.attach(),
    undo: (volume) => volume.detach(),
  },
  {
    ...{ call: 'create, delete', options: {}, demandState: demandFile('provisioned') },
    before: async () => {},
    make: (volume) => volume.create(),
    undo: (volume) => volume.delete(),
  },
];

function raceCells(): Cell[] {
  return races.map((race) => ({
    call: race.call,
    run: () =>
      onSite(race.options, async (site) => {
        const rounds = times(200, 20);
        // Made by the driver itself where it is created and deleted: there must be no files in it then.
        const volume = race.call.startsWith('create') ? site.emptyVolume() : site.volume();
        await race.before(volume);
        const codes = new Map<string, number>();
        for (let round = 0; round < rounds; round++) {
          const calls = [race.make, race.undo, race.make, race.undo].filter(() => Math.random() < 0.7);
          const sent = calls.map(async (send) => {
            await setTimeout(Math.random() * 40);
            return await expectCode(send(volume), 'OK|ABORTED');
          });
          for (const code of await Promise.all(sent)) codes.set(code, (codes.get(code) ?? 0) + 1);
          const isWanted = Math.random() < 0.5;
          await untilOk(() => (isWanted ? race.make(volume) : race.undo(volume)));
          race.demandState(site, volume, isWanted);
        }
        await site.round();
        await untilOk(() => race.undo(volume));
        race.demandState(site, volume, false);
        await volume.down();
        demand(codes.has('OK'), 'no call succeeded');
        return `${rounds} rounds: ${[...codes.keys()].sort().reverse().join(', ')}`;
      }),
  }));
}

/** Calls of a volume's life in any order, several at once, as after a lost network. */
const anyOrder: Cell = {
  call: 'stage to unstage',
  run: () =>
    onSite({ attaches: true }, async (site) => {
      const volume = site.volume();
      await volume.attach();
      const sends = [
        () => volume.stage(),
        () => volume.publish(),
        () => volume.publish(`${volume.target}-2`),
        () => volume.unpublish(),
        () => volume.unpublish(`${volume.target}-2`),
        () => volume.unstage(),
        () => volume.stats(),
      ];
      const worker = async (): Promise<void> => {
        for (let step = 0; step < times(60, 12); step++) {
          const send = sends[Math.floor(Math.random() * sends.length)];
          // NOT_FOUND is stats' word for a volume that is not there at the moment.
          if (send !== undefined) await expectCode(send(), 'OK|ABORTED|NOT_FOUND');
        }
      };
      await site.meanwhile(Promise.all([worker(), worker(), worker(), worker()]));
      await untilOk(() => volume.publish());
      volume.demandContent(volume.target);
      await untilOk(() => volume.unpublish(`${volume.target}-2`));
      await volume.down();
      return 'OK, ABORTED, in the end as asked for';
    }),
};

function manyTargets(options: SiteOptions, call: string): Cell {
  return {
    call,
    run: () =>
      onSite(options, async (site) => {
        const volume = site.volume();
        await volume.up();
        const targets = Array.from({ length: times(100, 20) }, (_, index) => `${volume.target}-${index}`);
        await site.meanwhile(Promise.all(targets.map((target) => volume.publish(target))));
        for (const target of targets) volume.demandContent(target);
        demand(site.mounts().length >= targets.length, 'not all of them are mounted');
        // One half goes, and the other half stays.
        const [some, others] = [targets.filter((_, i) => i % 2 === 0), targets.filter((_, i) => i % 2 === 1)];
        await Promise.all(some.map((target) => volume.unpublish(target)));
        for (const target of some) demand(!existsSync(target), `${target} is left behind`);
        for (const target of others) volume.demandContent(target);
        await Promise.all(others.reverse().map((target) => volume.unpublish(target)));
        await volume.down();
        const left = readdirSync(join(site.kubelet, 'pods', volume.id), { recursive: true });
        demand(!left.some((name) => String(name).includes('mount-')), 'a target is left behind');
        return `${targets.length} targets OK`;
      }),
  };
}

const oneWriter: Cell = {
  call: 'publish, SINGLE_NODE_SINGLE_WRITER',
  run: () =>
    onSite({}, async (site) => {
      const volume = site.volume();
      const access_mode = { mode: 'SINGLE_NODE_SINGLE_WRITER' as const };
      const publish = (target: string) =>
        volume.client.node(
          'NodePublishVolume',
          { ...volume.publishRequest(target), volume_capability: { ...capability, access_mode } },
          NO_HURRY,
        );
      const targets = Array.from({ length: 10 }, (_, index) => `${volume.target}-${index}`);
      const answers = await Promise.all(targets.map((target) => answerOf(publish(target))));
      const winners = targets.filter((_, index) => answers[index]?.code === 'OK');
      demand(winners.length === 1, `${winners.length} targets were published at once`);
      const losers = answers.filter(({ code }) => code === 'FAILED_PRECONDITION');
      demand(losers.length === 9, answers.map(({ code }) => code).join(', '));
      for (const target of targets) await untilOk(() => volume.unpublish(target));
      return '1 × OK, 9 × FAILED_PRECONDITION';
    }),
};

export const faults: readonly Fault[] = [
  { group: 'client', name: 'opposite calls race', cells: raceCells() },
  { group: 'client', name: 'calls in any order', cells: [anyOrder] },
  {
    group: 'client',
    name: 'many targets',
    cells: [
      manyTargets({}, 'publish, unpublish by the driver'),
      manyTargets({ attaches: true }, 'publish, unpublish of a staged volume'),
      oneWriter,
    ],
  },
];
