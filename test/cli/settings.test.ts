import { Command, CommanderError } from 'commander';
import { describe, expect, it } from 'vitest';
import { addServeOptions, parseDuration, type ServeOptions } from '../../src/cli/settings.ts';

function parse(...args: string[]): ServeOptions {
  const command = addServeOptions(new Command('serve'))
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  return command
    .parse(['--driver', '/d', '--endpoint', 'unix:///s', ...args], { from: 'user' })
    .opts<ServeOptions>();
}

function errorOf(...args: string[]): string {
  try {
    parse(...args);
  } catch (error) {
    if (error instanceof CommanderError) return error.message;
    throw error;
  }
  return 'accepted';
}

describe('the options of serve', () => {
  it('leave to the driver what they do not say', () => {
    const options = parse();
    expect(options.config).toBeUndefined();
    expect(options.topology).toBeUndefined();
    expect(options.maxVolumesPerNode).toBeUndefined();
  });

  it('name a configuration, a place and a number of volumes', () => {
    expect(
      parse(
        '--config',
        'x.yaml',
        '--topology',
        'example.com/zone=a,example.com/rack=7',
        '--max-volumes-per-node',
        '16',
      ),
    ).toMatchObject({
      config: 'x.yaml',
      topology: { 'example.com/zone': 'a', 'example.com/rack': '7' },
      maxVolumesPerNode: 16,
    });
  });

  it.each([
    ['0', 0],
    ['2147483647', 2147483647],
  ])('allow %s volumes', (text, limit) => {
    expect(parse('--max-volumes-per-node', text).maxVolumesPerNode).toBe(limit);
  });

  it.each(['2147483648', '9'.repeat(400), '-1', '1.5', '1e3', '0x10', ' 1', 'many', ''])(
    'refuse %j as a number of volumes, naming the option',
    (text) => {
      expect(errorOf(`--max-volumes-per-node=${text}`)).toContain(
        `option '--max-volumes-per-node <number>' argument '${text}' is invalid. expected an integer from 0 to 2147483647`,
      );
    },
  );

  it.each([
    ['zone', 'expected key=value,key=value, not "zone"'],
    ['', 'expected key=value,key=value, not ""'],
    ['zone=a,Zone=b', 'the topology keys "zone" and "Zone" differ only in case'],
  ])('refuse the place %j, naming the option', (text, message) => {
    expect(errorOf(`--topology=${text}`)).toContain(
      `option '--topology <key=value,...>' argument '${text}' is invalid. ${message}`,
    );
  });
});

describe('parseDuration', () => {
  it.each([
    ['1ms', 1],
    ['90s', 90_000],
    ['10m', 600_000],
    ['1.5h', 5_400_000],
  ])('%s is %d ms', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  it.each(['', '10', '0s', '-1s', '1d', '597h', '1e3s', '10 m'])('refuses %j', (text) => {
    expect(() => parseDuration(text)).toThrow('expected a number with unit');
  });
});
