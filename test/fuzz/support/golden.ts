/** What real drivers answered, and what kubelet passed to them: the recordings in test/golden. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const directory = join(import.meta.dirname, '../../golden');

/** Every different text that a driver printed. */
export function recordedOutputs(): Buffer[] {
  const texts = new Set<string>();
  for (const file of readdirSync(directory).filter((name) => name.endsWith('.jsonl'))) {
    for (const record of recordsOf(file)) collect(record, texts);
  }
  return [...texts].map((text) => Buffer.from(text));
}

interface OptionsRecord {
  readonly given: {
    readonly options?: Readonly<Record<string, string>>;
    readonly pvName: string;
    readonly fsType: string;
    readonly readOnly: boolean;
  };
  readonly calls: readonly { readonly argv: readonly string[] }[];
}

/** The volume's own options and the JSON that kubelet made of them, where it was recorded with `attach`. */
export function recordedOptions(): { given: OptionsRecord['given']; text: string }[] {
  return (recordsOf('options.jsonl') as OptionsRecord[]).flatMap(({ given, calls }) => {
    const [verb, text] = calls[0]?.argv ?? [];
    return given.options !== undefined && verb === 'attach' && text !== undefined ? [{ given, text }] : [];
  });
}

function recordsOf(file: string): unknown[] {
  const lines = readFileSync(join(directory, file), 'utf8').split('\n').filter(Boolean);
  return lines.map((line): unknown => JSON.parse(line));
}

function collect(value: unknown, into: Set<string>): void {
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    if ((key === 'stdout' || key === 'stderr') && typeof inner === 'string') into.add(inner);
    else collect(inner, into);
  }
}
