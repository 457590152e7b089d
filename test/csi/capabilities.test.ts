import { describe, expect, it } from 'vitest';
import { csiCapabilities, type Served } from '../../src/csi/capabilities.ts';
import { defaultCapabilities } from '../../src/flex/capabilities.ts';
import { type Extensions, noExtensions } from '../../src/flex/extensions.ts';

const all: Served = { mode: 'all', attachOn: 'controller' };

describe('csiCapabilities', () => {
  it('of a driver that says nothing in init', () => {
    expect(csiCapabilities(defaultCapabilities, all)).toEqual({
      services: ['CONTROLLER_SERVICE'],
      controller: ['PUBLISH_UNPUBLISH_VOLUME', 'EXPAND_VOLUME', 'SINGLE_NODE_MULTI_WRITER'],
      node: [
        'STAGE_UNSTAGE_VOLUME',
        'GET_VOLUME_STATS',
        'EXPAND_VOLUME',
        'SINGLE_NODE_MULTI_WRITER',
        'VOLUME_MOUNT_GROUP',
      ],
      maxVolumesPerNode: 0,
    });
  });

  const extensions: Extensions = {
    ...noExtensions,
    provision: true,
    clone: true,
    snapshot: true,
    getVolume: true,
    listVolumes: true,
    publishedNodes: true,
    listSnapshots: true,
    getCapacity: true,
    modifyVolume: ['iops'],
    topology: { zone: 'a' },
    maxVolumesPerNode: 7,
  };

  it('of a driver that can all', () => {
    expect(csiCapabilities({ ...defaultCapabilities, extensions }, all)).toMatchObject({
      services: [
        'CONTROLLER_SERVICE',
        'VOLUME_ACCESSIBILITY_CONSTRAINTS',
        'SNAPSHOT_ACCESSIBILITY_CONSTRAINTS',
      ],
      controller: [
        'CREATE_DELETE_VOLUME',
        'PUBLISH_UNPUBLISH_VOLUME',
        'LIST_VOLUMES',
        'GET_CAPACITY',
        'CREATE_DELETE_SNAPSHOT',
        'LIST_SNAPSHOTS',
        'CLONE_VOLUME',
        'PUBLISH_READONLY',
        'EXPAND_VOLUME',
        'LIST_VOLUMES_PUBLISHED_NODES',
        'GET_VOLUME',
        'SINGLE_NODE_MULTI_WRITER',
        'MODIFY_VOLUME',
        'GET_SNAPSHOT',
      ],
      topology: { zone: 'a' },
      maxVolumesPerNode: 7,
    });
  });

  it('leaves out what attaching on the node does not allow', () => {
    const { controller } = csiCapabilities(
      { ...defaultCapabilities, extensions },
      { mode: 'all', attachOn: 'node' },
    );
    expect(controller).toContain('CREATE_DELETE_VOLUME');
    for (const name of [
      'PUBLISH_UNPUBLISH_VOLUME',
      'PUBLISH_READONLY',
      'LIST_VOLUMES_PUBLISHED_NODES',
    ] as const) {
      expect(controller).not.toContain(name);
    }
  });

  it('lets the command line win over init', () => {
    const served = { ...all, topology: { zone: 'b' }, maxVolumesPerNode: 0 };
    expect(csiCapabilities({ ...defaultCapabilities, extensions }, served)).toMatchObject({
      topology: { zone: 'b' },
      maxVolumesPerNode: 0,
    });
    expect(csiCapabilities(defaultCapabilities, served).services).toContain(
      'VOLUME_ACCESSIBILITY_CONSTRAINTS',
    );
  });

  it('of a driver that does not attach', () => {
    const { controller, node } = csiCapabilities({ ...defaultCapabilities, attach: false }, all);
    expect(controller).toEqual(['EXPAND_VOLUME', 'SINGLE_NODE_MULTI_WRITER']);
    expect(node).toEqual([
      'GET_VOLUME_STATS',
      'EXPAND_VOLUME',
      'SINGLE_NODE_MULTI_WRITER',
      'VOLUME_MOUNT_GROUP',
    ]);
  });

  it('stages, but does not attach on the controller, with --attach-on node', () => {
    const { controller, node } = csiCapabilities(defaultCapabilities, { mode: 'all', attachOn: 'node' });
    expect(controller).not.toContain('PUBLISH_UNPUBLISH_VOLUME');
    expect(node).toContain('STAGE_UNSTAGE_VOLUME');
  });

  it('has no stats only when the driver says so', () => {
    const node = (supportsMetrics: boolean | undefined) =>
      csiCapabilities({ ...defaultCapabilities, supportsMetrics }, all).node;
    expect(node(false)).not.toContain('GET_VOLUME_STATS');
    expect(node(true)).toContain('GET_VOLUME_STATS');
    expect(node(undefined)).toContain('GET_VOLUME_STATS');
  });

  it('does not grow file systems for a driver that says requiresFSResize: false', () => {
    const { controller, node } = csiCapabilities({ ...defaultCapabilities, requiresFSResize: false }, all);
    expect(controller).toContain('EXPAND_VOLUME');
    expect(node).not.toContain('EXPAND_VOLUME');
  });

  it('lists only what the served services can', () => {
    expect(csiCapabilities(defaultCapabilities, { mode: 'node', attachOn: 'controller' })).toMatchObject({
      services: ['CONTROLLER_SERVICE'],
      controller: [],
    });
    expect(csiCapabilities(defaultCapabilities, { mode: 'controller', attachOn: 'controller' }).node).toEqual(
      [],
    );
  });
});
