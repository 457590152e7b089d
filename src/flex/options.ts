/** The options of a FlexVolume call: which keys a driver gets, and the exact text that carries them. */

export type Options = Readonly<Record<string, string>>;

/** The pod that a volume is mounted for. Empty strings where the caller does not know. */
export interface Pod {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly serviceAccount: string;
}

/**
 * Under which key a driver gets the pod's group: `current` is what Kubernetes has written since 1.29 at the
 * latest, `legacy` what the FlexVolume guide says and what releases like 1.13 wrote.
 */
export type GroupKey = 'current' | 'legacy' | 'both';

/** What only `mount` is told. */
export interface MountDetails {
  readonly pod: Pod;
  /** Text stands for its UTF-8 bytes. */
  readonly secrets: Readonly<Record<string, string | Uint8Array>>;
  /** The pod's group as a decimal number; left out when the pod has none. `0` is a group. */
  readonly group?: string | undefined;
  readonly groupKey: GroupKey;
}

export interface DriverOptionsInput {
  /** The PersistentVolume's name, or for a pod's in-line volume its name in the pod. */
  readonly volumeName: string;
  readonly fsType: string;
  readonly readOnly: boolean;
  /** The volume's own options. */
  readonly options: Options;
  readonly mount?: MountDetails | undefined;
  /** For `mountdevice` and `mount`. FlexVolume had none, so kubelet never passed any. */
  readonly mountFlags?: readonly string[] | undefined;
}

export const secretKeyPrefix = 'kubernetes.io/secret/';
export const mountFlagsKey = 'csi/mountOptions';

/** Keys that only flexcsi writes begin with this. */
export const ownKeyPrefix = 'csi/';

/**
 * Whether a volume's own option must not have this key: those in Kubernetes' namespaces, which the API server
 * refuses in FlexVolume options, and flexcsi's own.
 */
export function isReserved(key: string): boolean {
  return key.startsWith(ownKeyPrefix) || isKubernetes(key);
}

/** A volume's own options, out of attributes that nobody has checked: without the keys that a driver must not get from there. */
export function ownOptions(attributes: Options): Options {
  // Not by assignment: a key __proto__ would be lost.
  return Object.fromEntries(
    Object.entries(attributes).filter(([key]) => !isKubernetes(key) && key !== mountFlagsKey),
  );
}

/** Whether the part before the first `/`, or the whole key, is or ends in `kubernetes.io` or `k8s.io`. */
export function isKubernetes(key: string): boolean {
  const namespace = key.includes('/') ? key.slice(0, key.indexOf('/')) : key;
  return /\.(kubernetes|k8s)\.io$/.test(`.${namespace.toLowerCase()}`);
}

/**
 * The options object of one verb. The volume's own options win over every key that is added here, as under
 * kubelet (recordings `options.collide-*`); who may set such keys is not decided here.
 */
export function driverOptions(input: DriverOptionsInput): Options {
  const { mount, mountFlags = [] } = input;
  return {
    'kubernetes.io/fsType': input.fsType,
    'kubernetes.io/readwrite': input.readOnly ? 'ro' : 'rw',
    'kubernetes.io/pvOrVolumeName': input.volumeName,
    ...(mountFlags.length === 0 ? {} : { [mountFlagsKey]: mountFlags.join(',') }),
    ...(mount === undefined ? {} : mountOptions(mount)),
    ...input.options,
  };
}

function mountOptions({ pod, secrets, group, groupKey }: MountDetails): Options {
  return {
    ...Object.fromEntries(
      Object.entries(secrets).map(([key, value]) => [
        secretKeyPrefix + key,
        Buffer.from(value).toString('base64'),
      ]),
    ),
    ...(group !== undefined && groupKey !== 'legacy' ? { 'kubernetes.io/mounterArgs.FsGroup': group } : {}),
    ...(group !== undefined && groupKey !== 'current' ? { 'kubernetes.io/fsGroup': group } : {}),
    'kubernetes.io/pod.name': pod.name,
    'kubernetes.io/pod.namespace': pod.namespace,
    'kubernetes.io/pod.uid': pod.uid,
    'kubernetes.io/serviceAccount.name': pod.serviceAccount,
  };
}

/**
 * Exactly the bytes that Go's `encoding/json` writes for a `map[string]string`: scripts split words with `$*`
 * and grep this text, so that every byte matters (recordings `options.*`).
 *
 * Lone surrogates stand for bytes that were not UTF-8 (U+DC80 to U+DCFF for 0x80 to 0xFF, as in Python's
 * `surrogateescape`); each becomes the six characters `\ufffd`. Keys are sorted by their UTF-8 bytes.
 */
export function encodeOptions(options: Options): string {
  const members = Object.entries(options)
    .map(([key, value]) => ({ key, value, bytes: rawBytes(key) }))
    .sort((a, b) => Buffer.compare(a.bytes, b.bytes))
    .map(({ key, value }) => `${encodeString(key)}:${encodeString(value)}`);
  return `{${members.join(',')}}`;
}

const escapes: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
};

function encodeString(text: string): string {
  // Without the `u` flag a class of surrogates would match half a pair: with it, only lone ones.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to escape.
  const escaped = text.replace(/["\\\x00-\x1f<>&\u2028\u2029\ud800-\udfff]/gu, (character) => {
    const code = character.charCodeAt(0);
    if (code >= 0xd800 && code <= 0xdfff) return '\\ufffd';
    return escapes[character] ?? `\\u${code.toString(16).padStart(4, '0')}`;
  });
  return `"${escaped}"`;
}

/** The bytes of a key as kubelet held them, for sorting. */
function rawBytes(text: string): Buffer {
  if (text.isWellFormed()) return Buffer.from(text);
  return Buffer.concat(
    Array.from(text, (character) => {
      const code = character.charCodeAt(0);
      const isByte = character.length === 1 && code >= 0xdc80 && code <= 0xdcff;
      return isByte ? Buffer.of(code - 0xdc00) : Buffer.from(character);
    }),
  );
}
