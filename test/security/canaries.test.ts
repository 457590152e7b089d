/**
 * Secrets planted in every request that can carry them, against a driver that prints whatever it gets, in every form
 * that it can think of: none may come out anywhere that people or files keep.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { csi } from '../../src/csi/proto.ts';
import { CsiClient } from '../support/csi-client.ts';
import { filesBelow } from '../support/files.ts';
import { lacks } from '../support/requirements.ts';
import { failureOf, mountsBelow } from '../support/scenario.ts';

/**
 * Fails with all that it got, as it is, decoded and URL-encoded, in its message and around it; with the file
 * `succeed` beside it, it says so before an answer of Success.
 */
const leaky = `#!/bin/bash
if [ "$1" = init ]; then
  echo '{"status":"Success","capabilities":{"provision":true,"snapshot":true,"clone":true,"listsnapshots":true,"modifyvolume":true}}'
  exit
fi
said="$*"
while read -r encoded; do
  plain=$(base64 -d <<<"$encoded")
  url=$(printf '%s' "$plain" | od -An -tx1 -v | tr -d ' \\n' | sed 's/../%&/g')
  said="$said | $plain | $url | \${plain//\\'/\\'\\\\\\'\\'}"
done < <(grep -o '"kubernetes.io/secret/[^"]*":"[^"]*"' <<<"$*" | sed 's/.*:"//; s/"$//')
echo "debug: $said" >&2
case $1 in
  attach | waitforattach) echo '{"status":"Success"}'; exit ;;
  # Fails once with its mount flags; then there is a stage, and \`mount\` with its secrets is reached.
  mountdevice) mkdir "\${0%/*}/.staged" && : || { echo '{"status":"Success"}'; exit; } ;;
esac
if [ -e "\${0%/*}/.succeed" ]; then
  echo '{"status":"Success","creationTime":1,"snapshots":[]}'
  exit
fi
text=\${said//\\\\/\\\\\\\\}
printf '{"status":"Failure","message":"%s"}\\n' "\${text//\\"/\\\\\\"}"
exit 1
`;

/** A secret with characters that every encoding changes. */
const canary = (name: string): string => `CANARY-${name}-p/a+s s&w"o'r%d-${name.length}é`;

/** Every RPC whose request can carry secrets, by the definition. */
const rpcs = (['Controller', 'Node'] as const).flatMap((service) =>
  Object.entries(csi[service].service)
    .filter(([, method]) => 'secrets' in (method.requestDeserialize(Buffer.alloc(0)) as object))
    .map(([rpc]) => ({ service, rpc })),
);

function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const hex = [...bytes].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
  return [
    secret,
    bytes.toString('base64').replace(/=+$/, ''),
    bytes.toString('base64url'),
    encodeURIComponent(secret),
    encodeURIComponent(secret).replaceAll('%20', '+'),
    hex,
    hex.toUpperCase(),
    JSON.stringify(secret).slice(1, -1),
    secret.replaceAll("'", "'\\''"),
  ];
}

