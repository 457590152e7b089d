/** The Helm chart as a whole: lint, the plain YAML made of it, its default values and configuration. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { loadConfig } from '../../src/cli/config.ts';
import { manifest } from '../../src/cli/manifest.ts';
import { chart, render, runHelm } from './helm.ts';
import { plainFile, plainYaml } from './plain.ts';
import { containersOf, type KubeObject, objectsOf, Rendered } from './rendered.ts';
import { TemporaryFile } from './temporary-file.ts';
import { able, isMissing, lvm, one } from './values.ts';

/** No two objects of one kind and name, and names that Kubernetes takes: those of roles may have colons. */
function expectDistinct(objects: readonly KubeObject[]): void {
  const ids = objects.map(
    ({ kind, metadata }) => `${kind} ${metadata.namespace ?? ''}/${metadata.name as string}`,
  );
  expect(ids).toEqual([...new Set(ids)]);
  for (const { kind, metadata } of objects) {
    const pattern = /Role/.test(kind) ? /^[a-z0-9][-a-z0-9.:]*$/ : /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/;
    expect(metadata.name, kind).toMatch(pattern);
  }
}

describe.skipIf(isMissing)('the chart', () => {
  it.each([
    ['as it is', {}],
    ['with a driver', one()],
    ['with a driver that has everything', one({ capabilities: able, storageClasses: [{ name: 'fast' }] })],
    ['with drivers on the nodes', { ...one(), host: { enabled: true } }],
  ])('passes helm lint %s', async (_what, values) => {
    expect(await runHelm(['lint', '--strict', chart, '--values', '-'], JSON.stringify(values))).toContain(
      '1 chart(s) linted, 0 chart(s) failed',
    );
  });

  it('is written anew into deploy/flexcsi.yaml: npx node test/deploy/plain.ts', async () => {
    expect(readFileSync(plainFile, 'utf8')).toBe(await plainYaml());
  });

  it('has no object twice', async () => {
    const local2 = { driver: 'flexcsi/loop', capabilities: able, provisionOn: 'node' };
    const secrets = [
      { namespace: 'vault', name: 'a' },
      { namespace: 'vault', name: 'b' },
    ];
    const { objects } = await render(
      one(
        { capabilities: able, storageCapacity: true, secrets },
        { ...local2, storageCapacity: true, secrets },
      ),
    );
    expectDistinct(objects);
  });

  it('has no object twice for drivers with the names of its own objects', async () => {
    const central = { capabilities: able, storageCapacity: true };
    const secrets = [{ namespace: 'storage', name: 'a' }];
    const names = [
      'node',
      'controller',
      'lvm',
      'controller.lvm',
      'lvm.capacity',
      'lvm.secrets',
      'secrets.lvm',
    ];
    const drivers = names.map((name) => ({ ...central, secrets, driver: `example.com/${name}`, name }));
    const onNode = ['node.lvm', 'node.node', 'capacity.lvm'].map((name) => ({
      ...{ ...central, secrets, provisionOn: 'node', driver: `example.com/${name}`, name },
    }));
    const rendered = await render({ drivers: [...drivers, ...onNode] });
    expectDistinct(rendered.objects);
    // The account of the nodes may not do what a controller may.
    expect((await render({ drivers })).rights('flexcsi-node')).toEqual([
      'get persistentvolumeclaims',
      'get persistentvolumes',
      'list persistentvolumes',
    ]);
  });

  it('has names that are texts, whatever they look like', async () => {
    const args = ['template', '1.5', chart, '--namespace', '123', '--values', '-'];
    const values = {
      ...one({ capabilities: able, name: '1e3' }),
      fullnameOverride: '077',
      nameOverride: 'true',
    };
    const objects = objectsOf(await runHelm(args, JSON.stringify(values)));
    for (const { metadata } of objects) {
      expect(typeof metadata.name).toBe('string');
      expect(['string', 'undefined']).toContain(typeof metadata.namespace);
      for (const label of Object.values(metadata.labels)) expect(typeof label).toBe('string');
    }
    expect(objects.find(({ kind }) => kind === 'ConfigMap').metadata.name).toBe('077');
  });

  it('has nothing in the cluster, or on a node, in common with a release of its name elsewhere', async () => {
    const inNamespace = async (namespace: string, release: string) => {
      const args = ['template', release, chart, '--namespace', namespace, '--values', '-'];
      return new Rendered(objectsOf(await runHelm(args, JSON.stringify(one()))));
    };
    const [here, there] = [await inNamespace('a', 'b-flexcsi'), await inNamespace('a-b', 'flexcsi')];
    const roles = (rendered: Rendered) => rendered.all('ClusterRole').map(({ metadata }) => metadata.name);
    expect(roles(here).filter((role) => roles(there).includes(role))).toEqual([]);
    expect(here.flexcsi('DaemonSet').args).toContain('--state-dir=/var/lib/flexcsi/a_b-flexcsi');
    expect(there.flexcsi('DaemonSet').args).toContain('--state-dir=/var/lib/flexcsi/a-b_flexcsi');
  });
});

