/** Secrets that must not turn up anywhere: given to every RPC that takes some, and looked for afterwards. */
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** The keys of csi-sanity's file of secrets, without the `Secret` at their end. */
const rpcs = [
  'CreateVolume',
  'DeleteVolume',
  'ControllerPublishVolume',
  'ControllerUnpublishVolume',
  'ControllerValidateVolumeCapabilities',
  'NodeStageVolume',
  'NodePublishVolume',
  'CreateSnapshot',
  'DeleteSnapshot',
  'ControllerExpandVolume',
  'ControllerModifyVolume',
  'ListSnapshots',
  'GetSnapshot',
] as const;

/** A secret for each RPC, by its name. */
export type Canaries = ReadonlyMap<string, string>;

export function makeCanaries(): Canaries {
  return new Map(rpcs.map((rpc) => [rpc, `canary-${rpc}-${randomBytes(9).toString('hex')}`]));
}

/** The text of csi-sanity's file of secrets. JSON is YAML. */
export function secretsFile(canaries: Canaries): string {
  return JSON.stringify(
    Object.fromEntries([...canaries].map(([rpc, secret]) => [`${rpc}Secret`, { password: secret }])),
  );
}

/** The files, of these and of all below these directories, that hold a canary, plain or in base64: one line each. */
export function findCanaries(canaries: Canaries, paths: readonly string[]): string[] {
  return paths.flatMap(filesOf).flatMap((file) => {
    const text = readFileSync(file, 'utf8');
    const found = [...canaries].filter(([, secret]) => formsOf(secret).some((form) => text.includes(form)));
    return found.map(([rpc]) => `${file} holds the secret of ${rpc}`);
  });
}

function formsOf(secret: string): string[] {
  // The last characters of base64 depend on what follows.
  return [
    secret,
    Buffer.from(secret)
      .toString('base64')
      .replace(/.{0,2}=*$/, ''),
  ];
}

function filesOf(path: string): string[] {
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return existsSync(path) ? [path] : [];
  const entries = readdirSync(path, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}
