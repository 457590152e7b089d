/** Kubernetes' quantities, in bytes. */
import { NotUnderstood } from './records.ts';

const suffixes: Readonly<Record<string, bigint>> = {
  '': 1n,
  k: 1000n,
  M: 1000n ** 2n,
  G: 1000n ** 3n,
  T: 1000n ** 4n,
  P: 1000n ** 5n,
  E: 1000n ** 6n,
  Ki: 1024n,
  Mi: 1024n ** 2n,
  Gi: 1024n ** 3n,
  Ti: 1024n ** 4n,
  Pi: 1024n ** 5n,
  Ei: 1024n ** 6n,
};

/** Bytes of `1.5G`, `64Mi`, `2e9`, `1500m`, rounded up to whole ones. */
export function quantityBytes(text: string): bigint {
  const [, whole, fraction = '', exponent, suffix = ''] =
    /^\+?(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+)|([a-zA-Z]*))$/.exec(text) ?? [];
  if (whole === undefined || whole + fraction === '') throw new NotUnderstood(`quantity "${text}"`);
  let numerator = BigInt(whole + fraction);
  let denominator = 10n ** BigInt(fraction.length);
  const small = { m: 10n ** 3n, u: 10n ** 6n, n: 10n ** 9n }[suffix];
  const factor = suffixes[suffix];
  if (small !== undefined) denominator *= small;
  else if (factor !== undefined) numerator *= factor;
  else throw new NotUnderstood(`quantity "${text}"`);
  const power = Number(exponent ?? 0);
  if (power >= 0) numerator *= 10n ** BigInt(power);
  else denominator *= 10n ** BigInt(-power);
  return (numerator + denominator - 1n) / denominator;
}
