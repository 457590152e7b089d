/** What is killed, and what is lost with it. */

export interface Mode {
  readonly name: string;
  readonly what: string;
  /**
   * `server`: flexcsi alone, the drivers that it started go on. `all`: these as well, as when a container ends.
   * `driver`: one driver that runs, flexcsi goes on.
   */
  readonly kills: 'server' | 'all' | 'driver';
  /** flexcsi's state directory is gone when it starts again. */
  readonly losesState: boolean;
}

export const modes: readonly Mode[] = [
  {
    name: 'server',
    what: 'SIGKILL of flexcsi; its drivers go on',
    kills: 'server',
    losesState: false,
  },
  {
    name: 'all',
    what: 'SIGKILL of flexcsi, its drivers and all that they run',
    kills: 'all',
    losesState: false,
  },
  {
    name: 'driver',
    what: 'SIGKILL of a driver, with or without the tools that it runs',
    kills: 'driver',
    losesState: false,
  },
  {
    name: 'state',
    what: 'SIGKILL of flexcsi, alone or with all that it runs, and its state directory is lost',
    kills: 'server',
    losesState: true,
  },
];
