/** What all that make calls share. */
import type { Random } from '../crash/random.ts';
import type { CsiClient } from '../support/csi-client.ts';
import type { Calls } from './calls.ts';
import type { Places } from './places.ts';
import type { Problems } from './problems.ts';

export interface Setting {
  readonly places: Places;
  readonly client: CsiClient;
  readonly calls: Calls;
  readonly problems: Problems;
  readonly random: Random;
  /** Whether everything is to be taken down. */
  readonly isEnding: () => boolean;
}

export const MIB = 1024 * 1024;
export const SECRET = 'soak-canary-2f6d1c';

export const mounted = {
  mount: { fs_type: '' },
  access_mode: { mode: 'SINGLE_NODE_MULTI_WRITER' },
} as const;

export const block = { block: {}, access_mode: { mode: 'SINGLE_NODE_MULTI_WRITER' } } as const;