describe.skipIf(lacks('mounts', 'bash'))('planted secrets', () => {
  const directory = mkdtempSync(join(tmpdir(), 'flexcsi-canaries-'));
  const secrets: string[] = [];
  let output = '';
  let client: CsiClient;
  let ended: Promise<unknown>;
  let end: () => void;

  beforeAll(async () => {
    const driver = join(directory, 'example.com~leaky/leaky');
    mkdirSync(join(directory, 'example.com~leaky'));
    mkdirSync(join(directory, 'kubelet'));
    writeFileSync(driver, leaky, { mode: 0o755 });
    const main = join(import.meta.dirname, '../../src/main.ts');
    const socket = join(directory, 'csi.sock');
    const options = [
      ['--driver', driver],
      ['--endpoint', `unix://${socket}`],
      ['--node-id', 'node-1'],
      ['--state-dir', join(directory, 'state')],
      ['--kubelet-dir', join(directory, 'kubelet')],
      ['--log-level', 'trace'],
    ].flat();
    const program = spawn(process.execPath, [main, 'serve', ...options], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [program.stdout, program.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        output += chunk.toString();
      });
    }
    ended = new Promise((resolve) => program.once('close', resolve));
    end = () => program.kill('SIGTERM');
    await vi.waitFor(() => expect(output).toContain('listening'), { timeout: 20_000 });
    client = new CsiClient(socket);
  });

  afterAll(() => {
    expect(mountsBelow(directory)).toEqual([]);
    rmSync(directory, { recursive: true });
  });

  /** A request that is good enough for any of these RPCs, with secrets of its own wherever they can be. */
  function requestFor(rpc: string): Record<string, unknown> {
    const own = ['secret', 'flag', 'token'].map((what) => canary(`${rpc}-${what}`));
    const [secret, flag, token] = own as [string, string, string];
    secrets.push(...own);
    const capability = {
      mount: { mount_flags: [`password=${flag}`], fs_type: 'ext4' },
      access_mode: { mode: 'SINGLE_NODE_WRITER' },
    };
    return {
      name: 'v',
      volume_id: 'v',
      node_id: 'n',
      source_volume_id: 'v',
      snapshot_id: 's',
      volume_capability: capability,
      volume_capabilities: [capability],
      capacity_range: { required_bytes: 1 },
      mutable_parameters: { key: 'value' },
      target_path: join(directory, 'kubelet/target'),
      staging_target_path: join(directory, 'kubelet/staging'),
      volume_path: join(directory, 'kubelet/target'),
      volume_context: {
        'csi.storage.k8s.io/serviceAccount.tokens': JSON.stringify({ '': { token } }),
      },
      secrets: { password: secret },
    };
  }

  it('come out nowhere', async () => {
    mkdirSync(join(directory, 'kubelet/staging'));
    expect(rpcs.length).toBeGreaterThanOrEqual(10);
    const told: string[] = [];
    for (const round of ['fails', 'succeeds']) {
      if (round === 'succeeds') writeFileSync(join(directory, 'example.com~leaky/.succeed'), '');
      for (const { service, rpc } of rpcs) {
        const call = service === 'Controller' ? client.controller : client.node;
        const request = requestFor(`${rpc}-${round}`);
        const answered = await failureOf(call.call(client, rpc as never, request as never));
        // CSI: the answer to this one repeats what it confirms, mount flags too.
        if (!(rpc === 'ValidateVolumeCapabilities' && answered.startsWith('no failure'))) {
          told.push(`${rpc}: ${answered}`);
        }
      }
    }
    for (const rpc of ['NodeUnpublishVolume', 'NodeUnstageVolume'] as const) {
      const request = { volume_id: 'v', target_path: join(directory, 'kubelet/target') };
      await failureOf(
        client.node(rpc, { ...request, staging_target_path: join(directory, 'kubelet/staging') }),
      );
    }
    client.close();
    end();
    await ended;

    // The test is none unless secrets reached the driver, and it printed them.
    expect(told.join('\n')).toMatch(/NodePublishVolume: INTERNAL: .*\*\*\*/);
    expect(told.join('\n')).toMatch(/CreateVolume: INTERNAL: .*\*\*\*/);
    expect(output).toContain('"args"');
    expect(secrets.length).toBeGreaterThanOrEqual(20);
    const kept = filesBelow(join(directory, 'state')).map((file) => readFileSync(file, 'utf8'));
    for (const [place, text] of [
      ['the log', output],
      ['an answer', told.join('\n')],
      ['a state file', kept.join('\n')],
    ] as const) {
      for (const secret of secrets) {
        for (const form of formsOf(secret)) {
          if (text.includes(form)) expect.fail(`${place} holds ${form}: ${linesWith(text, form)}`);
        }
      }
    }
  });

  it('keep the state and the socket for their owner', () => {
    for (const file of filesBelow(join(directory, 'state'))) expect(statSync(file).mode & 0o077).toBe(0);
    expect(statSync(join(directory, 'state')).mode & 0o077).toBe(0);
  });
});

function linesWith(text: string, part: string): string {
  return text
    .split('\n')
    .filter((line) => line.includes(part))
    .slice(0, 2)
    .join('\n')
    .slice(0, 2000);
}
