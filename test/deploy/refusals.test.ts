/** Values that the chart refuses, and in which words. */
import { describe, expect, it } from 'vitest';
import { template } from './helm.ts';
import { able, isMissing, local, one } from './values.ts';

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
      'an empty label in a vendor',
      { drivers: [{ driver: 'example..com/lvm' }] },
      /drivers\/0\/driver'.*does not match/,
    ],
    [
      'a label that ends in a hyphen',
      { drivers: [{ driver: 'a-.b/lvm' }] },
      /drivers\/0\/driver'.*does not match/,
    ],
    [
      'a driver of more than 63 characters',
      { drivers: [{ driver: `example.com/${'a'.repeat(64)}`, name: 'a' }] },
      /drivers\/0\/driver'.*\{1,63\}/,
    ],
    [
      'a vendor of more than 253 characters',
      { drivers: [{ driver: `${'a.'.repeat(127)}a/lvm`, name: 'a' }] },
      /drivers\/0\/driver'.*\{1,253\}/,
    ],
    ['a CSI name with an empty label', one({ name: 'a..b' }), /drivers\/0\/name'.*does not match/],
    [
      'a CSI name of more than 63 characters',
      one({ name: 'a'.repeat(64) }),
      /drivers\/0\/name'.*maxLength.*63/,
    ],
    [
      'an unknown code',
      one({ failures: [{ message: 'a', code: 'NOTFOUND' }] }),
      /drivers\/0\/failures\/0\/code'.*one of.*'NOT_FOUND'/,
    ],
    [
      'an unknown verb',
      one({ failures: [{ message: 'a', code: 'INTERNAL', verbs: ['umount'] }] }),
      /failures\/0\/verbs\/0'.*one of.*'unmount'/,
    ],
    [
      'a rule that fits every failure',
      one({ failures: [{ message: '', code: 'INTERNAL' }] }),
      /failures\/0\/message'.*minLength/,
    ],
    [
      'a rule that fits none',
      one({ failures: [{ message: '\bbusy', code: 'INTERNAL' }] }),
      /failures\/0\/message'.*does not match/,
    ],
    [
      'an option and its value in two',
      { extraArgs: ['--driver-timeout 30m'] },
      /extraArgs\/0'.*does not match/,
    ],
    ['an option without its value', { extraArgs: ['--driver-timeout', '30m'] }, /extraArgs\/0'.*=\.\+/],
    ['an empty value', { extraArgs: ['--driver-timeout='] }, /extraArgs\/0'.*=\.\+/],
    [
      'an option that the chart gives',
      { extraArgs: ['--max-parallel=4', '--state-dir=/data'] },
      /extraArgs\[1\]: --state-dir is for the chart to give: it follows from stateDir/,
    ],
    [
      "a sidecar's option and its value in two",
      { sidecars: { resizer: { extraArgs: ['--workers 5'] } } },
      /sidecars\/resizer\/extraArgs\/0'.*does not match/,
    ],
    [
      "a sidecar's option that the chart gives",
      { sidecars: { resizer: { extraArgs: ['--workers=5', '--leader-election=false'] } } },
      /sidecars\.resizer\.extraArgs\[1\]: --leader-election is for the chart to give/,
    ],
    [
      'one name for all nodes',
      { env: [{ name: 'NODE_NAME', value: 'a' }] },
      /env\[0\]: NODE_NAME cannot be set/,
    ],
    [
      'a variable twice',
      {
        env: [
          { name: 'A', value: '1' },
          { name: 'A', value: '2' },
        ],
      },
      /env\[1\]: A cannot be set: env\[0\] sets it/,
    ],
    ['a number as a variable', { env: [{ name: 'A', value: 1 }] }, /env\/0\/value'.*want string/],
    [
      'a driver twice',
      one({}, { driver: 'example.com/lvm', name: 'other' }),
      /drivers\[1\] \(example\.com\/lvm\): drivers\[0\] is the same driver/,
    ],
    ...['/', '/a:b', '/../x', '/x/..', '/x/./y', '//y', '/x//y', '/x/', 'x', '/a b', ''].map(
      (path): [string, object, RegExp] => [
        `the directory ${JSON.stringify(path)}`,
        one({ hostPaths: [path] }),
        /at '\/drivers\/0\/hostPaths\/0'.*does not match/,
      ],
    ),
    ['a directory twice', one({ hostPaths: ['/a', '/a'] }), /drivers\/0\/hostPaths'.*equal/],
    ...[
      '/dev',
      '/dev/mapper',
      '/proc',
      '/etc',
      '/etc/flexcsi',
      '/etc/flexcsi/a',
      '/csi',
      '/var',
      '/var/lib',
      '/var/lib/kubelet',
      '/var/lib/kubelet/plugins',
      '/var/lib/flexcsi',
      '/var/lib/flexcsi/storage_flexcsi/a',
      '/drivers',
      '/app',
      '/usr',
      '/usr/lib',
      '/bin',
    ].map((path): [string, object, RegExp] => [
      `the pod's own ${path} from the node`,
      one({ hostPaths: ['/srv', path] }),
      new RegExp(`drivers\\[0\\]\\.hostPaths\\[1\\]: ${path} cannot be mounted`),
    ]),
    [
      'a directory in one that is set',
      { ...one({ hostPaths: ['/data/state'] }), stateDir: '/data' },
      /hostPaths\[0\]: \/data\/state cannot be mounted, since the pod has \/data \(stateDir\)/,
    ],
    [
      'a directory above the drivers',
      { ...one({ hostPaths: ['/opt'] }), pluginDirOnNode: true, pluginDir: '/opt/flex' },
      /hostPaths\[0\]: \/opt cannot be mounted, since the pod has \/opt\/flex \(pluginDir\)/,
    ],
    [
      'a directory that SELinux has',
      { ...one({ hostPaths: ['/sys'] }), selinux: true },
      /hostPaths\[0\]: \/sys cannot be mounted, since the pod has \/sys\/fs\/selinux/,
    ],
    [
      "records in kubelet's directory",
      { stateDir: '/var/lib/kubelet/flexcsi' },
      /stateDir: .* and kubeletDir, /,
    ],
    ["records above kubelet's directory", { stateDir: '/var/lib' }, /stateDir: .* and kubeletDir, /],
    ['records among the drivers', { stateDir: '/drivers/state' }, /stateDir: .* and pluginDir, /],
    ['records that are cleaned up', { stateDir: '/tmp/flexcsi' }, /stateDir: nodes clean \/tmp\/flexcsi up/],
    ['a directory that hides programs', { kubeletDir: '/usr' }, /kubeletDir: \/usr cannot be mounted/],
    [
      "drivers above kubelet's directory",
      { pluginDirOnNode: true, pluginDir: '/var/lib', stateDir: '/data' },
      /pluginDir: kubeletDir, \/var\/lib\/kubelet, lies in \/var\/lib/,
    ],
    [
      'drivers in the container and on the node',
      { pluginDirOnNode: true, host: { enabled: true } },
      /pluginDirOnNode: .*expected one of them/,
    ],
    ['an unclean directory', { stateDir: '/data/../state' }, /stateDir'/],
    [
      'a port past the last',
      {
        ...one({ capabilities: { attach: false } }, { driver: 'example.com/b' }),
        controller: { hostNetwork: true },
        healthPort: 65_534,
      },
      /healthPort: .*drivers\[1\] \(example\.com\/b\) would be 65536: expected at most 65533/,
    ],
    [
      'a class that is no name',
      one({ storageClasses: [{ name: 'a..b' }] }),
      /storageClasses\/0\/name'.*does not match/,
    ],
    [
      'a class without a name',
      one({ storageClasses: [{ name: '' }] }),
      /storageClasses\/0\/name'.*does not match/,
    ],
    [
      'a snapshot class that is no name',
      one({ capabilities: able, snapshotClasses: [{ name: 'A' }] }),
      /snapshotClasses\/0\/name'.*does not match/,
    ],
    [
      'a secret that is no name',
      one({ secrets: [{ namespace: 'a', name: 'A b' }] }),
      /secrets\/0\/name'.*does not match/,
    ],
    [
      'a namespace that is no name',
      one({ secrets: [{ namespace: 'a.b', name: 'a' }] }),
      /secrets\/0\/namespace'.*does not match/,
    ],
    [
      'an empty namespace',
      one({ secrets: [{ namespace: '', name: 'a' }] }),
      /secrets\/0\/namespace'.*does not match/,
    ],
    [
      'an image with its tag',
      { image: { repository: 'example.com/a:1' } },
      /image\/repository'.*does not match/,
    ],
    ['a digest for a tag', { image: { tag: 'sha256:00' } }, /image\/tag'.*does not match/],
    ['no time at all', { sidecars: { timeout: '0s' } }, /sidecars\/timeout'.*does not match/],
    ['a key without a value', { kubeletDir: null }, /missing property 'kubeletDir'/],
    [
      "a sidecar's image taken away",
      { sidecars: { resizer: { image: null } } },
      /resizer': missing property 'image'/,
    ],
    ['a full name that is none', { fullnameOverride: 'A' }, /fullnameOverride'/],
    ['a full name that is too long', { fullnameOverride: 'a'.repeat(41) }, /fullnameOverride'/],
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
    [
      'a snapshot class twice',
      one(
        { capabilities: able, snapshotClasses: [{ name: 'a' }] },
        { driver: 'example.com/b', capabilities: able, snapshotClasses: [{ name: 'a' }] },
      ),
      /drivers\[1\] \(example\.com\/b\): there are two snapshot classes a/,
    ],
    [
      'two default classes',
      one(
        { storageClasses: [{ name: 'a', default: true }] },
        { driver: 'example.com/b', storageClasses: [{ name: 'b', default: true }] },
      ),
      /drivers\[1\] \(example\.com\/b\): storage class b: a is the default already/,
    ],
  ])('%s', async (_what, values, words) => {
    await expect(template(values)).rejects.toThrow(words);
  });
});
