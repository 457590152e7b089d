/** Whether a volume is the one that CreateVolume asks for. Pure. */
import { Failure } from '../errors.ts';
import type { DescribedVolume } from '../flex/described.ts';
import type { Provision } from '../flex/extended-options.ts';
import type { Options } from '../flex/options.ts';
import { isWithin } from '../flex/topology.ts';
import type { ProvisionRecord } from './records.ts';

/** A volume as CreateVolume asks for it. */
interface Wanted extends Provision {
  /** The parameters that are the volume's own: what a sidecar adds may change from call to call. */
  readonly defaultOptions: Options;
}

/**
 * CSI, CreateVolume: the volume of that name has to be compatible with the request.
 *
 * @throws {Failure} `incompatible`.
 */
export function refuseOther(
  request: Wanted,
  volume: DescribedVolume,
  record: ProvisionRecord | undefined,
): void {
  const difference =
    sizeDifference(request, volume) ??
    sourceDifference(request, volume, record) ??
    placeDifference(request, volume) ??
    recordedDifference(request, record);
  if (difference !== undefined) {
    throw new Failure(
      'incompatible',
      `volume ${request.name} ${difference}; it was there before, or the driver does not make what it is asked for; delete it first, or use another name`,
    );
  }
}

function sizeDifference(request: Provision, { capacityBytes }: DescribedVolume): string | undefined {
  const { requestBytes, limitBytes } = request;
  if (capacityBytes === undefined) return undefined;
  if (requestBytes !== undefined && capacityBytes < requestBytes) {
    return `has ${capacityBytes} bytes, not the ${requestBytes} that are required`;
  }
  if (limitBytes !== undefined && capacityBytes > limitBytes) {
    return `has ${capacityBytes} bytes, more than the limit of ${limitBytes}`;
  }
  return undefined;
}

function sourceDifference(
  request: Provision,
  volume: DescribedVolume,
  record: ProvisionRecord | undefined,
): string | undefined {
  for (const [field, what] of [
    ['sourceVolume', 'volume'],
    ['sourceSnapshot', 'snapshot'],
  ] as const) {
    const wanted = request[field] ?? '';
    // A driver need not say what a volume was made from.
    const actual = volume[field] ?? record?.[field] ?? (record === undefined ? wanted : '');
    if (wanted === actual) continue;
    if (actual === '') return `is there and was not made from ${what} ${wanted}`;
    return `is there and was made from ${what} ${actual}`;
  }
  return undefined;
}

function placeDifference({ topology }: Provision, volume: DescribedVolume): string | undefined {
  if (isWithin(volume.topology, topology)) return undefined;
  return 'is not usable from any of the places in accessibility_requirements';
}

function recordedDifference(
  { defaultOptions: parameters, fsType, access }: Wanted,
  record: ProvisionRecord | undefined,
): string | undefined {
  if (record === undefined) return undefined;
  const keys = new Set([...Object.keys(parameters), ...Object.keys(record.parameters)]);
  const other = [...keys].find((key) => parameters[key] !== record.parameters[key]);
  if (other !== undefined) return `was created with another value of parameter ${JSON.stringify(other)}`;
  if (fsType !== record.fsType && fsType !== '' && record.fsType !== '') {
    return `was created for fs_type ${record.fsType}`;
  }
  if (access !== record.access && access !== undefined && record.access !== undefined) {
    return `was created as ${record.access} volume`;
  }
  return undefined;
}
