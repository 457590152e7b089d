/** What docs/write-a-driver.md claims of each version of its script, through CSI and with real mounts. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lacks } from '../support/requirements.ts';
import { failureOf } from '../support/scenario.ts';
import { pageFile } from './page.ts';
import { useWorkshops, type Workshop } from './workshop.ts';

const MIB = 1024 * 1024;
const sized = (bytes: number) => ({ capacity_range: { required_bytes: bytes } });
const fromSnapshot = (snapshot_id: string) => ({ volume_content_source: { snapshot: { snapshot_id } } });
const fromVolume = (volume_id: string) => ({ volume_content_source: { volume: { volume_id } } });
const at = (node: string) => ({ segments: { 'example.com/node': node } });

const open = useWorkshops();

/** Names that are no names of volumes here, and what some of them would reach. */
const badNames = [
  '../secret',
  'a/../../secret',
  '/secret',
  'a/b',
  '..',
  '.',
  '.trash',
  '-rf',
  '*',
  'a b',
  "a'b",
  'a"b',
  'a\\b',
  'a<b',
  '$(id)',
  'a;b',
  'a|b',
  'a\nb',
  'ä',
];

describe.skipIf(lacks('mounts'))('the capabilities in the table of the page', () => {
  const table = readFileSync(pageFile, 'utf8').match(/^\| \[\d\].*$/gm) ?? [];
  const namesIn = (cell = ''): string[] => cell.match(/\b[A-Z]+(_[A-Z]+)+\b/g) ?? [];

  it('are those of each step', async () => {
    expect(table).toHaveLength(8);
    let controller: string[] = [];
    let node: string[] = [];
    for (const [index, row] of table.entries()) {
      const { client } = await open(index + 1);
      const types = (capabilities: readonly { rpc?: { type?: unknown } | null }[]) =>
        capabilities.map(({ rpc }) => String(rpc?.type));
      const now = {
        controller: [
          ...types((await client.controller('ControllerGetCapabilities', {})).capabilities),
          ...(await client.identity('GetPluginCapabilities', {})).capabilities
            .map(({ service }) => String(service?.type))
            .filter((type) => type.endsWith('_CONSTRAINTS')),
        ],
        node: types((await client.node('NodeGetCapabilities', {})).capabilities),
      };
      const [, , , onController, onNode] = row.split('|');
      const change = (before: string[], after: string[]) => [
        ...after.filter((name) => !before.includes(name)),
        ...before.filter((name) => !after.includes(name)),
      ];
      expect(change(controller, now.controller).sort(), row).toEqual(namesIn(onController).sort());
      expect(change(node, now.node).sort(), row).toEqual(namesIn(onNode).sort());
      ({ controller, node } = now);
    }
  });
});

