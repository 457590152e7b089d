import { driverOptions, type MountDetails, type Options } from '../flex/options.ts';
import type { VolumeUse } from './parts.ts';

/** What the JSON argument of a verb is made of. */
type Described = Pick<VolumeUse, 'name' | 'fsType' | 'readOnly' | 'options'>;

/** The options of the verbs that attach and expand: they are told nothing of mounting. */
export function attachOptions(use: Described): Options {
  const { name, fsType, readOnly, options } = use;
  return driverOptions({ volumeName: name, fsType, readOnly, options });
}

/** The options of `mountdevice`, and with `mount` those of `mount`. */
export function mountOptions(use: Described & Pick<VolumeUse, 'mountFlags'>, mount?: MountDetails): Options {
  const { name, fsType, readOnly, options, mountFlags } = use;
  return driverOptions({ volumeName: name, fsType, readOnly, options, mountFlags, mount });
}
