/** Names of drivers: the directory's, FlexVolume's and CSI's. */
import { basename, dirname } from 'node:path';
import { Failure } from '../errors.ts';

/** `vendor~driver` → `vendor/driver`: every `~` stands for `/`. */
export function flexNameOfEntry(entry: string): string {
  return entry.replaceAll('~', '/');
}

/** `vendor/driver` → `vendor~driver`, the driver's directory in the plugin directory. */
export function entryOfFlexName(flexName: string): string {
  return flexName.replaceAll('/', '~');
}

/** The file name of the executable in the driver's directory: the last part of the name. */
export function executableOf(entry: string): string {
  return entry.slice(entry.lastIndexOf('~') + 1);
}

/**
 * The FlexVolume name of an executable: `vendor/driver` for `…/vendor~driver/driver`, `driver` for
 * `…/driver/driver`, else the file's own name.
 */
export function flexNameOf(file: string): string {
  const entry = basename(dirname(file));
  return isDriverFile(file) && isQualifiedName(flexNameOfEntry(entry))
    ? flexNameOfEntry(entry)
    : basename(file);
}

/** Whether the file lies in a directory of the driver's own, as in a plugin directory. */
export function isDriverFile(file: string): boolean {
  return executableOf(basename(dirname(file))) === basename(file);
}

const label = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const subdomain = new RegExp(`^${label}(\\.${label})*$`);

/**
 * Kubernetes' qualified name: at most one `/`, before it a lower-case DNS name of at most 253 characters,
 * after it at most 63 letters, digits, `-`, `_` and `.`, the first and the last a letter or digit. Kubelet
 * never finds a driver by another name (recording `probe.names`).
 */
export function isQualifiedName(name: string): boolean {
  const slash = name.indexOf('/');
  const prefix = slash === -1 ? undefined : name.slice(0, slash);
  const last = name.slice(slash + 1);
  if (prefix !== undefined && (prefix.length > 253 || !subdomain.test(prefix))) return false;
  return last.length <= 63 && /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/.test(last);
}

/**
 * The CSI name of a FlexVolume driver, unless another is set: `<driver>.<vendor>` in lower case, without a
 * vendor `<driver>.flexvolume`. Throws a `Failure` (`driver-unusable`) when CSI forbids that name.
 */
export function csiName(flexName: string): string {
  const parts = flexName.toLowerCase().split('/');
  const name = parts.length === 1 ? `${parts[0]}.flexvolume` : parts.reverse().join('.');
  const fault = csiNameFault(name);
  if (fault !== undefined) {
    throw new Failure(
      'driver-unusable',
      `driver ${flexName}: its CSI name would be "${name}", which ${fault}: set another one in the file of --config (drivers: ${flexName}: name), or with --name for a single --driver`,
    );
  }
  return name;
}

/**
 * Throws a `Failure` (`driver-unusable`) when the name is none for a CSI driver: at most 63 characters (CSI's
 * GetPluginInfo) and a DNS name in lower case (Kubernetes' CSIDriver object).
 */
export function checkCsiName(name: string): void {
  const fault = csiNameFault(name);
  if (fault !== undefined) {
    throw new Failure(
      'driver-unusable',
      `"${name}" cannot be a CSI name: it ${fault} (--name, or name in the file of --config)`,
    );
  }
}

/** Why a name is none for a CSI driver, as the end of a sentence; undefined for one that is. */
export function csiNameFault(name: string): string | undefined {
  if (name.length > 63) return `has ${name.length} characters where CSI allows 63`;
  if (!subdomain.test(name)) {
    return 'is no DNS name (lower-case letters, digits, - and ., each part beginning and ending with a letter or digit)';
  }
  return undefined;
}
