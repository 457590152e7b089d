/** The JSON argument of a call, made without flexcsi's encoder: for calls that no recording has. */
import { detailsOf, volumeOf } from './calls.ts';
import type { GoldenRecord } from './records.ts';

/** @param isMount adds what only `mount` gets; `more` are keys of flexcsi's own. */
export function optionsText(
  record: GoldenRecord,
  isMount: boolean,
  more: Readonly<Record<string, string>> = {},
): string {
  const volume = volumeOf(record);
  const { pod, secrets, group } = detailsOf(record);
  const all: Record<string, string> = {
    'kubernetes.io/fsType': volume.fsType,
    'kubernetes.io/readwrite': volume.readOnly ? 'ro' : 'rw',
    'kubernetes.io/pvOrVolumeName': volume.name,
    ...more,
  };
  if (isMount) {
    for (const [key, value] of Object.entries(secrets)) {
      all[`kubernetes.io/secret/${key}`] = value.toString('base64');
    }
    if (group !== undefined) all['kubernetes.io/mounterArgs.FsGroup'] = group;
    all['kubernetes.io/pod.name'] = pod.name;
    all['kubernetes.io/pod.namespace'] = pod.namespace;
    all['kubernetes.io/pod.uid'] = pod.uid;
    all['kubernetes.io/serviceAccount.name'] = pod.serviceAccount;
  }
  const entries = Object.entries({ ...all, ...volume.options });
  entries.sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const asEscape = (character: string): string =>
    `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  const text = entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',');
  return `{${text}}`.replace(/[<>&\u2028\u2029]/g, asEscape);
}
