/** What is being served, as the rest of the process sees it. */

export interface Serving {
  /** What is served now; one driver, or those of a plugin directory. */
  drivers(): DriverStatus[];
  /** Takes no new calls, lets running drivers finish, removes the sockets. */
  stop(): Promise<void>;
}

/** What is known of a driver, for people and their tools. */
export interface DriverStatus {
  /** The FlexVolume name. */
  readonly driver: string;
  /** The CSI name; undefined while it has none that can be used. */
  readonly name?: string;
  /** Whether it is served on its socket. */
  readonly serving: boolean;
  /** What is wrong with the driver; one that has been in use stays in use. */
  readonly problem?: string;
  /** What kubelet says; undefined where it is not told. */
  readonly registration?: string;
}
