/** Probe, and kubelet's start with one driver: `init` and what follows from it. */
import type { Result } from '../expectation.ts';
import type { GoldenRecord } from '../records.ts';
import type { Session } from '../session.ts';
import type { Step } from './step.ts';

/**
 * Probe → flexcsi's start, and the Probe RPC. `init` has run while flexcsi started, once: see `replayRecord`.
 * kubelet's capabilities are compared with the driver's as flex/ holds them, and with those of CSI that follow.
 */
const probe: Step = {
  name: /^(?:Probe|kubelet starts)$/,
  async act(session, record) {
    const { client } = session.plugin;
    const { ready } = await client.identity('Probe', {});
    const { manifest } = await client.identity('GetPluginInfo', {});
    return {
      usable: ready?.value === true,
      driver_name: manifest['flexvolume-driver'],
      ...(await capabilities(session, record)),
    };
  },
};

/** Throws when what CSI says does not follow from what the driver says. */
async function capabilities(session: Session, { step }: GoldenRecord): Promise<Result> {
  if (step !== 'Probe') return {};
  const { client } = session.plugin;
  const driver = (await session.flexDriver()).capabilities;
  const controller = (await client.controller('ControllerGetCapabilities', {})).capabilities;
  const node = (await client.node('NodeGetCapabilities', {})).capabilities;
  const has = (list: typeof controller | typeof node, type: string): boolean =>
    list.some((one) => one.rpc?.type === type);
  const isStaged = has(node, 'STAGE_UNSTAGE_VOLUME');
  return {
    capabilities: {
      attachable: both('attach', driver.attach, has(controller, 'PUBLISH_UNPUBLISH_VOLUME')),
      device_mountable: both('attach', driver.attach, isStaged),
      managed_when_writable: driver.fsGroup,
      metrics: has(node, 'GET_VOLUME_STATS'),
      requires_fs_resize: both('requiresFSResize', driver.requiresFSResize, has(node, 'EXPAND_VOLUME')),
      selinux_relabel: driver.selinuxRelabel,
    },
  };
}

function both(name: string, driver: boolean, csi: boolean): boolean {
  if (driver !== csi) throw new Error(`the driver's ${name} is ${driver}, CSI says ${csi}`);
  return csi;
}

export const startSteps: readonly Step[] = [probe];
