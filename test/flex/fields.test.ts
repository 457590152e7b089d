import { describe, expect, it } from 'vitest';
import { Failure } from '../../src/errors.ts';
import { Fields, foldName } from '../../src/flex/fields.ts';
import { JsonNumber, JsonObject, parseJson } from '../../src/flex/json.ts';

function fields(text: string): Fields {
  const object = parseJson(Buffer.from(text));
  if (!(object instanceof JsonObject)) throw new Error('not an object');
  return new Fields([object]);
}

describe('Fields', () => {
  it.each([
    ['STATUS', 'status'],
    ['\u017ftatu\u017f', 'status'],
    ['\u212aey', 'key'],
    ['É', 'É'],
    ['İ', 'İ'],
  ])('folds %s as Go does', (name, folded) => {
    expect(foldName(name)).toBe(folded);
  });

  it('takes the last of equal names, whatever their case, and passes over null', () => {
    expect(fields('{"device":"a","DEVICE":"b","device":null}').string('device')).toBe('b');
    expect(fields('{"device":null}').string('device')).toBeUndefined();
    expect(fields('{}').boolean('attached')).toBeUndefined();
    expect(fields('{"Attached":true}').boolean('attached')).toBe(true);
  });

  it('refuses a wrong type even where a later value is right', () => {
    const read = () => fields('{"device":7,"device":"a"}').string('device');
    expect(read).toThrow(Failure);
    expect(read).toThrow(`the answer's "device" must be a string, but is the number 7`);
  });

  it.each([
    ['0', 0n],
    ['-0', 0n],
    ['1024', 1024n],
    ['9223372036854775807', 9223372036854775807n],
    ['-9223372036854775808', -9223372036854775808n],
  ])('reads the integer %s', (text, expected) => {
    expect(fields(`{"size":${text}}`).integer('size')).toBe(expected);
  });

  it.each([
    '1024.0',
    '1e3',
    '9223372036854775808',
    '-9223372036854775809',
    '1'.repeat(5000),
    '"1"',
    'true',
    '[]',
  ])('refuses %s as an integer', (text) => {
    expect(() => fields(`{"size":${text}}`).integer('size')).toThrow('"size" must be an integer of 64 bits');
  });

  it('merges objects', () => {
    const inner = fields('{"o":{"a":"1","b":"1"},"O":{"B":"2"},"o":null}').object('o');
    expect([inner?.string('a'), inner?.string('b')]).toEqual(['1', '2']);
    expect(fields('{"o":null}').object('o')).toBeUndefined();
  });

  it('names the whole path of a field inside an object', () => {
    const inner = fields('{"capabilities":{"attach":"false"}}').object('capabilities');
    expect(() => inner?.boolean('attach')).toThrow(
      '"capabilities.attach" must be true or false, but is a string',
    );
  });

  it('gives lists and values of any type to those who know more', () => {
    const all = fields('{"entries":[{"id":"a"}],"x":1,"X":null}');
    expect(all.array('entries')).toHaveLength(1);
    expect(() => all.array('x')).toThrow('"x" must be a list');
    expect(all.values('x')).toEqual([new JsonNumber('1'), null]);
    expect([...all.names()]).toEqual(['entries', 'x']);
  });
});
