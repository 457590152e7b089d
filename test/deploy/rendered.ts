/** The objects that the chart makes, and questions about them. */
import { parseAllDocuments } from 'yaml';

/** Any object of Kubernetes; what is in it is for the test to know. */
// biome-ignore lint/suspicious/noExplicitAny: the shape depends on the kind, and a wrong one fails the test.
export type KubeObject = any;

/** The objects of a YAML text. @throws {Error} for what is no YAML, or says a key twice. */
export function objectsOf(text: string): KubeObject[] {
  return parseAllDocuments(text).flatMap((document) => {
    if (document.errors[0] !== undefined) throw document.errors[0];
    const object = document.toJS();
    return object === null ? [] : [object];
  });
}

export class Rendered {
  readonly objects: readonly KubeObject[];

  constructor(objects: readonly KubeObject[]) {
    this.objects = objects;
  }

  all(kind: string): KubeObject[] {
    return this.objects.filter((object) => object.kind === kind);
  }

  /** @throws {Error} when there is none, or more than one. */
  one(kind: string, name?: string): KubeObject {
    const found = this.all(kind).filter(({ metadata }) => name === undefined || metadata.name === name);
    if (found.length === 1) return found[0];
    const there = this.objects.map((object) => `${object.kind}/${object.metadata.name}`).join(', ');
    throw new Error(`${found.length} objects ${kind}/${name ?? '*'} among ${there}`);
  }

  /** The pod of a workload. */
  pod(kind: string, name?: string): KubeObject {
    return this.one(kind, name).spec.template.spec;
  }

  /** The flexcsi container of a workload. */
  flexcsi(kind: string, name?: string): KubeObject {
    return containerOf(this.pod(kind, name), 'flexcsi');
  }

  /** What an account may do, as `verb resource`, with `name` where it is for named objects only. */
  rights(account: string): string[] {
    const has = (binding: KubeObject) => binding.subjects.some(({ name }: KubeObject) => name === account);
    const bindings = [...this.all('ClusterRoleBinding'), ...this.all('RoleBinding')].filter(has);
    const roles = bindings.map(({ roleRef, metadata }) =>
      [...this.all('ClusterRole'), ...this.all('Role')].find(
        (role) =>
          role.kind === roleRef.kind &&
          role.metadata.name === roleRef.name &&
          role.metadata.namespace === metadata.namespace,
      ),
    );
    const rights = roles.flatMap(({ rules, metadata }) =>
      rules.flatMap(({ verbs, resources, resourceNames }: KubeObject) =>
        resources.flatMap((resource: string) =>
          verbs.map((verb: string) =>
            [
              verb,
              resource,
              ...(resourceNames ?? []),
              ...(metadata.namespace ? ['in', metadata.namespace] : []),
            ].join(' '),
          ),
        ),
      ),
    );
    return [...new Set<string>(rights)].sort();
  }
}

/** @throws {Error} when the pod has no such container. */
export function containerOf(pod: KubeObject, name: string): KubeObject {
  const container = pod.containers.find((one: KubeObject) => one.name === name);
  if (container === undefined) throw new Error(`no container ${name}`);
  return container;
}

/** The names of its containers. */
export function containersOf(pod: KubeObject): string[] {
  return pod.containers.map(({ name }: KubeObject) => name);
}
