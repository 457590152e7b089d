/** The rules that docs/architecture.md states: which room imports which, who may import what, and no recursive deletes. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..');
const src = join(root, 'src');

/** A room may import itself and the rooms named here. Files right under src/ are rooms of their own. */
const mayImport: Record<string, readonly string[]> = {
  main: ['cli', 'errors'],
  cli: [
    'csi',
    'kube',
    'grpc',
    'volume',
    'flex',
    'mount',
    'state',
    'namespaces',
    'process',
    'errors',
    'log',
    'secrets',
  ],
  csi: ['grpc', 'volume', 'flex', 'errors', 'log', 'secrets'],
  grpc: ['errors', 'log'],
  kube: ['grpc', 'errors', 'log'],
  volume: ['flex', 'mount', 'state', 'errors', 'log', 'secrets'],
  flex: ['process', 'files', 'errors', 'log', 'secrets'],
  mount: ['process', 'errors', 'log', 'secrets'],
  state: ['errors', 'log'],
  process: ['input', 'output', 'process-group', 'errors'],
  'process-group': ['errors'],
  namespaces: ['process', 'files', 'errors'],
  files: ['errors'],
  input: ['errors'],
  output: [],
  log: [],
  secrets: [],
  errors: [],
};

/** Packages and modules of Node that only these places may import. */
const reserved: Record<string, readonly string[]> = {
  execa: ['process.ts'],
  'node:child_process': [],
  '@grpc/grpc-js': ['csi/', 'grpc/', 'kube/registration.ts', 'cli/demo/client.ts'],
  '@grpc/proto-loader': ['csi/', 'kube/registration.ts'],
  protobufjs: ['csi/'],
  pino: ['log.ts'],
  'pino-pretty': ['log.ts'],
  commander: ['main.ts', 'cli/'],
  yaml: ['cli/yaml-file.ts', 'cli/manifest.ts', 'kube/kubeconfig.ts'],
};

function filesBelow(directory: string): string[] {
  return readdirSync(directory).flatMap((name) => {
    const path = join(directory, name);
    if (name === 'generated') return [];
    return statSync(path).isDirectory() ? filesBelow(path) : [path];
  });
}

const roomOf = (path: string): string => relative(src, path).split('/')[0]?.replace(/\.ts$/, '') ?? '';

const sources = filesBelow(src).map((path) => {
  const text = readFileSync(path, 'utf8');
  const imports = [...text.matchAll(/\b(?:from|import)\s*\(?\s*'([^']+)'/g)].map(
    (match) => match[1] as string,
  );
  const runtime = [...text.matchAll(/^(?:import|export) (?!type\b)[^;]*?from '([^']+)'/gms)]
    .filter((match) => !isTypeOnly(match[0]))
    .map((match) => match[1] as string);
  return { path, name: relative(src, path), imports, runtime };
});

/** `import { type A, type B } from` imports nothing at run time. */
function isTypeOnly(statement: string): boolean {
  const names = /\{([^}]*)\}/s.exec(statement)?.[1] ?? 'a default import';
  return names.split(',').every((name) => /^\s*(type |$)/.test(name));
}

describe('imports', () => {
  it.each(sources.map((source) => [source.name, source] as const))(
    '%s goes the one way',
    (_name, { path, imports }) => {
      const room = roomOf(path);
      const allowed = [room, ...(mayImport[room] ?? [])];
      const wrong = imports
        .filter((specifier) => specifier.startsWith('.'))
        .map((specifier) => join(dirname(path), specifier))
        .filter((target) => !allowed.includes(roomOf(target)));
      expect(wrong.map((target) => relative(src, target))).toEqual([]);
    },
  );

  it.each(Object.entries(reserved))('%s is imported only by %j', (module, places) => {
    const importers = sources.filter(({ imports }) => imports.includes(module)).map(({ name }) => name);
    expect(importers.filter((name) => !places.some((place) => name.startsWith(place)))).toEqual([]);
  });

  it('have no cycle', () => {
    const graph = new Map(
      sources.map(({ path, runtime }) => [
        path,
        runtime
          .filter((specifier) => specifier.startsWith('.'))
          .map((specifier) => join(dirname(path), specifier)),
      ]),
    );
    const done = new Set<string>();
    const visit = (path: string, trail: readonly string[]): void => {
      if (trail.includes(path))
        throw new Error(
          `cycle: ${[...trail.slice(trail.indexOf(path)), path].map((p) => relative(src, p)).join(' → ')}`,
        );
      if (done.has(path)) return;
      for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
      done.add(path);
    };
    for (const path of graph.keys()) visit(path, []);
  });
});

describe('recursive deletes', () => {
  const drivers = filesBelow(join(root, 'drivers')).filter((path) => !path.endsWith('.md'));

  it.each([...sources.map(({ path }) => path), ...drivers].map((path) => relative(root, path)))(
    '%s has none',
    (name) => {
      const text = readFileSync(join(root, name), 'utf8');
      expect(text).not.toMatch(/\brm\s+(-\w+\s+)*-\w*[rR]/);
      expect(text).not.toMatch(/\brm(dir)?(Sync)?\([^)]*recursive/s);
      expect(text).not.toMatch(/'-delete'|--recursive|\brimraf\b/);
      expect(text).not.toMatch(/find\b[^\n]*-delete/);
    },
  );
});