describe.skipIf(lacks('mounts')).each([1, 2, 3, 4, 5, 6, 7, 8])('version %i', (step) => {
  it('mounts and unmounts', async () => {
    const shop = await open(step);
    shop.makeByHand('photos');
    await shop.publish('photos');
    writeFileSync(join(shop.target, 'file'), 'from a pod');
    await shop.publish('photos');
    await shop.unpublish('photos');
    expect(shop.targetFlags()).toBeUndefined();
    expect(existsSync(shop.target)).toBe(false);
    await shop.unpublish('photos');
    expect(shop.read('photos', 'data', 'file')).toBe('from a pod');
    expect(shop.verbs()).toEqual(['mount', 'unmount']);
  });

  it('mounts read-only', async () => {
    const shop = await open(step);
    shop.makeByHand('photos');
    await shop.publish('photos', { readonly: true });
    expect(() => writeFileSync(join(shop.target, 'file'), 'x')).toThrow(/EROFS/);
  });

  it('is not led elsewhere by a name', async () => {
    const shop = await open(step);
    for (const name of ['secret', 'volumes/a b', 'volumes/-rf', 'volumes/.trash']) {
      mkdirSync(join(shop.directory, name, 'data'), { recursive: true });
      writeFileSync(join(shop.directory, name, 'data/file'), 'precious');
    }
    const before = shop.names();
    for (const name of badNames) {
      const words = await failureOf(shop.publish(name));
      expect(words, name).toMatch(step === 1 ? /^INTERNAL: / : /^INVALID_ARGUMENT: .* is no name/);
      expect(shop.targetFlags(), name).toBeUndefined();
      if (step < 3) continue;
      expect(await failureOf(shop.create(name)), name).toMatch(/^(INVALID_ARGUMENT|NOT_FOUND): /);
      expect(await failureOf(shop.delete(name)), name).toBe('no failure: {}');
      if (step < 6) continue;
      const source = fromSnapshot(name);
      expect(await failureOf(shop.create('pvc-1', source)), name).toMatch(/^NOT_FOUND: /);
      expect(await failureOf(shop.create('pvc-1', fromVolume(name))), name).toMatch(/^NOT_FOUND: /);
      expect(await failureOf(shop.snapshot('snap-1', name)), name).toMatch(/^NOT_FOUND: /);
      expect(await failureOf(shop.snapshot(name, 'pvc-1')), name).toMatch(/^INVALID_ARGUMENT: /);
      const gone = shop.client.controller('DeleteSnapshot', { snapshot_id: name });
      expect(await failureOf(gone), name).toBe('no failure: {}');
    }
    expect(shop.names()).toEqual(before);
    expect(readFileSync(join(shop.directory, 'secret/data/file'), 'utf8')).toBe('precious');
    expect(shop.names('.drafts')).toEqual([]);
  });

  it('is understood by kubelet', async () => {
    const shop = await open(step);
    shop.makeByHand('photos');
    mkdirSync(shop.target);
    const options = '{"kubernetes.io/pvOrVolumeName":"photos","kubernetes.io/readwrite":"rw"}';
    const init = JSON.parse(shop.call('init').output);
    expect(init).toMatchObject({ status: 'Success', capabilities: { attach: false } });
    // Of the names that kubelet knows, in any case, with booleans; the others it ignores.
    const known = /^(attach|selinuxRelabel|supportsMetrics|fsGroup|requiresFSResize)$/i;
    for (const [name, value] of Object.entries(init.capabilities)) {
      if (known.test(name)) expect([name, typeof value]).toEqual([name, 'boolean']);
    }
    expect(shop.call('mount', shop.target, options)).toEqual({ status: 0, output: '{"status":"Success"}\n' });
    for (const call of [
      ['unmount', shop.target],
      ['getvolumename', options],
      ['attach', options, 'n'],
      [''],
    ]) {
      expect(JSON.parse(shop.call(...call).output), call[0]).toEqual({ status: 'Not supported' });
    }
  });
});

describe.skipIf(lacks('mounts'))('from step 2 on', () => {
  it('says what is wrong, with a code, and honours mount flags', async () => {
    const shop = await open(2);
    expect(await failureOf(shop.publish('nothing'))).toMatch(/^NOT_FOUND: .*there is no volume nothing in/);
    shop.makeByHand('photos');
    await shop.publish('photos', { readonly: true, mount_flags: ['noexec', 'rw'] });
    expect(shop.targetFlags()).toEqual(expect.arrayContaining(['ro', 'noexec']));
  });

  it('prints one JSON object, whatever a tool says', async () => {
    const shop = await open(2);
    shop.makeByHand('photos');
    const { status, output } = shop.call(
      'mount',
      `${shop.directory}/"mi\\ss"\n`,
      '{"kubernetes.io/pvOrVolumeName":"photos","kubernetes.io/readwrite":"rw"}',
    );
    expect([status, JSON.parse(output)]).toMatchObject([1, { status: 'Failure', code: 'INTERNAL' }]);
  });

  it('reads options as flexcsi and kubelet write them', async () => {
    const shop = await open(2);
    shop.makeByHand('photos');
    mkdirSync(shop.target);
    const fake = String.raw`"a":"{\"kubernetes.io/pvOrVolumeName\":\"fake\",\"kubernetes.io/readwrite\":\"rw\"}"`;
    const other = '"kubernetesXio/pvOrVolumeName":"fake","kubernetes.io/pvOrVolumeName2":"fake"';
    const json = `{${fake},"b,":"{","kubernetes.io/pvOrVolumeName":"photos","kubernetes.io/readwrite":"ro",${other}}`;
    expect(shop.call('mount', shop.target, json)).toMatchObject({ status: 0 });
    expect(shop.targetFlags()).toContain('ro');
  });
});

