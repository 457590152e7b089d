/** The verbs `attach` and `detach`: for the controller, or on the node itself with `--attach-on node`. */
import * as verbs from '../flex/verbs.ts';
import { attachOptions } from './options.ts';
import type { VolumeParts, VolumeUse } from './parts.ts';
import { takeAway } from './removal.ts';

/**
 * Attaches the volume to the node and answers its device: empty when the driver names none, or does not
 * support `attach`, which kubelet takes for success.
 *
 * @throws {Failure} of the driver.
 */
export async function attach(parts: VolumeParts, use: VolumeUse, nodeId: string): Promise<string> {
  const driver = await parts.driver.current();
  const result = await driver.call(verbs.attach(attachOptions(use), nodeId), { mask: use.mask });
  return result.supported ? (result.answer.device ?? '') : '';
}

/**
 * Detaches the volume from the node. Not supported is success, as for kubelet, and so is a volume or node that the
 * driver does not find. The node is a name to the driver and is never looked up: it may be gone.
 *
 * @throws {Failure} of the driver.
 */
export async function detach(parts: VolumeParts, name: string, nodeId: string): Promise<void> {
  const driver = await parts.driver.forCleanUp();
  await takeAway(driver, verbs.detach(name, nodeId));
}
