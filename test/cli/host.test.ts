/** `serve --host`: drivers and volumes are those of another mount and process namespace, sockets and records ours. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parse } from 'yaml';
import { manifest } from '../../src/cli/manifest.ts';
import { serve } from '../../src/cli/serve.ts';
import type { Serving } from '../../src/cli/serving.ts';
import { silentLogger } from '../../src/log.ts';
import { CsiClient } from '../support/csi-client.ts';
import { OtherSide } from '../support/other-side.ts';
import { usualOptions } from '../support/plugin.ts';
import { lacks } from '../support/requirements.ts';
import { failureOf, mountCapability } from '../support/scenario.ts';

/** Installs a driver on the other side, with an interpreter behind an absolute link that leads elsewhere here. */
const SETUP = `
directory=$1
mount -t tmpfs other "$directory/kubelet"
mount -t tmpfs other "$directory/plugins"
mount -t tmpfs other "$directory/tools"
mkdir -p "$directory/kubelet/pods/p/volumes/kubernetes.io~csi/v" "$directory/tools/bin" "$directory/plugins/a.b~d"
ln -s /bin/sh "$directory/tools/bin/real"
ln -s "$directory/tools/bin/real" "$directory/tools/sh"
cat > "$directory/plugins/a.b~d/d" <<EOF
#!$directory/tools/sh
case \\$1 in
  init) echo '{"status":"Success","capabilities":{"attach":false}}' ;;
  mount) mount -t tmpfs -o mode=0750 volume "\\$2" && echo kept > "\\$2/file" && echo '{"status":"Success"}' ;;
  *) echo '{"status":"Not supported"}'; exit 1 ;;
esac
EOF
chmod +x "$directory/plugins/a.b~d/d"
`;

describe.skipIf(lacks('root'))('flexcsi serve --host', () => {
  let directory: string;
  let other: OtherSide;
  let serving: Serving;
  let client: CsiClient;

  beforeEach(async () => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), 'flexcsi-host-')));
    for (const name of ['kubelet', 'plugins', 'tools', 'sockets']) mkdirSync(join(directory, name));
    other = await OtherSide.start(SETUP, directory);
    serving = await serve(
      {
        ...usualOptions,
        pluginDir: join(directory, 'plugins'),
        host: true,
        hostPid: other.pid,
        endpoint: `unix://${directory}/sockets/{name}/csi.sock`,
        registration: 'none',
        stateDir: join(directory, 'state'),
        kubeletDir: join(directory, 'kubelet'),
      },
      { log: silentLogger(), lookEveryMs: 100 },
    );
    client = new CsiClient(join(directory, 'sockets/d.a.b/csi.sock'));
  });

  afterEach(async () => {
    client.close();
    await serving.stop();
    await other.end();
    rmSync(directory, { recursive: true });
  });

  it("publishes, looks at and unpublishes volumes on the other side, with the driver's own interpreter", async () => {
    await vi.waitFor(
      () => expect(serving.drivers()).toEqual([{ driver: 'a.b/d', name: 'd.a.b', serving: true }]),
      20_000,
    );
    const target_path = join(directory, 'kubelet/pods/p/volumes/kubernetes.io~csi/v/mount');
    const volume_capability = { ...mountCapability, mount: { fs_type: '', volume_mount_group: '4711' } };
    const publish = { volume_id: 'v', target_path, volume_capability };
    await client.node('NodePublishVolume', publish);
    expect(other.sh('cat "$1/file"; stat -c %g "$1/file"', target_path)).toBe('kept\n4711\n');
    expect(existsSync(join(directory, 'kubelet/pods'))).toBe(false);
    expect(readdirSync(join(directory, 'state/d.a.b/volumes'))).toHaveLength(1);
    await client.node('NodePublishVolume', publish);

    const { usage } = await client.node('NodeGetVolumeStats', { volume_id: 'v', volume_path: target_path });
    expect(usage.length).toBe(2);

    // Somebody there holds the volume: who, is told by our number for it.
    const holder = other.sh('cd "$1"; sleep 1000 > /dev/null 2>&1 & echo $!', target_path).trim();
    const unpublish = { volume_id: 'v', target_path };
    expect(await failureOf(client.node('NodeUnpublishVolume', unpublish))).toMatch(
      /^INTERNAL: .*mount is still mounted .*held by sleep \(pid \d+\)/,
    );
    other.sh('kill "$1"', holder);
    await vi.waitFor(() => client.node('NodeUnpublishVolume', unpublish), 20_000);
    expect(other.sh('ls "$(dirname "$1")"', target_path)).toBe('');
    expect(readdirSync(join(directory, 'state/d.a.b/volumes'))).toEqual([]);
  });

  it('sees drivers that come, change and go on the other side', async () => {
    await vi.waitFor(() => expect(serving.drivers()).toMatchObject([{ serving: true }]), 20_000);
    other.sh(
      'cd "$1"; mkdir .new; cp a.b~d/d .new/e; mv .new a.b~e; printf "%s\\n" "#!/bin/sh" "echo broken" > a.b~d/d',
      join(directory, 'plugins'),
    );
    await vi.waitFor(() => {
      expect(serving.drivers()).toEqual([
        { driver: 'a.b/d', name: 'd.a.b', serving: true, problem: expect.stringContaining('broken') },
        { driver: 'a.b/e', name: 'e.a.b', serving: true },
      ]);
    }, 20_000);
    other.sh('rm "$1/a.b~e/e"', join(directory, 'plugins'));
    await vi.waitFor(() => {
      expect(serving.drivers()[1]?.problem).toMatch(/was removed: install it there again/);
    }, 20_000);
  });

  it('is described by flexcsi manifest --host', async () => {
    const { text, problems } = await manifest({
      pluginDir: join(directory, 'plugins'),
      host: true,
      hostPid: other.pid,
      output: 'objects',
    });
    expect(problems).toEqual([]);
    expect(parse(text)).toMatchObject({ metadata: { name: 'd.a.b' }, spec: { attachRequired: false } });
  });
});
