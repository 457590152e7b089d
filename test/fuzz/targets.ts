/** All targets, in the order in which they are run. */

import { grpc } from './grpc/target.ts';
import type { Target } from './target.ts';
import { anyAnswer, brokenAnswer, wholeAnswer } from './targets/answer.ts';
import { jsonMeaning, jsonSyntax } from './targets/json.ts';
import { anyMountTable, mountStacks, mountTable } from './targets/mount-table.ts';
import { answerInNoise } from './targets/noise.ts';
import { encoder, keys } from './targets/options.ts';
import { bashOptions } from './targets/options-bash.ts';
import { pages, tokens } from './targets/paging.ts';
import { capabilities, maps, paths } from './targets/requests.ts';
import { lines, masks, messages } from './targets/secrets.ts';
import { topologyAnswer, topologyText } from './targets/topology.ts';
import { config } from './targets/yaml.ts';

/** Of functions: they need nothing of the machine but bash. */
export const functions: readonly Target[] = [
  ...[anyAnswer, wholeAnswer, brokenAnswer, answerInNoise, jsonMeaning, jsonSyntax],
  ...[mountTable, anyMountTable, mountStacks],
  ...[encoder, keys, bashOptions],
  ...[topologyText, topologyAnswer, pages, tokens, config],
  ...[masks, messages, lines],
  ...[paths, maps, capabilities],
];

/** With the whole plugin: it needs a place where any path does no harm (grpc/cell.ts). */
export const targets: readonly Target[] = [...functions, grpc];
