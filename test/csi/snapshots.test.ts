import { describe, expect, it } from 'vitest';
import { failureOf, optionsOf, success, useScenarios } from '../support/scenario.ts';
import { answer } from '../support/scripted-driver.ts';

const start = useScenarios();

const init = answer('Success', {
  capabilities: { provision: true, snapshot: true, listsnapshots: true, getvolume: true },
});
const getvolume = answer('Success', { options: { pool: 'fast' } });
const taken = { creationTime: 1_790_000_000, sizeBytes: 5 };
const create = { name: 'snap-1', source_volume_id: 'pvc-1' };

describe('CreateSnapshot', () => {
  it('names the volume, its options, and the parameters apart', async () => {
    const scenario = await start({ init, getvolume, snapshot: answer('Success', taken) });
    const { snapshot } = await scenario.client.controller('CreateSnapshot', {
      ...create,
      parameters: { pool: 'cold', 'csi.storage.k8s.io/volumesnapshot/name': 'mine' },
      secrets: { k: 'v' },
    });
    expect(snapshot).toMatchObject({
      snapshot_id: 'snap-1',
      source_volume_id: 'pvc-1',
      size_bytes: '5',
      creation_time: { seconds: '1790000000', nanos: 0 },
      ready_to_use: true,
    });
    expect(optionsOf(scenario.driver.calls().at(-1)?.args)).toEqual({
      pool: 'fast',
      'csi/parameter/pool': 'cold',
      'csi/parameter/csi.storage.k8s.io/volumesnapshot/name': 'mine',
      'csi/snapshotName': 'snap-1',
      'kubernetes.io/pvOrVolumeName': 'pvc-1',
      'kubernetes.io/secret/k': 'dg==',
    });
  });

  it('takes an id of the driver, and asks again while it is not ready', async () => {
    const scenario = await start({
      init,
      getvolume,
      snapshot: answer('Success', { ...taken, snapshot: 'fast@7', ready: false }),
    });
    const { snapshot } = await scenario.client.controller('CreateSnapshot', create);
    expect(snapshot).toMatchObject({ snapshot_id: 'fast@7', ready_to_use: false });
  });

  it("refuses a name that is another volume's", async () => {
    const scenario = await start({
      init,
      getvolume,
      snapshot: answer('Success', { ...taken, sourceVolume: 'pvc-9' }),
    });
    expect(await failureOf(scenario.client.controller('CreateSnapshot', create))).toBe(
      'ALREADY_EXISTS: snapshot snap-1 is there, of volume pvc-9 and not of pvc-1',
    );
  });

  it('finds out that the volume is not there', async () => {
    const scenario = await start({
      init,
      getvolume: { prints: answer('Failure', { code: 'NOT_FOUND' }), exit: 1 },
      snapshot: { prints: answer('Failure', { message: 'cannot open' }), exit: 1 },
    });
    expect(await failureOf(scenario.client.controller('CreateSnapshot', create))).toMatch(
      /^NOT_FOUND: volume pvc-1 is not there: .*cannot open/,
    );
  });

  it.each([
    [
      { creationTime: undefined },
      'the answer has no "creationTime", which must be an integer, seconds since 1970',
    ],
    [{ creationTime: '2026-01-01' }, 'the answer\'s "creationTime" must be an integer'],
    [{ ready: 'yes' }, 'the answer\'s "ready" must be true or false'],
    [{ snapshot: 'x'.repeat(129) }, 'has 129 bytes, and CSI allows 128'],
  ])('says what is wrong with %j', async (fields, message) => {
    const scenario = await start({ init, getvolume, snapshot: answer('Success', { ...taken, ...fields }) });
    const text = await failureOf(scenario.client.controller('CreateSnapshot', create));
    expect(text).toContain(message);
    expect(text).toMatch(/^INTERNAL: /);
  });

  it.each([
    [{ name: '' }, 'INVALID_ARGUMENT: name is required'],
    [{ source_volume_id: '' }, 'INVALID_ARGUMENT: source_volume_id is required'],
    [{ name: 'a'.repeat(129) }, 'INVALID_ARGUMENT: name has 129 bytes; at most 128 can be passed on'],
  ])('refuses %j', async (change, message) => {
    const scenario = await start({ init, getvolume });
    expect(await failureOf(scenario.client.controller('CreateSnapshot', { ...create, ...change }))).toBe(
      message,
    );
  });
});

