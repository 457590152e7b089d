import { describe, expect, it } from 'vitest';
import { Failure } from '../../src/errors.ts';
import {
  checkCsiName,
  csiName,
  entryOfFlexName,
  executableOf,
  flexNameOf,
  flexNameOfEntry,
  isQualifiedName,
} from '../../src/flex/names.ts';

describe('names of drivers', () => {
  it.each([
    ['example.com~golden', 'example.com/golden', 'golden'],
    ['solo', 'solo', 'solo'],
    ['a~b~c', 'a/b/c', 'c'],
  ])('directory %s: %s, executable %s', (entry, name, executable) => {
    expect(flexNameOfEntry(entry)).toBe(name);
    expect(entryOfFlexName(name)).toBe(entry);
    expect(executableOf(entry)).toBe(executable);
  });

  it.each([
    ['example.com/golden', true],
    ['solo', true],
    ['vendor/Drv_1.x', true],
    ['a-b.c-d/x', true],
    [`${'a'.repeat(253)}/x`, true],
    [`v/${'x'.repeat(63)}`, true],
    ['UPPER/drv', false],
    ['under_score/drv', false],
    ['vendor/-bad', false],
    ['vendor/bad.', false],
    ['a/b/c', false],
    ['/x', false],
    ['x/', false],
    ['', false],
    ['a..b/x', false],
    ['-a/x', false],
    [`${'a'.repeat(254)}/x`, false],
    [`v/${'x'.repeat(64)}`, false],
    ['x\n', false],
    ['v\n/x', false],
  ])('%j is a qualified name: %s', (name, expected) => {
    expect(isQualifiedName(name)).toBe(expected);
  });

  it.each([
    ['/plugins/example.com~lvm/lvm', 'example.com/lvm'],
    ['/plugins/solo/solo', 'solo'],
    ['/opt/driver.sh', 'driver.sh'],
    ['/opt/vendor~lvm/other', 'other'],
    ['/opt/UPPER~lvm/lvm', 'lvm'],
    ['/driver', 'driver'],
  ])('the driver in %s is %s', (file, name) => {
    expect(flexNameOf(file)).toBe(name);
  });

  it.each([
    ['fstab/cifs', 'cifs.fstab'],
    ['example.com/lvm', 'lvm.example.com'],
    ['Solo', 'solo.flexvolume'],
    ['vendor/Drv-1.x', 'drv-1.x.vendor'],
  ])('the CSI name of %s is %s', (name, expected) => {
    expect(csiName(name)).toBe(expected);
    expect(() => checkCsiName(expected)).not.toThrow();
  });

  it.each(['vendor/drv_1', `example.com/${'x'.repeat(60)}`, 'driver_x.sh'])(
    'refuses the CSI name that %s would have, naming the setting that helps',
    (name) => {
      expect(() => csiName(name)).toThrow(Failure);
      expect(() => csiName(name)).toThrow(
        /^driver .*: set another one in the file of --config \(drivers: .*: name\), or with --name for a single --driver$/,
      );
    },
  );

  it.each([
    '',
    'a_b',
    'A.b',
    '.a',
    'a.',
    '-a',
    'a-',
    'a..b',
    'a.-b',
    'a/b',
    'a b',
    'ä',
    'a'.repeat(64),
    'a\n',
  ])('refuses %j as a CSI name', (name) => {
    expect(() => checkCsiName(name)).toThrow(Failure);
  });

  it.each(['a', 'lvm.example.com', '0', 'a'.repeat(63)])('accepts %s as a CSI name', (name) => {
    expect(() => checkCsiName(name)).not.toThrow();
  });
});
