/** Certificates for tests, made by openssl: an authority, and what it has signed. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface SignedCertificate {
  readonly cert: Buffer;
  readonly key: Buffer;
}

export class Authority {
  readonly ca: Buffer;
  readonly #directory: string;
  readonly #name: string;
  #count = 0;

  /** @param name also that of its files in the directory. */
  constructor(directory: string, name: string) {
    this.#directory = directory;
    this.#name = name;
    openssl(directory, [
      ...[
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:prime256v1',
        '-nodes',
        '-days',
        '2',
      ],
      ...['-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.crt`],
    ]);
    this.ca = readFileSync(join(directory, `${name}.crt`));
  }

  /** @param alternative the subject's other names, such as `IP:127.0.0.1`. */
  sign(subject: string, alternative: string): SignedCertificate {
    this.#count += 1;
    const file = `${this.#name}-${this.#count}`;
    writeFileSync(join(this.#directory, `${file}.ext`), `subjectAltName=${alternative}\n`);
    openssl(this.#directory, [
      ...['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
      ...['-subj', `/CN=${subject}`, '-keyout', `${file}.key`, '-out', `${file}.csr`],
    ]);
    openssl(this.#directory, [
      ...['x509', '-req', '-in', `${file}.csr`, '-days', '2', '-extfile', `${file}.ext`],
      ...[
        '-CA',
        `${this.#name}.crt`,
        '-CAkey',
        `${this.#name}.key`,
        '-CAcreateserial',
        '-out',
        `${file}.crt`,
      ],
    ]);
    const read = (end: string): Buffer => readFileSync(join(this.#directory, `${file}.${end}`));
    return { cert: read('crt'), key: read('key') };
  }
}

function openssl(cwd: string, args: readonly string[]): void {
  execFileSync('openssl', args, { cwd, stdio: ['ignore', 'ignore', 'pipe'] });
}
