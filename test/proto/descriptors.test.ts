import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { byName, describeProto, readDescriptor } from './describe.ts';

describe.each(['csi', 'pluginregistration'])(
  'proto/%s.proto has what the descriptor has, and nothing else',
  (file) => {
    const descriptor = readDescriptor(file);
    const actual = describeProto(join(import.meta.dirname, '../../proto', `${file}.proto`));

    it('in its head', () => {
      const { package: name, syntax, imports = [] } = descriptor;
      expect(actual.head).toStrictEqual({ package: name, syntax, imports });
    });

    it('in its messages', () => {
      const expected = byName(descriptor.messages.map((one) => ({ ...one, fields: byName(one.fields) })));
      expect(byName(actual.messages)).toStrictEqual(expected);
    });

    it('in its enums', () => {
      const expected = byName(descriptor.enums.map((one) => ({ ...one, values: byName(one.values) })));
      expect(byName(actual.enums)).toStrictEqual(expected);
    });

    it('in its services', () => {
      const expected = byName(descriptor.services.map((one) => ({ ...one, methods: byName(one.methods) })));
      expect(byName(actual.services)).toStrictEqual(expected);
    });

    it('in its extensions', () => {
      expect(byName(actual.extensions)).toStrictEqual(byName(descriptor.extensions ?? []));
    });
  },
);
