import { describe, expect, it } from 'vitest';
import { driverEnvironment } from '../../src/flex/environment.ts';

describe('driverEnvironment', () => {
  it('leaves out what npm added', () => {
    const environment = {
      HOME: '/root',
      npm_execpath: '/usr/lib/node_modules/npm/bin/npm-cli.js',
      npm_config_cache: '/root/.npm',
      npm_package_name: 'flexcsi',
      INIT_CWD: '/src',
      NODE: '/usr/bin/node',
      COLOR: '0',
      PATH: '/src/node_modules/.bin:/node_modules/.bin:/usr/lib/node_modules/npm/node_modules/@npmcli/run-script/lib/node-gyp-bin:/usr/bin:/bin',
      KUBERNETES_SERVICE_HOST: '10.0.0.1',
    };
    expect(driverEnvironment(environment)).toEqual({
      HOME: '/root',
      PATH: '/usr/bin:/bin',
      KUBERNETES_SERVICE_HOST: '10.0.0.1',
    });
  });

  it('names the node as the options do', () => {
    expect(driverEnvironment({ NODE_NAME: 'other' }, 'node-1')).toEqual({ NODE_NAME: 'node-1' });
    expect(driverEnvironment({ NODE_NAME: 'other' }, '')).toEqual({ NODE_NAME: 'other' });
  });

  it('keeps the same names where they are not of npm', () => {
    const environment = {
      NODE: 'node-1',
      COLOR: 'blue',
      PATH: '/opt/node_modules/.bin:/bin',
      UNSET: undefined,
    };
    expect(driverEnvironment(environment)).toEqual({
      NODE: 'node-1',
      COLOR: 'blue',
      PATH: '/opt/node_modules/.bin:/bin',
    });
  });
});
