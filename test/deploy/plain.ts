/**
 * deploy/flexcsi.yaml, for clusters without Helm: the chart rendered with deploy/flexcsi.values.yaml.
 *
 *   npx node test/deploy/plain.ts     writes it anew
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chart, runHelm } from './helm.ts';

const deploy = join(import.meta.dirname, '../../deploy');

/** The file that is checked in. */
export const plainFile = join(deploy, 'flexcsi.yaml');

const head = `# flexcsi with its bundled drivers nfs, cifs and sshfs and the volumes of the driver loop, in the namespace
# flexcsi: what Helm makes of deploy/helm/flexcsi with deploy/flexcsi.values.yaml. Not edited here: a test compares.
# Where it says "image: flexcsi:…", put the image that you have built.
apiVersion: v1
kind: Namespace
metadata:
  name: flexcsi
  labels:
    # The pods on the nodes mount: they have to be privileged.
    pod-security.kubernetes.io/enforce: privileged
`;

/** What is not Helm's after all. */
const ofHelm = /^ *(# Source: .*|helm\.sh\/chart: .*|app\.kubernetes\.io\/managed-by: .*)\n/gm;

/** What the file has to be. */
export async function plainYaml(): Promise<string> {
  const values = readFileSync(join(deploy, 'flexcsi.values.yaml'), 'utf8');
  const args = ['template', 'flexcsi', chart, '--namespace', 'flexcsi', '--values', '-'];
  return head + (await runHelm(args, values)).replace(ofHelm, '');
}

if (import.meta.main) writeFileSync(plainFile, await plainYaml());