describe.skipIf(lacks('mounts'))('from step 3 on', () => {
  it('makes a volume, again and again the same', async () => {
    const shop = await open(3);
    const first = await shop.create('pvc-1', sized(MIB));
    expect(first.volume).toMatchObject({ volume_id: 'pvc-1', capacity_bytes: String(MIB) });
    shop.write('pvc-1', 'file', 'data');
    expect(await shop.create('pvc-1', sized(MIB))).toEqual(first);
    await shop.startAnew();
    expect(await failureOf(shop.create('pvc-1', sized(2 * MIB)))).toMatch(/^ALREADY_EXISTS: /);
    expect(shop.read('pvc-1', 'data', 'file')).toBe('data');
    expect(shop.read('pvc-1', 'volume.json')).toBe(
      `{"volume":"pvc-1","options":{},"capacityBytes":${MIB}}\n`,
    );
    await shop.publish('pvc-1');
    expect(readFileSync(join(shop.target, 'file'), 'utf8')).toBe('data');
  });

  it('makes one without a size, and refuses one that is no number', async () => {
    const shop = await open(3);
    expect((await shop.create('pvc-1')).volume?.capacity_bytes).toBe('0');
    const parameters = { requestBytes: '5,"x":1' };
    expect(await failureOf(shop.create('pvc-2', { parameters }))).toMatch(
      /^INVALID_ARGUMENT: .*requestBytes/,
    );
  });

  it('takes up what a crash has left', async () => {
    const shop = await open(3);
    mkdirSync(shop.path('.drafts/volume-pvc-1'));
    await shop.create('pvc-1', sized(MIB));
    expect(shop.names('pvc-1')).toEqual(['data', 'volume.json']);
    expect(shop.names('.drafts')).toEqual([]);
  });

  it('moves what is deleted to the trash, and only what it made', async () => {
    const shop = await open(3);
    for (const text of ['first', 'second']) {
      await shop.create('pvc-1', sized(MIB));
      shop.write('pvc-1', 'file', text);
      await shop.delete('pvc-1');
      await shop.delete('pvc-1');
    }
    const files = shop.names('.trash').map((name) => shop.read('.trash', name, 'data/file'));
    expect(files.sort()).toEqual(['first', 'second']);
    shop.makeByHand('photos');
    shop.write('photos', 'file', 'precious');
    expect(await failureOf(shop.delete('photos'))).toMatch(/^FAILED_PRECONDITION: .*has no volume.json/);
    expect(await failureOf(shop.create('photos'))).toMatch(/^ALREADY_EXISTS: .*did not make it/);
    expect(shop.read('photos', 'data/file')).toBe('precious');
    writeFileSync(shop.path('photos/volume.json'), '{"volume":"photos","options":{}}\n');
    await shop.delete('photos');
    expect(shop.names()).toEqual(['.drafts', '.snapshots', '.trash']);
  });

  it('does not take another disk for its own', async () => {
    for (const step of [3, 4, 8]) {
      const shop = await open(step);
      await shop.create('pvc-1');
      renameSync(shop.path('.drafts'), shop.path('.elsewhere'));
      const calls = [() => shop.create('pvc-2'), () => shop.delete('pvc-1')];
      if (step > 3) calls.push(() => shop.client.controller('ListVolumes', {}) as never);
      for (const call of calls)
        expect(await failureOf(call())).toMatch(/^UNAVAILABLE: .*is the disk mounted/);
      expect(shop.names()).not.toContain('pvc-2');
      expect(shop.names()).toContain('pvc-1');
    }
  });
});