describe('DeleteSnapshot', () => {
  it('names the snapshot alone, and takes NOT_FOUND for success', async () => {
    const scenario = await start({ init, deletesnapshot: success });
    await scenario.client.controller('DeleteSnapshot', { snapshot_id: 'fast@7' });
    expect(optionsOf(scenario.driver.calls()[0]?.args)).toEqual({ 'csi/snapshot': 'fast@7' });
    scenario.driver.script('deletesnapshot', { prints: answer('Failure', { code: 'NOT_FOUND' }), exit: 1 });
    await scenario.client.controller('DeleteSnapshot', { snapshot_id: 'fast@7' });
    scenario.driver.script('deletesnapshot', {
      prints: answer('Failure', { code: 'FAILED_PRECONDITION', message: 'has clones' }),
      exit: 1,
    });
    expect(await failureOf(scenario.client.controller('DeleteSnapshot', { snapshot_id: 'x' }))).toMatch(
      /^FAILED_PRECONDITION: .*has clones/,
    );
    expect(await failureOf(scenario.client.controller('DeleteSnapshot', {}))).toBe(
      'INVALID_ARGUMENT: snapshot_id is required',
    );
  });
});

describe('ListSnapshots, GetSnapshot', () => {
  const snapshots = [
    { snapshot: 's-1', sourceVolume: 'a', creationTime: 1 },
    { snapshot: 's-2', sourceVolume: 'a', creationTime: 2 },
    { snapshot: 's-3', sourceVolume: 'b', creationTime: 3 },
  ];
  const listsnapshots = answer('Success', { snapshots });

  it.each([
    [{}, ['s-1', 's-2', 's-3']],
    [{ snapshot_id: 's-2' }, ['s-2']],
    [{ source_volume_id: 'a' }, ['s-1', 's-2']],
    [{ source_volume_id: 'a', snapshot_id: 's-3' }, []],
    [{ snapshot_id: 'unknown' }, []],
  ])('filter by %j', async (request, expected) => {
    const scenario = await start({ init, listsnapshots });
    const { entries } = await scenario.client.controller('ListSnapshots', request);
    expect(entries.map(({ snapshot }) => snapshot?.snapshot_id).sort()).toEqual(expected);
  });

  it('page, and hand the secrets over', async () => {
    const scenario = await start({ init, listsnapshots });
    const first = await scenario.client.controller('ListSnapshots', { max_entries: 2, secrets: { k: 'v' } });
    const rest = await scenario.client.controller('ListSnapshots', { starting_token: first.next_token });
    expect([first.entries.length, rest.entries.length, rest.next_token]).toEqual([2, 1, '']);
    expect(optionsOf(scenario.driver.calls()[0]?.args)).toEqual({ 'kubernetes.io/secret/k': 'dg==' });
  });

  it('find one', async () => {
    const scenario = await start({ init, listsnapshots });
    const { snapshot } = await scenario.client.controller('GetSnapshot', { snapshot_id: 's-3' });
    expect(snapshot).toMatchObject({ source_volume_id: 'b' });
    expect(await failureOf(scenario.client.controller('GetSnapshot', { snapshot_id: 's-4' }))).toBe(
      'NOT_FOUND: snapshot s-4 is not there',
    );
    expect(await failureOf(scenario.client.controller('GetSnapshot', {}))).toBe(
      'INVALID_ARGUMENT: snapshot_id is required',
    );
  });
});
