/** What the tests of the chart share: whether helm is there, values, and what to look for in a pod. */
import { expect } from 'vitest';
import { lacks } from '../support/requirements.ts';
import { findHelm } from './helm.ts';
import { containerOf, type KubeObject } from './rendered.ts';

/** The first time it is built here, before the tests begin. */
export const isMissing = (await findHelm()) === undefined && lacks('helm');

export const lvm = 'example.com/lvm';
export const name = 'lvm.example.com';
export const controller = 'flexcsi-lvm-example-com';
export const account = 'flexcsi-controller-lvm-example-com';
/** A driver that has everything. */
export const able = {
  attach: true,
  fsGroup: true,
  provision: true,
  snapshot: true,
  modifyvolume: true,
  getcapacity: true,
  topology: true,
};
export const local = { provision: true, getcapacity: true, topology: true };
export const one = (driver: object = {}, ...others: readonly object[]) => ({
  drivers: [{ driver: lvm, ...driver }, ...others],
});

/** Where the node's directories are in the flexcsi container, each at its own path; with the propagation, if any. */
export function placesOf(pod: KubeObject): string[] {
  const fromNode = new Map(
    pod.volumes.flatMap((volume: KubeObject) =>
      volume.hostPath ? [[volume.name, volume.hostPath.path]] : [],
    ),
  );
  return containerOf(pod, 'flexcsi').volumeMounts.flatMap((mount: KubeObject) => {
    if (!fromNode.has(mount.name)) return [];
    expect(mount.mountPath).toBe(fromNode.get(mount.name));
    return [[mount.mountPath, mount.mountPropagation].filter(Boolean).join(' ')];
  });
}
