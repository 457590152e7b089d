/** Answers of drivers, made together with what kubelet makes of them. */
import fc from 'fast-check';
import { anyValue, type Meaning, numberText, objectOf, type Piece, string, stringOf } from './json-model.ts';

type ObjectMeaning = Extract<Meaning, { kind: 'object' }>;

const texts = ['status', 'message', 'device', 'volumeName'] as const;
const flags = ['attach', 'selinuxRelabel', 'fsGroup', 'requiresFSResize', 'supportsMetrics'] as const;
const names = [
  ...texts,
  'attached',
  'capabilities',
  'volumeNewSize',
  ...flags,
  'code',
  'volumes',
  'topology',
];

/** Names of fields, in any case, in letters that only Unicode takes for the same, and others like them. */
const name: fc.Arbitrary<Piece<string>> = fc
  .tuple(fc.constantFrom(...names), fc.constantFrom('as it is', 'upper', 'lower', 'folded', 'longer'))
  .chain(([field, how]) => {
    if (how === 'upper') return stringOf(field.toUpperCase());
    if (how === 'lower') return stringOf(field.toLowerCase());
    if (how === 'folded') return stringOf(field.replace(/s/g, '\u017f').replace(/k/gi, '\u212a'));
    return stringOf(how === 'longer' ? `${field}s` : field);
  });

const flag: fc.Arbitrary<Piece> = fc
  .boolean()
  .map((value) => ({ bytes: Buffer.from(String(value)), says: { kind: 'boolean', value } }));
const status: fc.Arbitrary<Piece> = fc
  .constantFrom('Success', 'Not supported', 'Failure', 'success', '')
  .chain(stringOf)
  .map(textPiece);
const size: fc.Arbitrary<Piece> = numberText.map((text) => ({
  bytes: Buffer.from(text),
  says: { kind: 'number', text },
}));

function textPiece({ bytes, says }: Piece<string>): Piece {
  return { bytes, says: { kind: 'string', value: says } };
}

const capabilities = objectOf(
  fc.tuple(
    fc.oneof(name, string),
    fc.oneof({ weight: 8, arbitrary: flag }, { weight: 1, arbitrary: anyValue }),
  ),
);

/** A value that the field of that name may have, mostly. */
function anyOf(field: string): fc.Arbitrary<Piece> {
  const fold = field.toLowerCase();
  const right =
    fold === 'status'
      ? status
      : fold === 'attached'
        ? flag
        : fold === 'capabilities'
          ? capabilities
          : fold === 'volumenewsize'
            ? size
            : string.map(textPiece);
  return fc.oneof({ weight: 9, arbitrary: right }, { weight: 1, arbitrary: anyValue });
}

/** One JSON object, mostly of known fields. */
export const answerText: fc.Arbitrary<Piece<ObjectMeaning>> = objectOf(
  fc
    .oneof({ weight: 6, arbitrary: name }, { weight: 1, arbitrary: string })
    .chain((key) => anyOf(key.says).map((value) => [key, value] as const)),
  6,
);

/** What kubelet reads in it; undefined: it refuses the answer. */
export function meantBy({ members }: ObjectMeaning) {
  try {
    const inner = ofName(members, 'capabilities').flatMap((one) => {
      if (one.kind !== 'object') throw new WrongType();
      return one.members;
    });
    const flagOf = (field: string): boolean | undefined => last(inner, field, boolean);
    return {
      status: last(members, 'status', text) ?? '',
      message: last(members, 'message', text) ?? '',
      device: last(members, 'device', text),
      volumeName: last(members, 'volumeName', text),
      attached: last(members, 'attached', boolean),
      volumeNewSize: last(members, 'volumeNewSize', integer),
      capabilities: {
        attach: flagOf('attach') ?? true,
        selinuxRelabel: flagOf('selinuxRelabel') ?? true,
        fsGroup: flagOf('fsGroup') ?? true,
        requiresFSResize: flagOf('requiresFSResize') ?? true,
        supportsMetrics: flagOf('supportsMetrics'),
      },
    };
  } catch (error) {
    if (error instanceof WrongType) return undefined;
    throw error;
  }
}

class WrongType extends Error {}

type Members = ObjectMeaning['members'];

/** The values of a field but for `null`, in their order. */
function ofName(members: Members, field: string): Exclude<Meaning, { kind: 'null' }>[] {
  const letters = Array.from(field, (letter) => {
    const folded = { s: '[sS\u017f]', k: '[kK\u212a]' }[letter.toLowerCase()];
    return folded ?? `[${letter.toLowerCase()}${letter.toUpperCase()}]`;
  });
  const pattern = new RegExp(`^${letters.join('')}$`);
  return members.flatMap(([key, value]) => (pattern.test(key) && value.kind !== 'null' ? [value] : []));
}

function last<T>(members: Members, field: string, read: (value: Meaning) => T): T | undefined {
  return ofName(members, field).map(read).at(-1);
}

function text(value: Meaning): string {
  if (value.kind !== 'string') throw new WrongType();
  return value.value;
}

function boolean(value: Meaning): boolean {
  if (value.kind !== 'boolean') throw new WrongType();
  return value.value;
}

function integer(value: Meaning): bigint {
  if (value.kind !== 'number' || /[.eE]/.test(value.text)) throw new WrongType();
  const number = BigInt(value.text);
  if (number !== BigInt.asIntN(64, number)) throw new WrongType();
  return number;
}
