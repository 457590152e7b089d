import { describe, expect, it } from 'vitest';
import { requireCapability, requirePath, requireText, volumeOptions } from '../../src/csi/request.ts';
import { Failure } from '../../src/errors.ts';

/** What the function throws: kind and message. */
function failure(work: () => unknown): string {
  try {
    return `no failure: ${JSON.stringify(work())}`;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return `${error.kind}: ${error.message}`;
  }
}

describe('requireText', () => {
  it('passes on what an argument can carry', () => {
    const long = 'x'.repeat(131_071);
    expect(requireText('volume_id', long)).toBe(long);
    expect(requireText('volume_id', '日本 😀 "quoted"\n')).toBe('日本 😀 "quoted"\n');
  });

  it.each([
    ['', 'invalid-request: volume_id is required'],
    ['a\0b', 'invalid-request: volume_id holds a NUL character'],
    ['a\ufffdb', 'invalid-request: volume_id is not valid UTF-8'],
    ['x'.repeat(131_072), 'invalid-request: volume_id has 131072 bytes; at most 131071 can be passed on'],
  ])('refuses %j', (value, message) => {
    expect(failure(() => requireText('volume_id', value))).toBe(message);
  });
});

describe('requirePath', () => {
  it.each([
    ['/a/b', '/a/b'],
    ['/a//b/', '/a/b'],
    ['/ends in a line break\n/', '/ends in a line break\n'],
    ['/with space/new\nline/"quote"/\\040', '/with space/new\nline/"quote"/\\040'],
    ['/..a/b..', '/..a/b..'],
  ])('takes %j', (path, normal) => {
    expect(requirePath('target_path', path)).toBe(normal);
  });

  it.each([
    ['', 'target_path is required'],
    ['relative/path', 'target_path must be an absolute path, not "relative/path"'],
    ['-o', 'target_path must be an absolute path, not "-o"'],
    ['/a/../b', 'target_path must not contain . or .. as a part: "/a/../b"'],
    ['/a/..', 'target_path must not contain . or .. as a part: "/a/.."'],
    ['/./a', 'target_path must not contain . or .. as a part: "/./a"'],
    ['/', 'target_path must not be the root directory'],
    ['//', 'target_path must not be the root directory'],
    [`/${'x'.repeat(4095)}`, 'target_path has 4096 bytes; at most 4095 can be passed on'],
  ])('refuses %j', (path, message) => {
    expect(failure(() => requirePath('target_path', path))).toBe(`invalid-request: ${message}`);
  });
});

describe('requireCapability', () => {
  const mount = { fs_type: 'xfs', mount_flags: ['noatime'], volume_mount_group: '' };

  it.each([
    ['SINGLE_NODE_WRITER', false, false],
    ['SINGLE_NODE_READER_ONLY', true, false],
    ['MULTI_NODE_READER_ONLY', true, false],
    ['MULTI_NODE_SINGLE_WRITER', false, false],
    ['MULTI_NODE_MULTI_WRITER', false, false],
    ['SINGLE_NODE_SINGLE_WRITER', false, true],
    ['SINGLE_NODE_MULTI_WRITER', false, false],
  ] as const)('reads %s', (mode, readOnly, exclusive) => {
    expect(requireCapability('c', { access_mode: { mode }, mount })).toEqual({
      access: 'mount',
      fsType: 'xfs',
      mountFlags: ['noatime'],
      readOnly,
      exclusive,
      singleNode: mode.startsWith('SINGLE_NODE'),
      mode,
    });
  });

  it('reads the group, 0 too', () => {
    const capability = {
      access_mode: { mode: 'SINGLE_NODE_WRITER' as const },
      mount: { ...mount, volume_mount_group: '0' },
    };
    expect(requireCapability('c', capability)).toMatchObject({ group: '0' });
  });

  it('reads raw block', () => {
    const capability = { access_mode: { mode: 'SINGLE_NODE_WRITER' as const }, block: {} };
    expect(requireCapability('c', capability)).toMatchObject({ access: 'block', fsType: '', mountFlags: [] });
  });

  const writer = { mode: 'SINGLE_NODE_WRITER' as const };
  it.each([
    [null, 'c is required'],
    [{ access_mode: null, mount }, 'c.access_mode is required'],
    [
      { access_mode: { mode: 'UNKNOWN' as const }, mount },
      /^c\.access_mode\.mode UNKNOWN is not one of SINGLE_NODE_WRITER, /,
    ],
    // An enum value that the proto file does not have arrives as its number.
    [{ access_mode: { mode: 77 as never }, mount }, /^c\.access_mode\.mode 77 is not one of /],
    [{ access_mode: writer }, 'c: one of mount and block is required'],
    [
      { access_mode: writer, mount: { ...mount, volume_mount_group: 'wheel' } },
      'c.mount.volume_mount_group must be a decimal group id, not "wheel"',
    ],
    [
      { access_mode: writer, mount: { ...mount, volume_mount_group: '-1' } },
      'c.mount.volume_mount_group must be a decimal group id, not "-1"',
    ],
    [
      { access_mode: writer, mount: { ...mount, mount_flags: ['a\0'] } },
      'c.mount.mount_flags holds a NUL character',
    ],
  ])('refuses %j', (capability, message) => {
    const text = failure(() => requireCapability('c', capability)).replace('invalid-request: ', '');
    if (typeof message === 'string') expect(text).toBe(message);
    else expect(text).toMatch(message);
  });
});

describe('volumeOptions', () => {
  it('leaves out what Kubernetes adds', () => {
    const context = {
      share: '/export',
      'csi.storage.k8s.io/pod.name': 'web-0',
      'csi.storage.k8s.io/ephemeral': 'false',
      'storage.kubernetes.io/csiProvisionerIdentity': '17-42',
      'example.com/anything': 'stays',
      'kubernetes.io.example.com/x': 'stays',
    };
    expect(volumeOptions(context)).toEqual({
      share: '/export',
      'example.com/anything': 'stays',
      'kubernetes.io.example.com/x': 'stays',
    });
  });

  it.each([
    'kubernetes.io/secret/password',
    'kubernetes.io/pod.uid',
    'kubernetes.io',
    'k8s.io/x',
    'a.kubernetes.io/x',
    'storage.kubernetes.io/other',
    'Kubernetes.IO/fsType',
    'CSI.storage.k8s.io/pod.name',
    'k8s.io',
  ])('refuses the key %s, and names it', (key) => {
    expect(failure(() => volumeOptions({ [key]: 'x' }))).toContain(
      `invalid-request: volume_context key "${key}" is reserved`,
    );
  });
});
