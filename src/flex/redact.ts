/** Arguments of drivers as logs may show them. */
import type { Mask } from '../secrets.ts';
import { encodeOptions, mountFlagsKey, type Options, secretKeyPrefix } from './options.ts';

/**
 * The argument without secrets: in the JSON of the options, the values of all keys that carry secrets by
 * definition (CSI calls mount flags possibly sensitive); and whatever `mask` knows.
 */
export function redactArgument(argument: string, mask: Mask): string {
  return mask(argument.startsWith('{') ? redactOptions(argument) : argument);
}

function redactOptions(json: string): string {
  const options = JSON.parse(json) as Options;
  return encodeOptions(
    Object.fromEntries(
      Object.entries(options).map(([key, value]) => [
        key,
        key.startsWith(secretKeyPrefix) || key === mountFlagsKey ? '***' : value,
      ]),
    ),
  );
}
