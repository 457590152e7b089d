import { describe, expect, it } from 'vitest';
import { optionsTakenByNpm } from '../../src/cli/here.ts';

describe('optionsTakenByNpm', () => {
  const names = ['driver', 'node-id'];

  it('finds options that were given to npm', () => {
    const env = {
      npm_lifecycle_event: 'start',
      npm_config_driver: 'x',
      npm_config_node_id: 'n',
      npm_config_cache: '/c',
    };
    expect(optionsTakenByNpm(env, names)).toEqual(['driver', 'node-id']);
  });

  it('finds none where npm is not the caller, or was given none', () => {
    expect(optionsTakenByNpm({ npm_config_driver: 'x' }, names)).toEqual([]);
    expect(optionsTakenByNpm({ npm_lifecycle_event: 'start' }, names)).toEqual([]);
  });
});
