/** Arguments of drivers as logs may show them. */
import type { Mask } from '../secrets.ts';
import { JsonObject, parseJson } from './json.ts';
import { encodeOptions, mountFlagsKey, secretKeyPrefix } from './options.ts';

/**
 * The argument without secrets: in the JSON of the options, the values of all keys that carry secrets by
 * definition (CSI calls mount flags possibly sensitive); and whatever `mask` knows.
 */
export function redactArgument(argument: string, mask: Mask): string {
  return mask(argument.startsWith('{') ? redactOptions(argument) : argument);
}

/** A name or device may begin with a brace as well: what is no object of strings is shown as it is. */
function redactOptions(argument: string): string {
  let json: unknown;
  try {
    json = parseJson(Buffer.from(argument));
  } catch {
    return argument;
  }
  if (!(json instanceof JsonObject)) return argument;
  return encodeOptions(
    Object.fromEntries(json.members.map(([key, value]) => [key, isSecret(key) ? '***' : String(value)])),
  );
}

function isSecret(key: string): boolean {
  return key.startsWith(secretKeyPrefix) || key === mountFlagsKey;
}