describe.skipIf(lacks('mounts'))('from step 4 on', () => {
  it('leaves it to flexcsi whether a volume is there, and fits', async () => {
    const shop = await open(4);
    await shop.create('pvc-1', sized(MIB));
    expect(shop.verbs()).toEqual(['getvolume', 'provision']);
    await shop.startAnew();
    await shop.create('pvc-1', sized(MIB));
    expect(await failureOf(shop.create('pvc-1', sized(2 * MIB)))).toMatch(/^ALREADY_EXISTS: /);
    expect(shop.verbs()).toEqual(['getvolume', 'getvolume']);
  });

  it('lists what it made, without drafts', async () => {
    const shop = await open(4);
    const list = async () => (await shop.client.controller('ListVolumes', {})).entries;
    expect(await list()).toEqual([]);
    for (const name of ['pvc-1', 'pvc-2', 'volume.json']) await shop.create(name, sized(MIB));
    shop.makeByHand('photos');
    shop.write('pvc-1', 'volume.json', 'a file of the pod');
    mkdirSync(shop.path('.drafts/volume-pvc-3/data'), { recursive: true });
    writeFileSync(shop.path('.drafts/volume-pvc-3/volume.json'), '{"volume":"pvc-3"}\n');
    const ids = (await list()).map(({ volume }) => volume?.volume_id).sort();
    expect(ids).toEqual(['pvc-1', 'pvc-2', 'volume.json']);
    const get = (volume_id: string) => shop.client.controller('ControllerGetVolume', { volume_id });
    expect((await get('pvc-1')).volume?.capacity_bytes).toBe(String(MIB));
    for (const id of ['pvc-3', 'photos', '../x']) expect(await failureOf(get(id))).toMatch(/^NOT_FOUND: /);
  });
});

describe.skipIf(lacks('mounts'))('from step 5 on', () => {
  it('knows how much room there is', async () => {
    const shop = await open(5);
    const { available_capacity } = await shop.client.controller('GetCapacity', {});
    expect(Number(available_capacity)).toBeGreaterThan(15 * MIB);
    expect(Number(available_capacity)).toBeLessThanOrEqual(16 * MIB);
    expect(await failureOf(shop.create('pvc-1', sized(17 * MIB)))).toMatch(/^RESOURCE_EXHAUSTED: .*no room/);
    expect(shop.names('.drafts')).toEqual([]);
  });

  it('notes the new size of what grows', async () => {
    const shop = await open(5);
    await shop.create('pvc-1', sized(MIB));
    await shop.startAnew();
    const grown = await shop.client.controller('ControllerExpandVolume', {
      volume_id: 'pvc-1',
      ...sized(3 * MIB),
    });
    expect(grown).toMatchObject({ capacity_bytes: String(3 * MIB), node_expansion_required: false });
    expect(shop.names('pvc-1')).toEqual(['data', 'volume.json']);
    expect((await shop.create('pvc-1', sized(3 * MIB))).volume?.capacity_bytes).toBe(String(3 * MIB));
  });
});

