/**
 * One CSI call from the command line, for those who follow docs/write-a-driver.md:
 *
 *   npx node test/docs/csi.ts <socket> <RPC> [<request as JSON>]
 *
 * A request without a capability gets that of a volume to mount, for one node. Prints the answer without its empty
 * fields, lists of capabilities by their names; or the gRPC code and the message, and exits with 1.
 */
import { DemoClient } from '../../src/cli/demo/client.ts';
import { csi } from '../../src/csi/proto.ts';

const services = ['Identity', 'Controller', 'Node'] as const;
const toMount = { mount: {}, access_mode: { mode: 'SINGLE_NODE_WRITER' } };

const [socket = '', rpc = '', json = '{}'] = process.argv.slice(2);
const service = services.find((name) => rpc in csi[name].service);
const client = new DemoClient(`unix://${socket}`);
try {
  if (service === undefined) throw new Error(`CSI has no RPC ${JSON.stringify(rpc)}`);
  const request = { volume_capability: toMount, volume_capabilities: [toMount], ...JSON.parse(json) };
  console.log(shown(await client.call(service, rpc, request)));
} catch (error) {
  console.log((error as Error).message);
  process.exitCode = 1;
}
client.close();

function shown(answer: Readonly<Record<string, unknown>>): string {
  const { capabilities } = answer;
  if (Array.isArray(capabilities)) {
    return capabilities.map((one) => (one.rpc ?? one.service ?? one.volume_expansion).type).join(' ');
  }
  return JSON.stringify(withoutEmpty(answer) ?? {});
}

/** Undefined for what is empty: '', 0, '0', false, null, and objects and lists of nothing else. */
function withoutEmpty(value: unknown): unknown {
  if (Array.isArray(value)) {
    const items = value.map(withoutEmpty).filter((item) => item !== undefined);
    return items.length === 0 ? undefined : items;
  }
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).map(([key, member]) => [key, withoutEmpty(member)] as const);
    // The loader names the field that is set of several (`oneof`) in a member of its own.
    const kept = members.filter(
      ([key, member]) => member !== undefined && !(key === 'type' && `${member}` in value),
    );
    return kept.length === 0 ? undefined : Object.fromEntries(kept);
  }
  return value === '' || value === 0 || value === '0' || value === false || value === null
    ? undefined
    : value;
}
