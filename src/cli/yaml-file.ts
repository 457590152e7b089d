/** Reading the YAML file of `--config` by a schema, so that whoever wrote it learns of every mistake and where it is. */
import { isUtf8 } from 'node:buffer';
import { readFile, stat } from 'node:fs/promises';
import { type Document, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument, visit } from 'yaml';
import type { ZodType, z } from 'zod';
import { errorMessage, Failure } from '../errors.ts';
import { oneLine } from '../flex/text.ts';

const MAX_BYTES = 1024 * 1024;
const MAX_PROBLEMS = 10;

/**
 * The content of the file as the schema has it; `null` goes to the schema for a file without content. A message of
 * the schema is put as `expected …`; what was found instead is said after it, but for `custom` and `too_small`.
 *
 * @throws {Failure} `invalid-request`. For a file that cannot be read, one line; for mistakes in it, a line
 * `FILE:LINE:COLUMN: what is wrong` for each of the first ten.
 */
export async function readYamlFile<Content>(file: string, schema: ZodType<Content>): Promise<Content> {
  const text = await readText(file);
  const lines = new LineCounter();
  const result = check(text, lines, schema);
  if ('content' in result) return result.content;
  const { problems } = result;
  const told = problems
    .slice(0, MAX_PROBLEMS)
    .map(({ node, text }) => ({ offset: typeof node === 'number' ? node : offsetOf(node), text }))
    .sort((a, b) => a.offset - b.offset)
    .map(({ offset, text }) => {
      const { line, col } = lines.linePos(offset);
      return `${file}:${line}:${col}: ${oneLine(text, 1_000)}`;
    });
  if (problems.length > MAX_PROBLEMS) told.push(`${file}: and more mistakes`);
  throw new Failure('invalid-request', told.join('\n'));
}

async function readText(file: string): Promise<string> {
  const bytes = await readBytes(file);
  if (isUtf8(bytes)) return bytes.toString('utf8');
  // The byte of a line's end is part of no other character.
  let from = 0;
  let line = 1;
  for (let end = bytes.indexOf('\n'); end !== -1; end = bytes.indexOf('\n', from)) {
    if (!isUtf8(bytes.subarray(from, end))) break;
    from = end + 1;
    line += 1;
  }
  throw new Failure('invalid-request', `${file}:${line}: the file must be UTF-8`);
}

async function readBytes(file: string): Promise<Buffer> {
  const refuse = (problem: string): never => {
    throw new Failure('invalid-request', `--config: ${file} ${problem}`);
  };
  try {
    // First: opening a pipe would wait for whoever writes it.
    const found = await stat(file);
    if (found.isDirectory()) return refuse('is a directory, where a YAML file is expected');
    if (!found.isFile()) return refuse('is no regular file');
    if (found.size > MAX_BYTES) return refuse(`has ${found.size} bytes; at most ${MAX_BYTES} are read`);
    return await readFile(file);
  } catch (error) {
    if (error instanceof Failure) throw error;
    return refuse(`cannot be read: ${errorMessage(error)}`);
  }
}

/** `node` is where: a node, or a place in the text. */
interface Problem {
  readonly node: unknown;
  readonly text: string;
}

function check<Content>(
  text: string,
  lineCounter: LineCounter,
  schema: ZodType<Content>,
): { readonly content: Content } | { readonly problems: readonly Problem[] } {
  const document = parseDocument(text, {
    version: '1.2',
    schema: 'core',
    // No tags but the core schema's: `!!set` and others would be types that no schema here has.
    resolveKnownTags: false,
    stringKeys: true,
    // Looked for below: the parser's own search takes quadratic time and does not name the key.
    uniqueKeys: false,
    lineCounter,
    prettyErrors: false,
  });
  const faults = syntaxProblems(document, lineCounter);
  // What a broken text seems to hold, nobody has written.
  if (faults.length > 0) return { problems: faults };
  const forbidden = forbiddenNodes(document);
  if (forbidden.length > 0) return { problems: forbidden };
  const result = schema.safeParse(document.toJS());
  if (result.success) return { content: result.data };
  return { problems: some(result.error.issues).flatMap((issue) => schemaProblems(document, issue)) };
}