describe.skipIf(lacks('mounts'))('from step 6 on', () => {
  const withData = async (step = 6): Promise<Workshop> => {
    const shop = await open(step);
    await shop.create('pvc-1', sized(MIB));
    shop.write('pvc-1', 'file', 'one');
    symlinkSync('/etc/passwd', shop.path('pvc-1/data/link'));
    return shop;
  };

  it('copies what is there, and nothing that comes later', async () => {
    const shop = await withData();
    const { snapshot } = await shop.snapshot('snap-1', 'pvc-1');
    expect(snapshot).toMatchObject({
      snapshot_id: 'snap-1',
      source_volume_id: 'pvc-1',
      size_bytes: String(MIB),
      ready_to_use: true,
    });
    shop.write('pvc-1', 'file', 'two');
    expect((await shop.snapshot('snap-1', 'pvc-1')).snapshot).toEqual(snapshot);
    await shop.create('restored', { ...fromSnapshot('snap-1'), ...sized(MIB) });
    await shop.create('clone', fromVolume('pvc-1'));
    expect([shop.read('restored/data/file'), shop.read('clone/data/file')]).toEqual(['one', 'two']);
    expect(shop.names('restored/data')).toEqual(['file', 'link']);
    // Its directory has the name of the file that listvolumes looks for.
    await shop.snapshot('volume.json', 'pvc-1');
    expect((await shop.client.controller('ListVolumes', {})).entries).toHaveLength(3);
    await shop.client.controller('DeleteSnapshot', { snapshot_id: 'volume.json' });
    await shop.delete('pvc-1');
    const { entries } = await shop.client.controller('ListSnapshots', { source_volume_id: 'pvc-1' });
    expect(entries.map((entry) => entry.snapshot)).toEqual([snapshot]);
    await shop.startAnew();
    // The name is taken by something else.
    expect(await failureOf(shop.create('restored', sized(MIB)))).toMatch(/^ALREADY_EXISTS: /);
    expect(await failureOf(shop.snapshot('snap-1', 'clone'))).toMatch(/^ALREADY_EXISTS: /);
    for (const _time of [1, 2]) await shop.client.controller('DeleteSnapshot', { snapshot_id: 'snap-1' });
    expect(shop.names('.snapshots')).toEqual([]);
    expect(shop.read('restored/data/file')).toBe('one');
  });

  it('says what cannot be copied', async () => {
    const shop = await withData();
    expect(await failureOf(shop.create('x', fromSnapshot('none')))).toMatch(/^NOT_FOUND: /);
    expect(await failureOf(shop.create('x', fromVolume('none')))).toMatch(/^NOT_FOUND: /);
    expect(await failureOf(shop.snapshot('snap-1', 'none'))).toMatch(/^NOT_FOUND: /);
    expect(shop.names('.drafts')).toEqual([]);
  });

  it('begins an interrupted copy again, without the rest of the first', async () => {
    const shop = await withData();
    mkdirSync(shop.path('.drafts/snapshot-snap-1/data'), { recursive: true });
    writeFileSync(shop.path('.drafts/snapshot-snap-1/data/gone'), 'no longer in the source');
    await shop.snapshot('snap-1', 'pvc-1');
    expect(shop.names('.snapshots/snap-1/data')).toEqual(['file', 'link']);
    // A volume that nobody wants any more takes its draft with it.
    mkdirSync(shop.path('.drafts/volume-pvc-2/data'), { recursive: true });
    await shop.delete('pvc-2');
    expect(shop.names('.drafts')).toEqual([]);
  });

  it('does not meddle with a copy that an earlier call still makes', async () => {
    const shop = await withData();
    const draft = shop.path('.drafts/volume-clone');
    mkdirSync(join(draft, 'data'), { recursive: true });
    writeFileSync(join(draft, 'data/file'), 'half');
    const earlier = spawn('flock', [draft, 'sh', '-c', 'echo locked; exec sleep 60'], {
      stdio: ['ignore', 'pipe', 'ignore'],
      detached: true,
    });
    try {
      await new Promise((resolve) => earlier.stdout.once('data', resolve));
      for (const call of [() => shop.create('clone', fromVolume('pvc-1')), () => shop.delete('clone')]) {
        expect(await failureOf(call() as Promise<unknown>)).toMatch(/^ABORTED: .*still at work/);
      }
      expect(readFileSync(join(draft, 'data/file'), 'utf8')).toBe('half');
    } finally {
      process.kill(-(earlier.pid ?? 0));
      await new Promise((resolve) => earlier.once('close', resolve));
    }
    await shop.create('clone', fromVolume('pvc-1'));
    expect(shop.read('clone/data/file')).toBe('one');
  });

  it('leaves nothing of a copy that the disk has no room for', async () => {
    const shop = await withData();
    writeFileSync(shop.path('pvc-1/data/large'), new Uint8Array(9 * MIB).fill(1));
    expect(await failureOf(shop.snapshot('snap-1', 'pvc-1'))).toMatch(/^RESOURCE_EXHAUSTED: .*No space left/);
    expect([shop.names('.drafts'), shop.names('.snapshots')]).toEqual([[], []]);
    expect(shop.read('pvc-1/data/file')).toBe('one');
    // Nor does deleting need room.
    await shop.delete('pvc-1');
  });
});