describe.skipIf(isMissing)('the configuration', () => {
  const file = new TemporaryFile('config.yaml');
  afterAll(() => file.remove());

  it('is one that serve reads, with an entry for every driver', async () => {
    const failures = [{ message: 'no such "volume" \\d+', verbs: ['attach'], code: 'NOT_FOUND' }];
    const rendered = await render(
      one(
        { name: 'mine.example.com', attachOn: 'node', fsGroupKey: 'legacy', failures },
        { driver: 'flexcsi/nfs', capabilities: { attach: false } },
      ),
    );
    file.write(rendered.one('ConfigMap').data['config.yaml']);
    const { drivers } = await loadConfig(file.path);
    expect([...drivers.keys()].sort()).toEqual(['example.com/lvm', 'flexcsi/nfs']);
    expect(drivers.get(lvm)).toMatchObject({
      name: 'mine.example.com',
      attachOn: 'node',
      fsGroupKey: 'legacy',
      failures: [{ code: 'NOT_FOUND' }],
    });
  });

  it('is one that serve reads without drivers, too', async () => {
    file.write((await render({})).one('ConfigMap').data['config.yaml']);
    expect((await loadConfig(file.path)).drivers.size).toBe(0);
  });

  it('replaces pods when it changes', async () => {
    const sum = async (driver: object) =>
      (await render(one(driver))).one('DaemonSet').spec.template.metadata.annotations['checksum/config'];
    expect(await sum({})).not.toBe(await sum({ attachOn: 'node' }));
  });
});

describe.skipIf(isMissing)('the default values', () => {
  const defaults = parse(readFileSync(join(chart, 'values.yaml'), 'utf8'));

  it('pass the schema, as do those in comments for a driver', async () => {
    const text = readFileSync(join(chart, 'values.yaml'), 'utf8');
    const commented = /^drivers: \[\]\n((?:#.*\n)+)/m.exec(text)?.[1]?.replaceAll(/^# ?/gm, '') ?? '';
    const drivers = parse(commented);
    expect(drivers).toHaveLength(1);
    await render({ ...defaults, drivers: [{ ...drivers[0], capabilities: able }] });
  });
});

describe.skipIf(isMissing)('what flexcsi manifest prints', () => {
  const pluginDir = join(import.meta.dirname, '../../drivers');

  it('are values of the chart, which makes the objects that it prints', async () => {
    const values = await manifest({ pluginDir, hostPid: 1, output: 'values' });
    const objects = objectsOf((await manifest({ pluginDir, hostPid: 1, output: 'objects' })).text);
    const rendered = await render(parse(values.text));
    expect(values.problems).toEqual([]);
    expect(objects).toHaveLength(5);
    for (const { metadata, spec } of objects) {
      expect(rendered.one('CSIDriver', metadata.name).spec).toMatchObject(spec);
    }
    expect(containersOf(rendered.pod('Deployment', 'flexcsi-loop-flexcsi'))).toHaveLength(5);
  });
});
