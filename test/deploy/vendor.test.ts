/** The example of a vendor's image, deploy/vendor: its driver through CSI. test/deploy/image.sh builds the image. */
import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Plugin, startPlugin } from '../support/plugin.ts';
import { lacks } from '../support/requirements.ts';
import { mountCapability } from '../support/scenario.ts';

const deploy = join(import.meta.dirname, '../../deploy');

describe.skipIf(lacks('mounts'))("the vendor's driver", () => {
  let plugin: Plugin;
  beforeEach(async () => {
    plugin = await startPlugin({ driver: join(deploy, 'vendor/example.com~hello/hello') });
  });
  afterEach(async () => await plugin.remove());

  it('greets', async () => {
    expect(plugin.name).toBe('hello.example.com');
    const target_path = join(plugin.directory, 'kubelet/pods/1/volumes/kubernetes.io~csi/pv-1/mount');
    await mkdir(dirname(target_path), { recursive: true });
    const request = { volume_id: 'pv-1', target_path, volume_capability: mountCapability };
    await plugin.client.node('NodePublishVolume', { ...request, volume_context: { to: 'World' } });
    expect(readFileSync(join(target_path, 'greeting'), 'utf8')).toBe('Hello, World!\n');
    await plugin.client.node('NodeUnpublishVolume', { volume_id: 'pv-1', target_path });
  });
});

it('is where the Dockerfile takes it from', () => {
  const copies = /^COPY (\S+) \/drivers\/(\S+)$/m.exec(
    readFileSync(join(deploy, 'vendor/Dockerfile'), 'utf8'),
  );
  expect(copies?.slice(1)).toEqual(['example.com~hello', 'example.com~hello']);
});
