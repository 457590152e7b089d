/** How a secret turns up in a text. */

/** The spellings of a secret that drivers and tools use. */
export function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const url = encodeURIComponent(secret);
  return [
    secret,
    bytes.toString('base64'),
    // The end of base64 depends on what follows the secret.
    bytes.toString('base64').replace(/=+$/, ''),
    bytes.toString('base64url'),
    url,
    url.replaceAll('%20', '+'),
    // In lower case, as some libraries write it.
    url.replace(/%[0-9A-F]{2}/g, (byte) => byte.toLowerCase()),
    JSON.stringify(secret).slice(1, -1),
    secret.replaceAll("'", "'\\''"),
  ];
}
