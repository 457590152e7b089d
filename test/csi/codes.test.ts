/** gRPC codes that a driver gives its failures, or that its configuration gives them, through a real server. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { failureOf, mountCapability, success, useScenarios } from '../support/scenario.ts';
import { type Answer, answer } from '../support/scripted-driver.ts';

const start = useScenarios();

const fails = (fields: Record<string, unknown>): Answer => ({ prints: answer('Failure', fields), exit: 1 });
const publish = { volume_id: 'pv-1', node_id: 'node-7', volume_capability: mountCapability };

const config = `
drivers:
  example.com/scripted:
    failures:
      - message: 'no such (volume|lun)'
        code: NOT_FOUND
      - message: quota
        verbs: [provision]
        code: RESOURCE_EXHAUSTED
  example.com/other:
    failures:
      - message: .
        code: DATA_LOSS
`;

async function startWith(attach: Answer, extra: Record<string, Answer | string> = {}) {
  const scenario = await start({ attach, ...extra });
  const file = join(scenario.directory, 'config.yaml');
  writeFileSync(file, config);
  await scenario.restart({ config: file });
  return scenario;
}

describe('the code of a failure', () => {
  it.each([
    [
      'the code that the answer has',
      fails({ code: 'PERMISSION_DENIED', message: 'no' }),
      'PERMISSION_DENIED',
    ],
    ['the answer, before any rule', fails({ code: 'ABORTED', message: 'no such volume' }), 'ABORTED'],
    ['the second spelling of CANCELLED', fails({ code: 'CANCELED' }), 'CANCELLED'],
    ['the rule for its message', fails({ message: 'array7: No Such LUN 5' }), 'NOT_FOUND'],
    ['no rule for another verb', fails({ message: 'quota exceeded' }), 'INTERNAL'],
    ['no rule for another driver', fails({ message: 'anything' }), 'INTERNAL'],
    ["a driver's own code of another kind", fails({ code: 17, message: 'x' }), 'INTERNAL'],
    ['a name that is no code', fails({ code: 'NotFound', message: 'x' }), 'INTERNAL'],
    ['OK, which is no failure', fails({ code: 'OK', message: 'x' }), 'INTERNAL'],
  ])('comes from %s', async (_what, attach, code) => {
    const scenario = await startWith(attach);
    expect(await failureOf(scenario.client.controller('ControllerPublishVolume', publish))).toMatch(
      new RegExp(`^${code}: driver example.com/scripted: attach command failed`),
    );
  });

  it('comes from what is printed without an answer, but never says there that something is gone', async () => {
    const capabilities = { provision: true };
    const scenario = await startWith(
      { prints: 'lvs: no such volume\n', exit: 127 },
      {
        init: answer('Success', { capabilities }),
        provision: { prints: 'quota exceeded\n', exit: 1 },
        detach: { prints: 'detach: no such volume tool\n', exit: 127 },
        delete: { prints: 'no such volume tool\n', exit: 127 },
      },
    );
    const create = { name: 'v', volume_capabilities: [mountCapability] };
    expect(await failureOf(scenario.client.controller('CreateVolume', create))).toMatch(
      /^RESOURCE_EXHAUSTED: /,
    );
    expect(await failureOf(scenario.client.controller('ControllerPublishVolume', publish))).toMatch(
      /^INTERNAL: /,
    );
    const unpublish = { volume_id: 'pv-1', node_id: 'node-7' };
    expect(await failureOf(scenario.client.controller('ControllerUnpublishVolume', unpublish))).toMatch(
      /^INTERNAL: /,
    );
    expect(await failureOf(scenario.client.controller('DeleteVolume', { volume_id: 'v' }))).toMatch(
      /^INTERNAL: /,
    );
  });

  it('does not spoil a success', async () => {
    const scenario = await startWith({ prints: answer('Success', { code: 'NOT_FOUND', device: '/dev/x' }) });
    const { publish_context } = await scenario.client.controller('ControllerPublishVolume', publish);
    expect(publish_context).toEqual({ device: '/dev/x' });
  });

  it('NOT_FOUND of unmount lets flexcsi unmount itself', async () => {
    const scenario = await start({
      init: answer('Success', { capabilities: { attach: false } }),
      mount: { shell: 'mount -t tmpfs none "$2"', prints: success },
      unmount: fails({ code: 'NOT_FOUND', message: 'never heard of it' }),
    });
    const target_path = scenario.target();
    const volume = { volume_id: 'pv-1', target_path };
    await scenario.client.node('NodePublishVolume', { ...volume, volume_capability: mountCapability });
    await scenario.client.node('NodeUnpublishVolume', volume);
    expect(scenario.driver.verbs()).toEqual(['mount', 'unmount']);
  });
});
