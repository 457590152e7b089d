/** The kernel's mount table: the text of `/proc/<pid>/mountinfo` (proc(5)) as data. Pure. */

/** One mount. Mounts stacked on one another at the same path are entries of their own. */
export interface MountEntry {
  readonly id: number;
  /** The mount on which this one sits: the one around it, or the one right below it at the same path. */
  readonly parentId: number;
  /** `major:minor` of the file system, as `stat` gives it for the files there. */
  readonly device: string;
  /** What of the file system is mounted: `/`, or the directory or file that was bind-mounted. */
  readonly root: string;
  /** `root` has been removed from the file system since it was mounted. */
  readonly rootDeleted: boolean;
  readonly mountPoint: string;
  /** Of this mount; `ro` or `rw` comes first. */
  readonly options: readonly string[];
  readonly fsType: string;
  /** The device, share or name that was given to mount; may be empty. */
  readonly source: string;
  /** Of the file system, so of all its mounts; `ro` or `rw` comes first. */
  readonly superOptions: readonly string[];
}

/** id, parent, device, root, mount point, options: what stands before the optional fields. */
const FIXED_FIELDS = 6;
/** The kernel appends this to a root that was removed. No path of its own holds two slashes in a row. */
const DELETED = '//deleted';

/**
 * The entries of a mountinfo text, in the kernel's order. Lines that do not have the format are left out: a
 * line cut off at the end of a read must not hide the others.
 */
export function parseMountInfo(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split('\n')) {
    const entry = parseLine(line);
    if (entry !== undefined) entries.push(entry);
  }
  return entries;
}

function parseLine(line: string): MountEntry | undefined {
  // One space separates fields: an empty source is a field of length zero.
  const fields = line.split(' ');
  const separator = fields.indexOf('-', FIXED_FIELDS);
  if (separator < 0 || fields.length < separator + 4) return undefined;
  const [id, parentId, device, root, mountPoint, options] = fields as [
    string,
    string,
    string,
    string,
    string,
    string,
  ];
  if (!/^\d+$/.test(id) || !/^\d+$/.test(parentId) || !/^\d+:\d+$/.test(device)) return undefined;
  const rootDeleted = root.endsWith(DELETED);
  return {
    id: Number(id),
    parentId: Number(parentId),
    device,
    root: unescapeField(rootDeleted ? root.slice(0, -DELETED.length) : root),
    rootDeleted,
    mountPoint: unescapeField(
      mountPoint.endsWith(DELETED) ? mountPoint.slice(0, -DELETED.length) : mountPoint,
    ),
    options: options.split(','),
    fsType: unescapeField(fields[separator + 1] as string),
    source: unescapeField(fields[separator + 2] as string),
    // A file system that writes an option with a bare space would spoil no other field.
    superOptions: fields
      .slice(separator + 3)
      .join(' ')
      .split(',')
      .map(unescapeField),
  };
}

/** Undoes the kernel's octal escapes (space, tab, line break, `\`, `#`), each once: `\134040` is `\040`. */
function unescapeField(field: string): string {
  if (!field.includes('\\')) return field;
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** Whether nothing can be written through this mount: it or its file system is read-only. */
export function isReadOnly(entry: MountEntry): boolean {
  return entry.options[0] === 'ro' || entry.superOptions[0] === 'ro';
}

/** The mounts of one moment. Paths are compared as text: symbolic links in them must be resolved before. */
export class MountTable {
  readonly entries: readonly MountEntry[];
  readonly #byMountPoint: ReadonlyMap<string, readonly MountEntry[]>;

  constructor(entries: readonly MountEntry[]) {
    this.entries = entries;
    this.#byMountPoint = Map.groupBy(entries, (entry) => entry.mountPoint);
  }

  /** The mount that is seen at exactly this path: the topmost of a stack; undefined when it is no mount point. */
  at(path: string): MountEntry | undefined {
    const stack = this.#byMountPoint.get(path) ?? [];
    // Usually the last; but a moved mount keeps its older place in the table, so the stack decides.
    return stack.findLast((entry) => !stack.some((other) => other.parentId === entry.id)) ?? stack.at(-1);
  }

  /** How many mounts are stacked at exactly this path. */
  countAt(path: string): number {
    return this.#byMountPoint.get(path)?.length ?? 0;
  }

  /** All mounts of a file system (`major:minor`), or only those of one directory or file (`root`) of it. */
  allOf(device: string, root?: string): MountEntry[] {
    return this.entries.filter((e) => e.device === device && (root === undefined || e.root === root));
  }

  /** The mounts that sit on this one: at a path below its mount point, or stacked at the same path. */
  childrenOf(entry: MountEntry): MountEntry[] {
    // The root of the namespace may be its own parent.
    return this.entries.filter((other) => other.parentId === entry.id && other.id !== entry.id);
  }
}
