import { describe, expect, it } from 'vitest';
import { parseAnswer } from '../../src/flex/answer.ts';
import { noExtensions } from '../../src/flex/extensions.ts';

function extensions(capabilities: string) {
  const parsed = parseAnswer(Buffer.from(`{"status":"Success","capabilities":${capabilities}}`));
  if (!parsed.ok) throw new Error(parsed.problem);
  return parsed.answer.capabilities.extensions;
}

describe('extensions', () => {
  it('are none of which nothing is said', () => {
    expect(extensions('{}')).toEqual(noExtensions);
    expect(extensions('{"attach":false,"provision":null,"topology":null,"secrets":null}')).toEqual(
      noExtensions,
    );
  });

  it('are read in any spelling of their names', () => {
    const all = {
      Provision: true,
      clone: true,
      SNAPSHOT: true,
      getVolume: true,
      listVolumes: true,
      publishedNodes: true,
      listsnapshots: true,
      getcapacity: true,
      modifyvolume: 'iops, throughput',
      topology: { 'example.com/Rack': '7' },
      maxvolumespernode: 16,
      secrets: 'stdin',
    };
    expect(extensions(JSON.stringify(all))).toEqual({
      provision: true,
      clone: true,
      snapshot: true,
      getVolume: true,
      listVolumes: true,
      publishedNodes: true,
      listSnapshots: true,
      getCapacity: true,
      modifyVolume: ['iops', 'throughput'],
      topology: { 'example.com/Rack': '7' },
      maxVolumesPerNode: 16,
      secretsOnStdin: true,
      problems: [],
    });
    expect(extensions('{"modifyvolume":true}').modifyVolume).toBe('any');
    expect(extensions('{"modifyvolume":false}').modifyVolume).toBe('none');
  });

  // Kubelet ignores them, whatever they are: none of these may keep the driver from working.
  it.each([
    ['{"provision":"yes"}', 'capability provision must be true or false'],
    ['{"clone":true}', 'capability clone is of no use without provision'],
    ['{"snapshot":true}', 'capability snapshot is of no use without provision'],
    ['{"publishednodes":true}', 'capability publishednodes is of no use without listvolumes'],
    ['{"modifyvolume":7}', 'capability modifyvolume must be true, false, or the keys joined by commas'],
    ['{"modifyvolume":"a,,b"}', 'capability modifyvolume must be true, false, or the keys joined by commas'],
    ['{"topology":"zone=a"}', 'capability topology cannot be used'],
    ['{"topology":[{"zone":"a"},{"zone":"b"}]}', 'a node is at one place'],
    ['{"topology":{"zone":"not allowed"}}', 'zone'],
    ['{"maxVolumesPerNode":-1}', 'capability maxVolumesPerNode must be an integer'],
    ['{"maxVolumesPerNode":"16"}', 'capability maxVolumesPerNode must be an integer'],
    ['{"provison":true}', 'capability "provison" is not known: a spelling mistake?'],
    ['{"secrets":true}', 'capability secrets must be "stdin"'],
  ])('that cannot be used are left out and told: %s', (text, problem) => {
    const { problems, ...rest } = extensions(text);
    expect(problems).toEqual([expect.stringContaining(problem)]);
    expect({ ...rest, problems: [] }).toEqual(noExtensions);
  });
});
