/** The file of `--config`: what is too much for options of the command line. */
import { z } from 'zod';
import { errorMessage } from '../errors.ts';
import { codeNamed, codeNames, type FailureRule } from '../flex/codes.ts';
import { csiNameFault, isQualifiedName } from '../flex/names.ts';
import type { GroupKey } from '../flex/options.ts';
import { verbNames } from '../flex/verbs.ts';
import { readYamlFile } from './yaml-file.ts';

export interface Config {
  /** By FlexVolume name. */
  readonly drivers: ReadonlyMap<string, DriverConfig>;
}

/** What is set for one driver. Wins over the options of the command line, which are for all drivers. */
export interface DriverConfig {
  /** The CSI name. */
  readonly name?: string | undefined;
  readonly attachOn?: 'controller' | 'node' | undefined;
  readonly fsGroupKey?: GroupKey | undefined;
  /** The rules for the words of its failures, in the order of the file. */
  readonly failures?: readonly FailureRule[] | null | undefined;
}

/**
 * Reads the file; an empty one configures nothing. All of it is checked, other drivers' entries, too.
 *
 * @throws {Failure} `invalid-request`, a line for each mistake: `FILE:LINE:COLUMN: what is wrong`.
 */
export async function loadConfig(file: string): Promise<Config> {
  return readYamlFile(file, configSchema);
}

/** What is set for one driver; nothing when the file does not name it. */
export function configOf(config: Config, flexName: string): DriverConfig {
  return config.drivers.get(flexName) ?? {};
}

/** The rules for one driver: none when the file does not name it. */
export function rulesFor(config: Config, flexName: string): readonly FailureRule[] {
  return configOf(config, flexName).failures ?? [];
}

/** A configuration that sets nothing. */
export const noConfig: Config = { drivers: new Map() };

/** A map with these keys and no others. */
function mapOf<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  const keys = Object.keys(shape).join(', ');
  return z.strictObject(shape, {
    error: ({ code }) =>
      code === 'unrecognized_keys' ? `unknown key; expected one of ${keys}` : `expected a map with ${keys}`,
  });
}

/** Case does not matter; Unicode, and an error for escapes that do not exist. */
const FLAGS = 'iu';

/**
 * There is no limit to what an expression may cost: none that could be seen here would keep `(a+)+$` out.
 * `codeOfMessage` limits the time instead.
 */
const messageSchema = z
  .string({ error: 'expected a regular expression' })
  .transform((source, { issues }): RegExp => {
    const fault = faultOf(source);
    if (fault === undefined) return new RegExp(source, FLAGS);
    issues.push({ code: 'custom', message: fault, input: source });
    return z.NEVER;
  });

function faultOf(source: string): string | undefined {
  if (source === '') return 'an empty expression fits every failure; write .* if that is meant';
  // The words of a driver hold none when they get here, and YAML makes one of "\b" in double quotes.
  if (/\p{Cc}/u.test(source)) {
    return 'holds a control character and can never fit; write the expression in single quotes, where YAML leaves \\ alone';
  }
  try {
    // The test makes V8 compile it, which is when it finds some expressions too large.
    new RegExp(source, FLAGS).test('');
    return undefined;
  } catch (error) {
    return `not a regular expression: ${errorMessage(error).split(`/${FLAGS}: `).at(-1)}`;
  }
}

const verbs = z
  .array(z.enum(verbNames, { error: `expected one of ${verbNames.join(', ')}` }), {
    error: 'expected a list of verbs',
  })
  .min(1, { error: 'an empty list fits no failure; leave it out for all verbs' })
  .transform((list): ReadonlySet<string> => new Set(list));

const codeError = { error: `expected one of ${codeNames.join(', ')}` };
const code = z.string(codeError).transform(codeNamed).pipe(z.enum(codeNames, codeError));

const rule = mapOf({ message: messageSchema, verbs: verbs.optional(), code });

function oneOf<const Choice extends string>(...choices: readonly Choice[]) {
  return z.enum(choices, { error: `expected one of ${choices.join(', ')}` });
}

const csiNameSchema = z
  .string({ error: 'expected a CSI name' })
  .refine((name) => csiNameFault(name) === undefined, {
    error: ({ input }) => `${JSON.stringify(input)} is no CSI name: it ${csiNameFault(String(input))}`,
  });

/** A key without a value, with all below it commented out for instance, is as good as none. */
const driver = mapOf({
  name: csiNameSchema.optional(),
  attachOn: oneOf('controller', 'node').optional(),
  fsGroupKey: oneOf('current', 'legacy', 'both').optional(),
  failures: z.array(rule, { error: 'expected a list of rules' }).nullish(),
});

const drivers = z.record(z.string().refine(isQualifiedName), driver.nullish(), {
  error: ({ code }) =>
    code === 'invalid_key'
      ? "expected a driver's FlexVolume name, such as example.com/lvm or lvm"
      : "expected a map of drivers' FlexVolume names",
});

const configSchema = mapOf({ drivers: drivers.nullish() })
  .nullable()
  .transform(
    (file): Config => ({
      drivers: new Map(Object.entries(file?.drivers ?? {}).map(([name, entry]) => [name, entry ?? {}])),
    }),
  );
