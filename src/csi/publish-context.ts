/** The key of `publish_context` under which the device that `attach` named travels from controller to node. */
export const DEVICE_KEY = 'device';