/** At most one per line: after a mistake the parser is often out of step and complains of what follows. */
function syntaxProblems(document: Document.Parsed, lines: LineCounter): Problem[] {
  const byLine = new Map<number, Problem>();
  for (const { code, message, pos } of [...document.errors, ...document.warnings]) {
    const { line } = lines.linePos(pos[0]);
    if (!byLine.has(line)) byLine.set(line, { node: pos[0], text: explanations.get(code) ?? message });
  }
  return [...byLine.values()];
}

/** In place of the parser's words, where those are about itself or hide the usual mistake. */
const explanations: ReadonlyMap<string, string> = new Map([
  [
    'BLOCK_AS_IMPLICIT_KEY',
    'a second ": " on this line; if it belongs to a text, put the text in single quotes',
  ],
  ['MULTIPLE_DOCS', 'a second YAML document begins here; one is expected'],
  ['RESOURCE_EXHAUSTION', 'nested too deeply'],
]);

/** What YAML allows and no file here may have. */
function forbiddenNodes(document: Document.Parsed): Problem[] {
  const problems: Problem[] = [];
  visit(document, {
    // A few lines of aliases for lists of aliases stand for gigabytes.
    Alias: (_, node) => {
      problems.push({ node, text: `the alias *${node.source} cannot be used here: write the value again` });
    },
    Map: (_, map) => {
      const seen = new Set<string>();
      for (const { key } of map.items) {
        const name = textOf(key);
        if (seen.has(name)) problems.push({ node: key, text: `the key ${shown(key)} is there twice` });
        // zod passes over it in silence.
        if (name === '__proto__') problems.push({ node: key, text: `the key ${shown(key)} cannot be used` });
        seen.add(name);
      }
    },
  });
  return problems;
}

/** As many as are told, and one more: to find the places of all that a large file can have wrong takes minutes. */
function some<Item>(list: readonly Item[]): readonly Item[] {
  return list.slice(0, MAX_PROBLEMS + 1);
}

type Path = readonly PropertyKey[];

function schemaProblems(document: Document.Parsed, issue: z.core.$ZodIssue): Problem[] {
  const { path, message } = issue;
  if (issue.code === 'unrecognized_keys') {
    return some(issue.keys).map((key) => {
      const place = [...path, key];
      return { node: locate(document, place).key, text: `${pathText(place)}${message}` };
    });
  }
  const { key, value, missing } = locate(document, path);
  if (issue.code === 'invalid_key') return [{ node: key, text: `${pathText(path)}${message}` }];
  if (missing) return [{ node: value, text: `${pathText(path)}missing; ${message}` }];
  const complete = issue.code === 'custom' || issue.code === 'too_small';
  return [{ node: value, text: `${pathText(path)}${message}${complete ? '' : `, not ${shown(value)}`}` }];
}

/** The key and the value at the path; where it is missing, the last that is there. */
function locate(document: Document.Parsed, path: Path) {
  let key: unknown = document.contents;
  let value: unknown = document.contents;
  for (const step of path) {
    const name = String(step);
    const pair = isMap(value) ? value.items.find((item) => textOf(item.key) === name) : undefined;
    const item = isSeq(value) ? value.items[Number(name)] : pair?.value;
    if (item === undefined) return { key, value, missing: true };
    key = pair?.key ?? item;
    value = item;
  }
  return { key, value, missing: false };
}

/** `drivers."example.com/lvm".failures[0].code: ` */
function pathText(path: Path): string {
  const steps = path.map((step) => {
    if (typeof step === 'number') return `[${step}]`;
    return /^\w+$/.test(String(step)) ? `.${String(step)}` : `.${JSON.stringify(step)}`;
  });
  const text = steps.join('').replace(/^\./, '');
  return text === '' ? '' : `${text}: `;
}

function offsetOf(node: unknown): number {
  return (isNode(node) ? node.range?.[0] : undefined) ?? 0;
}

function textOf(key: unknown): string {
  return String(isScalar(key) ? key.value : key);
}

/** A node as messages show it. */
function shown(node: unknown): string {
  if (isMap(node)) return 'a map';
  if (isSeq(node)) return 'a list';
  const value: unknown = isScalar(node) ? node.value : undefined;
  if (typeof value === 'string') return oneLine(JSON.stringify(value), 80);
  if (typeof value === 'number') return `the number ${value}`;
  return typeof value === 'boolean' ? String(value) : 'nothing';
}
