/** `driver_does`: what a driver did beside answering, as shell commands that do it. `argv[0]` is the verb. */
import { NotUnderstood } from './records.ts';

/** `$1` is the verb, so that `argv[1]` is `$2`. */
const argument = (index: string | undefined): string => `"\${${Number(index) + 1}}"`;
const quote = (text: string | undefined): string => `'${String(text).replaceAll("'", "'\\''")}'`;

const patterns: readonly (readonly [RegExp, (...parts: (string | undefined)[]) => string])[] = [
  // tmpfs would have mode 1777; the recordings' has 0755, and so have other file systems.
  [
    /^mounts a (?:(read-only) )?tmpfs(?: of (\S+))?(?: (?:with )?mode (\d+))? on argv\[(\d+)\](?:,? (read-only))?$/,
    (ro, size, mode, index, late) =>
      `mount -t tmpfs -o ${ro || late ? 'ro' : 'rw'},mode=${mode ?? '0755'}${size ? `,size=${size.replace(/i$/, '')}` : ''} tmpfs ${argument(index)}`,
  ],
  [
    /^(?:bind-mounts|mounts) argv\[(\d+)\] on argv\[(\d+)\](?:,? (read-only))?$/,
    (source, target, ro) =>
      `if [ -d ${argument(source)} ]; then mount --bind ${argument(source)} ${argument(target)}; ` +
      `else mount ${ro ? '-o ro ' : ''}${argument(source)} ${argument(target)}; fi` +
      (ro ? ` && mount -o remount,bind,ro ${argument(target)}` : ''),
  ],
  [/^unmounts argv\[(\d+)\](?: lazily)?$/, (index) => `umount ${argument(index)}`],
  [
    /^(?:creates|writes) (?:an? )?(?:empty )?file (\S+)(?: (?:with )?mode (\d+))? in argv\[(\d+)\](?:,? (?:with )?mode (\d+))?$/,
    (name, mode, index, late) => {
      const file = `${argument(index)}/${quote(name)}`;
      return `: > ${file} && chmod ${mode ?? late ?? '0644'} ${file}`;
    },
  ],
  [
    /^(?:creates|makes) (?:an? )?(?:sub)?directory (\S+)(?: (?:with )?mode (\d+))? in argv\[(\d+)\]$/,
    (name, mode, index) => `mkdir -m ${mode ?? '0755'} ${argument(index)}/${quote(name)}`,
  ],
  [
    /^creates (?:an? )?(?:symbolic link|symlink) (\S+) (?:to (\S+) )?in argv\[(\d+)\]$/,
    (name, target, index) => `ln -s ${quote(target ?? 'nowhere')} ${argument(index)}/${quote(name)}`,
  ],
  [
    /^(?:removes|deletes) file (\S+) (?:in|from) argv\[(\d+)\]$/,
    (name, index) => `rm ${argument(index)}/${quote(name)}`,
  ],
  [/^(?:rmdir|removes(?: the)?(?: empty)? directory) argv\[(\d+)\]$/, (index) => `rmdir ${argument(index)}`],
  [/^mkdir argv\[(\d+)\]$/, (index) => `mkdir -p ${argument(index)}`],
  [/^chmod (\d+) argv\[(\d+)\]$/, (mode, index) => `chmod ${mode} ${argument(index)}`],
];

/** The shell commands for these texts, in order; the first that fails ends them, and the driver with exit 99. */
export function shellFor(texts: readonly string[]): string {
  return texts
    .map((text) => {
      for (const [pattern, shell] of patterns) {
        const match = pattern.exec(text);
        if (match !== null) return `{ ${shell(...match.slice(1))}; } || exit 99`;
      }
      throw new NotUnderstood(`driver_does: "${text}"`);
    })
    .join('\n');
}

/** Whether these actions leave something mounted on that argument. */
export function mountsOn(texts: readonly string[] | undefined, index: number): boolean {
  const last = texts?.findLast((text) => /mounts/.test(text) && text.includes(`argv[${index}]`));
  return last !== undefined && !last.startsWith('unmounts');
}
