/** Requests made from the wire format's own description: right types, edge values, and then spoiled. */
import { join } from 'node:path';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { anyText, type Spoil, spoiled, spoils } from '../support/bytes.ts';

const root = new protobuf.Root().loadSync(join(import.meta.dirname, '../../../proto/csi.proto'), {
  keepCase: true,
});
root.resolveAll();

export interface Method {
  /** `/csi.v1.Node/NodeStageVolume` */
  readonly path: string;
  readonly request: protobuf.Type;
  readonly response: protobuf.Type;
}

/** All methods that have one request and one answer, of services that flexcsi does not serve as well. */
export const methods: readonly Method[] =
  root.lookup('csi.v1', [protobuf.Namespace]) === null
    ? []
    : (root.lookup('csi.v1') as protobuf.Namespace).nestedArray.flatMap((service) =>
        service instanceof protobuf.Service
          ? service.methodsArray.flatMap(
              ({ name, resolvedRequestType: request, resolvedResponseType: response, responseStream }) =>
                request === null || response === null || responseStream === true
                  ? []
                  : [{ path: `/${service.fullName.slice(1)}/${name}`, request, response }],
            )
          : [],
      );

/** Where requests point to. */
export interface Places {
  readonly kubelet: string;
  /** Beside kubelet's directory: nothing may be mounted there. */
  readonly outside: string;
}

const rarely = <T>(usual: fc.Arbitrary<T>, unusual: fc.Arbitrary<T>, weight = 30): fc.Arbitrary<T> =>
  fc.oneof({ weight, arbitrary: usual }, { weight: 1, arbitrary: unusual });

const nasty = fc.oneof(
  anyText,
  fc.constantFrom(
    '',
    ' ',
    '..',
    '/',
    '-',
    '--help',
    '-o',
    '\0',
    '\n',
    '\ufffd',
    '__proto__',
    'constructor',
    '\u202e',
  ),
  fc.constantFrom(
    'x'.repeat(129),
    'x'.repeat(5_000),
    'é'.repeat(70_000),
    '{"a":"b"}',
    "'; touch x; '",
    '$(id)',
    '%00',
  ),
);

const ids = rarely(
  fc.constantFrom(
    'vol-1',
    'vol-2',
    'vol-3',
    'snap-1',
    `csi-${'0123456789abcdef'.repeat(4)}`,
    `csi-${'f'.repeat(64)}`,
  ),
  nasty,
);

/** Each contains more than one spelling would hide: what has to be escaped in JSON, a URL or a shell. */
const canaries = fc
  .tuple(
    fc.constantFrom('canary-', 'canäry/+=&', 'canary "x" ', "canary's\\", 'canary\nline '),
    fc.nat({ max: 2 ** 30 }),
  )
  .map(([form, number]) => `${form}${number.toString(36).padStart(8, 'q')}`);

function pathsIn({ kubelet, outside }: Places): fc.Arbitrary<string> {
  const staging = `${kubelet}/plugins/kubernetes.io/csi/fuzz.example.com`;
  const pods = `${kubelet}/pods`;
  const usual = fc.constantFrom(
    ...['a', 'b'].map((name) => `${staging}/${name}/globalmount`),
    ...['1', '2', '3'].map((uid) => `${pods}/${uid}/volumes/kubernetes.io~csi/pv/mount`),
    `${pods}/4/volumes/kubernetes.io~csi/inline/mount`,
    `${pods}/5/volumes/kubernetes.io~csi/x y\\040"z/mount`,
    `${pods}/5/volumeDevices/kubernetes.io~csi/block`,
  );
  const part = fc.oneof(
    fc.constantFrom('a', '..', '.', '', 'link', 'file', 'b c', '\n', '\\040', '-x', 'é'),
    nasty,
  );
  const odd = fc.oneof(
    fc.array(part, { maxLength: 4 }).map((parts) => `${kubelet}/${parts.join('/')}`),
    fc.constantFrom(
      '',
      '/',
      'relative',
      `${outside}/x`,
      `${outside}/keep`,
      `${kubelet}/link/x`,
      `${kubelet}/file/x`,
    ),
    fc.constantFrom(
      '/nonexistent/flexcsi/x',
      `${kubelet}/${'d/'.repeat(2_000)}e`,
      `${kubelet}/${'n'.repeat(300)}`,
    ),
    nasty.filter((text) => !text.startsWith('/')),
  );
  return rarely(usual, odd, 5);
}

const secretKeys = fc.oneof(fc.constantFrom('password', 'user', 'a/b', '__proto__', ''), anyText);
const secrets = fc.dictionary(
  secretKeys,
  rarely(
    canaries,
    anyText.filter((text) => text.length === 0),
  ),
  { maxKeys: 3 },
);
const optionKeys = rarely(
  fc.constantFrom('size', 'dir', 'iops', 'csi.storage.k8s.io/pod.name', 'csi.storage.k8s.io/pvc/name'),
  fc.oneof(
    nasty,
    fc.constantFrom('kubernetes.io/secret/x', 'csi/mountOptions', 'csi.storage.k8s.io/ephemeral'),
  ),
);
const optionMap = rarely(
  fc.dictionary(optionKeys, rarely(fc.constantFrom('1', 'true', 'a b'), nasty), { maxKeys: 4 }),
  fc.constant({ 'csi.storage.k8s.io/ephemeral': 'true', 'csi.storage.k8s.io/pod.name': 'p' }),
  20,
);
const flags = fc.array(
  fc.oneof(
    fc.constantFrom('ro', 'noatime', 'size=64k'),
    canaries.map((one) => `password=${one.replaceAll(',', '')}`),
    nasty.filter((text) => !text.includes('remount')),
  ),
  { maxLength: 2 },
);

