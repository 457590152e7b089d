/** Values that the chart refuses, and in which words. */
import { describe, expect, it } from 'vitest';
import { template } from './helm.ts';
import { isMissing, local, one } from './values.ts';

describe.skipIf(isMissing)('is refused:', () => {
  it.each<[string, object, RegExp]>([
    ['a misspelt key', { kubeletdir: '/k' }, /additional properties 'kubeletdir' not allowed/],
    ['a misspelt key of a driver', one({ attach: false }), /at '\/drivers\/0'.*'attach' not allowed/],
    ['a driver without a name', { drivers: [{ name: 'a' }] }, /missing property 'driver'/],
    ["a directory's name", { drivers: [{ driver: 'a~b' }] }, /at '\/drivers\/0\/driver'.*does not match/],
    ['a word for a boolean', one({ expand: 'yes' }), /expand'.*want boolean/],
    ['another place to attach', one({ attachOn: 'pod' }), /attachOn'.*'controller', 'node'/],
    ['a CSI name in capitals', one({ name: 'LVM' }), /name'.*does not match/],
    ['a relative directory', { kubeletDir: 'var/lib' }, /kubeletDir'.*does not match/],
    ['a port that is none', { healthPort: 70_000 }, /healthPort'.*maximum/],
    ['too short a time to drain', { node: { terminationGracePeriodSeconds: 10 } }, /minimum.*30/],
    ['another strategy', { node: { updateStrategy: { type: 'Now' } } }, /'OnDelete', 'RollingUpdate'/],
    ['an unknown sidecar', { sidecars: { registrar: { image: 'a' } } }, /'registrar' not allowed/],
    [
      'a name that CSI forbids',
      { drivers: [{ driver: 'example.com/my_driver' }] },
      /drivers\[0\] \(example\.com\/my_driver\): my_driver\.example\.com cannot be a CSI name.*set drivers\[0\]\.name/,
    ],
    [
      'two drivers of one name',
      one({}, { driver: 'com/lvm.example', name: 'lvm.example.com' }),
      /example\.com\/lvm has the CSI name lvm\.example\.com as well: set drivers\[1\]\.name/,
    ],
    [
      'two drivers whose objects would be the same',
      one({}, { driver: 'example.com/x', name: 'lvm-example.com' }),
      /drivers\[1\] \(example\.com\/x\): its objects would have the names of those of example\.com\/lvm/,
    ],
    [
      'node-local volumes that nobody can make',
      one({ provisionOn: 'node' }),
      /provisionOn: node needs a driver with the capabilities provision and topology/,
    ],
    [
      'node-local volumes that grow',
      one({ capabilities: local, provisionOn: 'node', expand: true }),
      /volumes of provisionOn: node cannot grow/,
    ],
    ['capacity that nobody tells', one({ storageCapacity: true }), /storageCapacity needs a driver/],
    [
      'snapshot classes without snapshots',
      one({ snapshotClasses: [{ name: 'a' }] }),
      /snapshotClasses need a driver with the capabilities provision and snapshot/,
    ],
    [
      'a storage class twice',
      one({ storageClasses: [{ name: 'a' }, { name: 'a' }] }),
      /two storage classes a/,
    ],
  ])('%s', async (_what, values, words) => {
    await expect(template(values)).rejects.toThrow(words);
  });
});
