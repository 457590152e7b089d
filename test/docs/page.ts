/** Reads docs/write-a-driver.md: the versions of the script, and the commands with what they print. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Example {
  /** As it is typed, without the prompt. */
  readonly command: string;
  /** What the page says it prints. */
  readonly output: string;
}

export type Block =
  | { readonly kind: 'script'; readonly line: number; readonly text: string }
  | { readonly kind: 'patch'; readonly line: number; readonly text: string }
  | { readonly kind: 'examples'; readonly line: number; readonly examples: readonly Example[] };

export const pageFile = join(import.meta.dirname, '../../docs/write-a-driver.md');

/** The page's code blocks, in their order. Throws for a block of a kind that nothing here would try. */
export function readPage(): Block[] {
  const page = readFileSync(pageFile, 'utf8');
  return [...page.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(([, language = '', text = ''], index, all) => {
    const line = page.slice(0, all[index]?.index).split('\n').length;
    if (language === 'sh') return { kind: 'script', line, text };
    if (language === 'diff') return { kind: 'patch', line, text };
    if (language === 'console') return { kind: 'examples', line, examples: examplesOf(text) };
    throw new Error(
      `line ${line}: a code block in ${language || 'no language'}, which the test does not know`,
    );
  });
}

function examplesOf(text: string): Example[] {
  return text
    .split(/^# /m)
    .slice(1)
    .map((part) => {
      const [command = '', ...output] = part.split('\n');
      return { command, output: output.join('\n').trimEnd() };
    });
}

/** All versions of the script: those that the page shows as a whole, and what its patches make of them. */
export function versionsOf(blocks: readonly Block[]): string[] {
  const versions: string[] = [];
  for (const { kind, line, ...block } of blocks) {
    if (!('text' in block)) continue;
    try {
      versions.push(kind === 'patch' ? patched(versions.at(-1) ?? '', block.text) : block.text);
    } catch (error) {
      throw new Error(`line ${line}: ${(error as Error).message}`);
    }
  }
  return versions;
}

/** Applies a unified diff, to the letter: no hunk elsewhere, no line that is not as the diff says. */
export function patched(text: string, diff: string): string {
  const before = text.split('\n');
  const after: string[] = [];
  let at = 0;
  const [header = '', ...hunks] = diff.split(/^(?=@@ )/m);
  if (!/^--- .*\n\+\+\+ .*\n$/.test(header)) throw new Error('the patch does not begin with --- and +++');
  for (const hunk of hunks) {
    const [head = '', ...lines] = hunk.trimEnd().split('\n');
    const [, start] = /^@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@$/.exec(head) ?? [];
    after.push(...before.slice(at, Number(start) - 1));
    at = Number(start) - 1;
    for (const line of lines) {
      const content = line.slice(1);
      if (line.startsWith('+')) {
        after.push(content);
        continue;
      }
      if (before[at] !== content) throw new Error(`the patch does not fit: ${JSON.stringify(line)}`);
      if (!line.startsWith('-')) after.push(content);
      at += 1;
    }
  }
  return [...after, ...before.slice(at)].join('\n');
}

/**
 * Whether something printed is what the page says: `…` stands for anything, a line of it for any lines, `<seconds>` for
 * a time. How many spaces, and how many milliseconds, does not count.
 */
export function isAsShown(printed: string, shown: string): boolean {
  const pattern = plain(shown)
    .split('\n')
    .map((line) =>
      line === '…'
        ? '(?:.*\n)*'
        : `${RegExp.escape(line).replaceAll('…', '.*').replaceAll(RegExp.escape('<seconds>'), '\\d{10}')}\n`,
    )
    .join('');
  return new RegExp(`^${pattern}$`).test(`${plain(printed)}\n`);
}

function plain(text: string): string {
  return text
    .replace(/[\d.]+ ms$/gm, 'ms')
    .split('\n')
    .map((line) => line.trim().replace(/ +/g, ' '))
    .join('\n')
    .trimEnd();
}
