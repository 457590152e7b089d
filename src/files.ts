/** Where the files of drivers are looked at: below this process's own root, or below another's. */
import { readlink } from 'node:fs/promises';
import { dirname } from 'node:path/posix';
import { errorCode } from './errors.ts';

export interface Files {
  /** The path by which this process finds a file. The last part is not followed if it is a symbolic link. */
  find(path: string): Promise<string>;
  /** The same, following the last part, too. */
  follow(path: string): Promise<string>;
  /** The mount table in which these paths are. */
  readonly mountInfo: string;
  /** What the found paths begin with, and paths in that mount table do not. */
  readonly root: string;
}

/** This process's own. */
export const ownFiles: Files = {
  find: async (path) => path,
  follow: async (path) => path,
  mountInfo: '/proc/self/mountinfo',
  root: '',
};

/** Those of another process: another container's, or the host's. */
export function filesOf(pid: number): Files {
  const root = `/proc/${pid}/root`;
  return {
    find: (path) => resolveIn(root, path, false),
    follow: (path) => resolveIn(root, path, true),
    mountInfo: `/proc/${pid}/mountinfo`,
    root,
  };
}

/** As the kernel's own limit. */
const MAX_LINKS = 40;

/** Follows symbolic links as that root means them: an absolute one begins there, not at ours. */
async function resolveIn(root: string, path: string, followLast: boolean): Promise<string> {
  let done = '';
  let links = 0;
  const left = path.split('/');
  for (let part = left.shift(); part !== undefined; part = left.shift()) {
    if (part === '' || part === '.') continue;
    if (part === '..') {
      done = done === '' ? '' : dirname(done).replace(/^\/$/, '');
      continue;
    }
    const next = `${done}/${part}`;
    const isLast = left.every((one) => one === '' || one === '.');
    const target = isLast && !followLast ? undefined : await linkAt(root + next);
    if (target === undefined) {
      done = next;
      continue;
    }
    links += 1;
    if (links > MAX_LINKS)
      throw Object.assign(new Error(`ELOOP: too many symbolic links, ${path}`), { code: 'ELOOP' });
    if (target.startsWith('/')) done = '';
    left.unshift(...target.split('/'));
  }
  return root + done;
}

async function linkAt(path: string): Promise<string | undefined> {
  try {
    return await readlink(path);
  } catch (error) {
    // No link, or nothing at all: whoever uses the path finds out.
    if (['EINVAL', 'ENOENT', 'ENOTDIR'].includes(errorCode(error) ?? '')) return undefined;
    throw error;
  }
}
