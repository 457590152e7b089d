/** Kubernetes quantities (`5Gi`, `1e9`, `1500m`) as whole bytes. Pure. */

/** Powers of 1024. */
const BINARY = ['Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];
/** Powers of ten. */
const DECIMAL: Readonly<Record<string, number>> = {
  n: -9,
  u: -6,
  m: -3,
  '': 0,
  k: 3,
  M: 6,
  G: 9,
  T: 12,
  P: 15,
  E: 18,
};

/** Limits keep a text of nonsense from becoming a number of a million digits; no size comes near them. */
const QUANTITY =
  /^\+?(?=\.?\d)(?<whole>\d{0,60})(?:\.(?<part>\d{0,60}))?(?:(?<binary>[KMGTPE]i)|(?<decimal>[numkMGTPE]?)|[eE](?<exponent>[+-]?\d{1,3}))$/;

/** What a size in CSI can be. Of larger quantities Kubernetes itself makes nonsense. */
const MAX = 2n ** 63n - 1n;

/**
 * The number of bytes that a quantity stands for, a part of a byte counted as a whole one, as `Quantity.Value()` of
 * k8s.io/apimachinery has it. Undefined for what is no quantity, for a negative one and for
 * one beyond a signed 64-bit number.
 */
export function quantityBytes(text: string): bigint | undefined {
  const { whole, part = '', binary, decimal = '', exponent = '0' } = QUANTITY.exec(text)?.groups ?? {};
  if (whole === undefined) return undefined;
  const digits = BigInt(whole + part);
  const factor = binary === undefined ? 1n : 1024n ** BigInt(BINARY.indexOf(binary) + 1);
  const power = (DECIMAL[decimal] ?? 0) + Number(exponent) - part.length;
  const value =
    power >= 0 ? digits * factor * 10n ** BigInt(power) : divideUp(digits * factor, 10n ** BigInt(-power));
  return value > MAX ? undefined : value;
}

function divideUp(dividend: bigint, divisor: bigint): bigint {
  return (dividend + divisor - 1n) / divisor;
}
