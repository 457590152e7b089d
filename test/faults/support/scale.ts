/** How often what can be repeated is repeated. */

/** All of it when it was asked for (`npm run faults -- --full`), else enough to notice what is broken. */
export function times(full: number, reduced: number): number {
  return process.argv.includes('--full') ? full : reduced;
}