describe.skipIf(lacks('mounts'))('from step 7 on', () => {
  const secrets = { key: 'open-sesame' };
  /** As sha256sum prints it. */
  const sum = `${createHash('sha256').update(secrets.key).digest('hex')}  -\n`;

  it('wants the key where there is one', async () => {
    const shop = await open(7);
    await shop.create('pvc-1');
    writeFileSync(shop.path('.key'), sum);
    for (const wrong of [{}, { key: '' }, { key: 'open' }, { other: 'open-sesame' }]) {
      const request = { name: 's', source_volume_id: 'pvc-1', secrets: wrong };
      expect(await failureOf(shop.create('pvc-2', { secrets: wrong }))).toMatch(/^UNAUTHENTICATED: /);
      expect(await failureOf(shop.client.controller('CreateSnapshot', request))).toMatch(
        /^UNAUTHENTICATED: /,
      );
    }
    expect(await failureOf(shop.delete('pvc-1'))).toMatch(/^UNAUTHENTICATED: /);
    await shop.create('pvc-2', { secrets });
    await shop.client.controller('DeleteVolume', { volume_id: 'pvc-2', secrets });
    expect(shop.names().filter((name) => !name.startsWith('.'))).toEqual(['pvc-1']);
  });

  it.each([
    [6, true],
    [7, false],
  ])('version %i: the key is on a command line: %j', async (step, visible) => {
    const shop = await open(step);
    if (step === 7) writeFileSync(shop.path('.key'), sum);
    // Each program that the script starts writes down how it was called, and how the script was.
    const bin = join(shop.directory, 'bin');
    const seen = join(shop.directory, 'seen');
    mkdirSync(bin);
    for (const tool of ['base64', 'cat', 'mkdir', 'sed', 'sha256sum', 'sync']) {
      const spy = `/bin/cat /proc/$$/cmdline /proc/$PPID/cmdline >>'${seen}'`;
      const path = `PATH=\${PATH#*:} exec ${tool} "$@"`;
      writeFileSync(join(bin, tool), `#!/bin/sh\n${spy}\n${path}\n`, { mode: 0o755 });
    }
    const text = readFileSync(shop.driver, 'utf8');
    writeFileSync(shop.driver, text.replace('export LC_ALL=C', `export LC_ALL=C PATH='${bin}':"$PATH"`));
    await shop.create('pvc-1', { secrets });
    const base64 = Buffer.from(secrets.key).toString('base64');
    expect(readFileSync(seen, 'utf8')).toContain('provision');
    expect(readFileSync(seen, 'utf8').includes(base64)).toBe(visible);
  });
});

describe.skipIf(lacks('mounts'))('from step 8 on', () => {
  it('says where things are, and makes them nowhere else', async () => {
    const shop = await open(8);
    const info = await shop.client.node('NodeGetInfo', {});
    expect(info.accessible_topology).toEqual(at('node-1'));
    const here = { accessibility_requirements: { requisite: [at('node-2'), at('node-1')], preferred: [] } };
    const elsewhere = { accessibility_requirements: { requisite: [at('node-2')] } };
    const { volume } = await shop.create('pvc-1', here);
    expect(volume?.accessible_topology).toEqual([at('node-1')]);
    expect(await failureOf(shop.create('pvc-2', elsewhere))).toMatch(
      /^RESOURCE_EXHAUSTED: .*node node-1 only/,
    );
    const { snapshot } = await shop.snapshot('snap-1', 'pvc-1');
    expect(snapshot?.accessible_topology).toEqual([at('node-1')]);
    const room = (node: string) => shop.client.controller('GetCapacity', { accessible_topology: at(node) });
    expect((await room('node-2')).available_capacity).toBe('0');
    expect(Number((await room('node-1')).available_capacity)).toBeGreaterThan(MIB);
  });

  it('refuses access from many nodes', async () => {
    const shop = await open(8);
    const many = { mount: {}, access_mode: { mode: 'MULTI_NODE_MULTI_WRITER' as const } };
    const call = shop.create('pvc-1', { volume_capabilities: [many] });
    expect(await failureOf(call)).toMatch(/^INVALID_ARGUMENT: .*one node/);
  });
});
