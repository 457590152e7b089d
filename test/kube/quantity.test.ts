import { describe, expect, it } from 'vitest';
import { quantityBytes } from '../../src/kube/quantity.ts';

/** The sizes are what `Quantity.Value()` of k8s.io/apimachinery 0.35 says. */
describe('quantityBytes', () => {
  it.each([
    ['0', 0n],
    ['1073741824', 1_073_741_824n],
    ['+5', 5n],
    ['007', 7n],
    ['1Ki', 1_024n],
    ['5Gi', 5_368_709_120n],
    ['3Mi', 3_145_728n],
    ['2Ti', 2_199_023_255_552n],
    ['1Pi', 1_125_899_906_842_624n],
    ['7Ei', 8_070_450_532_247_928_832n],
    ['1k', 1_000n],
    ['5M', 5_000_000n],
    ['10G', 10_000_000_000n],
    ['1T', 1_000_000_000_000n],
    ['1P', 1_000_000_000_000_000n],
    ['1E', 1_000_000_000_000_000_000n],
    ['1E3', 1_000n],
    ['12e6', 12_000_000n],
    ['1.5e3', 1_500n],
    ['128974848000m', 128_974_848n],
    ['5e-1', 1n],
    ['9223372036854775807', 9_223_372_036_854_775_807n],
  ])('%s is %d bytes', (text, bytes) => {
    expect(quantityBytes(text)).toBe(bytes);
  });

  it.each([
    ['1.5Gi', 1_610_612_736n],
    ['0.1Gi', 107_374_183n],
    ['.5Ki', 512n],
    ['1.', 1n],
    ['1m', 1n],
    ['1001m', 2n],
    ['1n', 1n],
    ['1000000001u', 1_001n],
    ['0.0000000000001', 1n],
    ['1e-200', 1n],
    ['9007199254740991.5Ki', 9_223_372_036_854_775_296n],
  ])('%s, a part of a byte counted whole, is %d bytes', (text, bytes) => {
    expect(quantityBytes(text)).toBe(bytes);
  });

  it.each(
    [
      '',
      ' 1',
      '1 ',
      '1\n',
      '.',
      'Gi',
      '+',
      '-1',
      '-1Gi',
      '+-1',
      '1K',
      '1ki',
      '1gi',
      '1GI',
      '1GiB',
      '1B',
      '1e',
      '1e+',
    ].concat(['1e1.5', '1Kie3', '1e3Ki', '1,5', '0x10', '1_000', '1..5', '1.2.3', '١', 'Infinity', 'NaN']),
  )('%j is no quantity', (text) => {
    expect(quantityBytes(text)).toBeUndefined();
  });

  it.each(['9223372036854775808', '8Ei', '10E', '1e19', '1e999', '9'.repeat(1_000), '1e999999999'])(
    '%.20s is more than CSI can say',
    (text) => {
      expect(quantityBytes(text)).toBeUndefined();
    },
  );
});