const int64 = rarely(
  fc.constantFrom('0', '1', '1048576', '4096', '1099511627776'),
  fc.constantFrom('-1', '9223372036854775807', '-9223372036854775808', '9007199254740993'),
  12,
);

/** Values for a field: by its name where that says what is sensible, else by its type. */
function anyOf(field: protobuf.Field, places: Places): fc.Arbitrary<unknown> {
  if (field.map) return mapOf(field);
  if (field.name === 'mount_flags') return flags;
  const one = singleOf(field, places);
  return field.repeated ? fc.array(one, { maxLength: 3 }) : one;
}

function mapOf({ name }: protobuf.Field): fc.Arbitrary<unknown> {
  if (name === 'secrets') return secrets;
  if (name === 'publish_context') {
    return fc.dictionary(
      fc.constantFrom('device', 'readonly', 'x'),
      rarely(fc.constantFrom('', 'd', 'true'), nasty),
    );
  }
  if (name === 'segments')
    return rarely(
      fc.dictionary(fc.constantFrom('zone', 'rack'), fc.constantFrom('a', 'b')),
      optionMap as fc.Arbitrary<Record<string, string>>,
    );
  return optionMap;
}

function singleOf({ name, type, resolvedType }: protobuf.Field, places: Places): fc.Arbitrary<unknown> {
  if (resolvedType instanceof protobuf.Type) return messageOf(resolvedType, places);
  if (resolvedType instanceof protobuf.Enum) {
    const numbers = Object.values(resolvedType.values);
    // The first is UNKNOWN, which is an error everywhere.
    return rarely(fc.constantFrom(...numbers.slice(1)), rarely(fc.constant(0), fc.integer(), 2), 30);
  }
  if (type === 'bool') return fc.boolean();
  if (type === 'string') return textOf(name, places);
  if (type === 'bytes') return fc.uint8Array({ maxLength: 20 });
  return type.includes('64') ? int64 : fc.oneof(fc.nat({ max: 3 }), fc.integer());
}

function textOf(name: string, places: Places): fc.Arbitrary<string> {
  if (name.endsWith('_path')) return pathsIn(places);
  if (name.endsWith('_id') && name !== 'node_id') return ids;
  if (name === 'name') return ids;
  if (name === 'node_id') return rarely(fc.constantFrom('node-1', 'node-2'), nasty);
  if (name === 'fs_type') return rarely(fc.constantFrom('', 'tmpfs', 'ext4'), nasty);
  if (name === 'volume_mount_group') return rarely(fc.constantFrom('', '0', '2000'), nasty);
  if (name === 'starting_token')
    return rarely(fc.constant(''), fc.oneof(nasty, fc.constant(`after-${'8'.repeat(64)}`)), 2);
  return nasty;
}

type Message = Readonly<Record<string, unknown>>;

/** A message with nearly all of its fields, and one member of each oneof, mostly. */
function messageOf(type: protobuf.Type, places: Places): fc.Arbitrary<Message> {
  const choices = type.oneofsArray
    .map(({ fieldsArray }) => fieldsArray)
    .filter((fields) => fields.length > 1);
  const alone = type.fieldsArray.filter((field) => !choices.some((fields) => fields.includes(field)));
  const single = (field: protobuf.Field): fc.Arbitrary<Message> =>
    anyOf(field, places).map((value) => ({ [field.name]: value }));
  const parts = [
    ...alone.map((field) => rarely(single(field), fc.constant({}), 30)),
    ...choices.map((fields) => {
      const all = fc.tuple(...fields.map(single)).map((members) => Object.assign({}, ...members) as Message);
      return rarely(fc.oneof(...fields.map(single)), rarely(fc.constant({}), all, 3), 30);
    }),
  ];
  return fc.tuple(...parts).map((members) => Object.assign({}, ...members) as Message);
}

/** One request, as it is sent. */
export interface Request {
  readonly path: string;
  readonly message: Message;
  /** Fields that CSI does not have, behind the others. */
  readonly unknown: Uint8Array;
  readonly spoils: readonly Spoil[];
}

/** Tags of fields with numbers that no message has, each with a value. */
const unknown = rarely(
  fc.constant(new Uint8Array()),
  fc.tuple(fc.integer({ min: 900, max: 5_000 }), fc.uint8Array({ maxLength: 20 })).map(([number, bytes]) =>
    protobuf.Writer.create()
      .uint32(number * 8 + 2)
      .bytes(bytes)
      .finish(),
  ),
  5,
);

export function requestTo(method: Method, places: Places): fc.Arbitrary<Request> {
  return fc.record(
    {
      path: fc.constant(method.path),
      message: messageOf(method.request, places),
      unknown,
      spoils: rarely(fc.constant<readonly Spoil[]>([]), spoils, 12),
    },
    { noNullPrototype: true },
  );
}

export function bytesOf({ path, message, unknown: more, spoils: changes }: Request): Buffer {
  const method = methods.find((one) => one.path === path);
  const good = method?.request.encode(method.request.fromObject(message)).finish() ?? new Uint8Array();
  return Buffer.from(spoiled(Buffer.concat([good, more]), changes));
}

/** The values in the request's secrets, and the passwords of its mount flags. */
export function secretsIn(value: unknown, isSecret = false): string[] {
  if (typeof value === 'string') {
    const found = isSecret ? value : /^password=(.*)$/s.exec(value)?.[1];
    return found === undefined || found === '' ? [] : [found];
  }
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => secretsIn(inner, isSecret || name === 'secrets'));
}
