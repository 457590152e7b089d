import { execFileSync, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const project = join(import.meta.dirname, '..', '..');

describe('npm run generate', () => {
  const copy = mkdtempSync(join(tmpdir(), 'flexcsi-generate-test-'));
  const generated = join(copy, 'src', 'csi', 'generated', 'csi', 'v1');

  beforeAll(() => {
    mkdirSync(join(copy, 'proto'));
    mkdirSync(join(copy, 'src', 'grpc'), { recursive: true });
    mkdirSync(join(copy, 'src', 'csi'));
    mkdirSync(join(copy, 'src', 'kube'));
    for (const file of [
      'package.json',
      'proto/csi.proto',
      'proto/pluginregistration.proto',
      'proto/generate.ts',
      'src/grpc/messages.ts',
    ]) {
      copyFileSync(join(project, file), join(copy, file));
    }
    symlinkSync(join(project, 'node_modules'), join(copy, 'node_modules'));
  });

  afterAll(() => rmSync(copy, { recursive: true }));

  it('has been run since the proto file changed', () => {
    expect(generate(project, '--check')).toStrictEqual({ status: 0, stdout: '', stderr: '' });
  });

  it('names what is stale, missing and extra, and repairs it', () => {
    expect(generate(copy).stdout).toContain('missing: src/csi/generated/csi/v1/Node.ts\n');
    expect(generate(copy, '--check').status).toBe(0);

    appendFileSync(join(generated, 'Node.ts'), '// edited by hand\n');
    unlinkSync(join(generated, 'Volume.ts'));
    writeFileSync(join(generated, 'Gone.ts'), '');
    const named = [
      'extra: src/csi/generated/csi/v1/Gone.ts',
      'stale: src/csi/generated/csi/v1/Node.ts',
      'missing: src/csi/generated/csi/v1/Volume.ts',
      '',
    ].join('\n');
    expect(generate(copy, '--check')).toStrictEqual({
      status: 1,
      stdout: named,
      stderr: 'The generated types are not those of proto/csi.proto: run `npm run generate`.\n',
    });
    expect(generate(copy)).toStrictEqual({ status: 0, stdout: named, stderr: '' });
    execFileSync('diff', ['-r', join(copy, 'src/csi/generated'), join(project, 'src/csi/generated')]);
  });

  it('refuses other arguments', () => {
    expect(generate(copy, '--chek')).toMatchObject({ status: 2, stdout: '' });
  });

  function generate(directory: string, ...args: string[]) {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [join(directory, 'proto', 'generate.ts'), ...args],
      { encoding: 'utf8', cwd: '/' },
    );
    return { status, stdout, stderr };
  }
});
