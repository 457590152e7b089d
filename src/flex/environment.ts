/** The environment of drivers. */

/**
 * What a driver finds in its environment: this process's own, as a driver of kubelet's found kubelet's
 * (recording `process.environment`). When npm has started this process, what npm puts there is left out:
 * `npm_*`, `INIT_CWD`, `NODE`, `COLOR`, and the entries that it puts before PATH. `NODE_NAME` is the node id, where
 * there is one: a driver that has to know which node it is on must not take another name for it.
 */
export function driverEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  nodeId = '',
): Record<string, string> {
  const startedByNpm = environment.npm_execpath !== undefined;
  const own = Object.fromEntries(
    Object.entries(environment).flatMap(([name, value]) => {
      if (value === undefined || (startedByNpm && isNpms(name))) return [];
      return [[name, startedByNpm && name === 'PATH' ? withoutNpmsEntries(value) : value]];
    }),
  );
  return nodeId === '' ? own : { ...own, NODE_NAME: nodeId };
}

// `NODE` and `COLOR` are names that a driver may well use itself: only npm's own are taken away.
function isNpms(name: string): boolean {
  return name.startsWith('npm_') || ['INIT_CWD', 'NODE', 'COLOR'].includes(name);
}

function withoutNpmsEntries(path: string): string {
  const isNpms = /\/node_modules\/(\.bin|npm\/node_modules\/@npmcli\/run-script\/lib\/node-gyp-bin)\/?$/;
  return path
    .split(':')
    .filter((entry) => !isNpms.test(entry))
    .join(':');
}
