/** Validation of requests: what is wrong is refused naming the field, and nothing reserved reaches the driver. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { sizeRange } from '../../../src/csi/capacity-range.ts';
import {
  checkSecrets,
  placesOf,
  requireCapability,
  requireName,
  requireParameters,
  requirePath,
  requireText,
  volumeOptions,
} from '../../../src/csi/request.ts';
import { Failure } from '../../../src/errors.ts';
import { anyText } from '../support/bytes.ts';
import { target } from '../target.ts';

const path = fc.oneof(
  anyText,
  fc
    .array(
      fc.oneof(
        fc.constantFrom('..', '.', '', 'a', 'b c', '\n', '\\040', '\0', '\ufffd', '..a', 'x'.repeat(2_000)),
        anyText,
      ),
      {
        maxLength: 5,
      },
    )
    .map((parts) => `/${parts.join('/')}`),
);

export const paths = target({
  name: 'request-path',
  what: 'a path is absolute, without . and .., the root, NUL, and as short as Linux wants it; or it is refused',
  share: 4,
  begin: () => ({
    of: path,
    holds: (text) => {
      const parts = text.split('/').filter((part) => part !== '');
      const isGood =
        text.startsWith('/') &&
        parts.length > 0 &&
        !parts.some((part) => part === '.' || part === '..') &&
        !/[\0\ufffd]/.test(text) &&
        Buffer.byteLength(text) <= 4095;
      const read = attempt(() => requirePath('target_path', text), 'target_path');
      assert.equal(read, isGood ? `/${parts.join('/')}` : undefined);
      const name = attempt(() => requireName('name', text), 'name');
      if (name !== undefined) {
        assert.ok(Buffer.byteLength(name) <= 128 && name !== '');
        // biome-ignore lint/suspicious/noControlCharactersInRegex: they must not be there
        assert.ok(!/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\ufffd]/.test(name));
      }
      attempt(() => requireText('volume_id', text), 'volume_id');
    },
  }),
});

const namespace = fc.constantFrom(
  ...[
    'kubernetes.io',
    'k8s.io',
    'KUBERNETES.IO',
    'csi.storage.k8s.io',
    'storage.kubernetes.io',
    'a.k8s.io',
    'xk8s.io',
  ],
  ...['kubernetes.io.example', 'csi', 'example.com', '', '.k8s.io', 'kubernetes.io\n'],
);
const key = fc.oneof(
  anyText,
  namespace,
  fc
    .tuple(
      namespace,
      fc.constantFrom('secret/x', 'fsType', 'mountOptions', 'csiProvisionerIdentity', 'pod.name', ''),
    )
    .map((two) => two.join('/')),
);
const map = fc.array(fc.tuple(key, anyText), { maxLength: 5 }).map((pairs) => Object.fromEntries(pairs));

/** DESIGN of the contract: the part before the first slash, or the whole key, is or ends in one of these. */
function isReserved(name: string): boolean {
  const [domain = ''] = name.toLowerCase().split('/');
  return ['kubernetes.io', 'k8s.io'].some((one) => domain === one || domain.endsWith(`.${one}`));
}

export const maps = target({
  name: 'request-options',
  what: 'no key of Kubernetes or of flexcsi gets into options and parameters; what Kubernetes adds is left out',
  share: 4,
  begin: () => ({
    of: map,
    holds: (context) => {
      const isAdded = (name: string): boolean =>
        name.startsWith('csi.storage.k8s.io/') || name === 'storage.kubernetes.io/csiProvisionerIdentity';
      const own = Object.entries(context).filter(([name]) => !isAdded(name));
      const isBad = own.some(([name]) => isReserved(name) || name === 'csi/mountOptions');
      const options = attempt(() => volumeOptions(context), 'volume_context');
      assert.deepEqual(options, isBad ? undefined : Object.fromEntries(own));

      const parameters = attempt(() => requireParameters('parameters', context), 'parameters');
      const isWrong = Object.entries(context).some(
        ([name, value]) =>
          (isReserved(name) && !name.startsWith('csi.storage.k8s.io/')) ||
          name.startsWith('csi/') ||
          /[\0\ufffd]/.test(value),
      );
      assert.deepEqual(parameters, isWrong ? undefined : context);

      const secrets = attempt(() => checkSecrets(context), 'secrets');
      assert.equal(
        secrets === undefined,
        Object.values(context).some((value) => value.includes('\ufffd')),
      );
      const segments = [{ segments: context }];
      attempt(() => placesOf({ requisite: segments, preferred: segments }), 'accessibility');
    },
  }),
});

const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });

export const capabilities = target({
  name: 'request-capability',
  what: 'a capability and a size are read, or refused naming the field',
  share: 3,
  begin: () => ({
    of: fc.record({
      mode: fc.constantFrom(
        'UNKNOWN',
        'SINGLE_NODE_WRITER',
        'MULTI_NODE_READER_ONLY',
        'SINGLE_NODE_SINGLE_WRITER',
        '77',
      ),
      access: fc.constantFrom('mount', 'block', 'none'),
      group: fc.oneof(
        anyText,
        fc.nat({ max: 2 ** 33 }).map(String),
        fc.constantFrom('', '-1', '0x1', '1e3', '4294967295', '٣'),
      ),
      required: int64,
      limit: int64,
    }),
    holds: ({ mode, access, group, required, limit }) => {
      const mount = { fs_type: 'ext4', mount_flags: [], volume_mount_group: group };
      const capability = {
        access_mode: { mode },
        mount: access === 'mount' ? mount : null,
        block: access === 'block' ? {} : null,
      } as unknown as Parameters<typeof requireCapability>[1];
      const wish = attempt(() => requireCapability('volume_capability', capability), 'volume_capability');
      const isGroup = group === '' || (/^[0-9]+$/.test(group) && BigInt(group) < 2n ** 32n - 1n);
      const isMode = !['UNKNOWN', '77'].includes(mode);
      assert.equal(wish !== undefined, isMode && access !== 'none' && (access === 'block' || isGroup));
      if (wish?.group !== undefined) assert.equal(wish.group, group);

      const range = { required_bytes: String(required), limit_bytes: String(limit) };
      const size = attempt(() => sizeRange(range), 'capacity_range');
      if (size === undefined) return;
      assert.ok((size.requestBytes ?? 1n) > 0n && (size.limitBytes ?? 1n) > 0n);
      assert.ok(required >= 0n && limit >= 0n);
      if (size.requestBytes !== undefined && size.limitBytes !== undefined)
        assert.ok(size.requestBytes <= size.limitBytes);
    },
  }),
});

/** Undefined for a Failure that names the field, is on one line when shown, and is the client's fault. */
function attempt<T>(work: () => T, field: string): T | undefined {
  try {
    return work();
  } catch (error) {
    assert.ok(error instanceof Failure, String(error));
    assert.ok(
      ['invalid-request', 'precondition'].includes(error.kind) || field === 'capacity_range',
      error.kind,
    );
    assert.ok(error.message.includes(field.split(' ')[0] ?? ''), error.message);
    return undefined;
  }
}
