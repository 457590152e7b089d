/** What travels from ControllerPublishVolume to the node, in `publish_context`. */

/** The device that `attach` named. */
export const DEVICE_KEY = 'device';

/** `true` when the volume was attached read-only by the request's own `readonly`: staging must not write then. */
export const READONLY_KEY = 'readonly';
