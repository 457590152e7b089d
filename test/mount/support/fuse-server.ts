/**
 * A FUSE server for tests, run as a program of its own: `node fuse-server.ts MOUNTPOINT`. It mounts, finishes
 * the handshake, prints "ready" and from then on takes every request and answers none. So whoever touches the
 * mount sleeps in the kernel, not even to be killed, as on a network mount whose server is gone. When this
 * process is killed, the mount is dead (ENOTCONN) and the sleepers wake.
 */
import { spawnSync } from 'node:child_process';
import { openSync, readSync, writeSync } from 'node:fs';

const mountPoint = process.argv[2] as string;
/** Requests are at most this long: the kernel refuses to read into less than 8 KiB. */
const request = Buffer.alloc(256 * 1024);
const HEADER_BYTES = 16;
const INIT_BYTES = 64;

const device = openSync('/dev/fuse', 'r+');
const options = 'fd=3,rootmode=40000,user_id=0,group_id=0,allow_other';
const mount = spawnSync('mount', ['-i', '-t', 'fuse', '-o', options, 'flexcsi-test', mountPoint], {
  stdio: ['ignore', 'inherit', 'inherit', device],
});
if (mount.status !== 0) process.exit(1);

readSync(device, request);
const init = Buffer.alloc(HEADER_BYTES + INIT_BYTES);
init.writeUInt32LE(init.length, 0);
request.copy(init, 8, 8, 16); // the request's number
init.writeUInt32LE(7, HEADER_BYTES); // protocol 7.31
init.writeUInt32LE(31, HEADER_BYTES + 4);
init.writeUInt32LE(64 * 1024, HEADER_BYTES + 8); // read-ahead
init.writeUInt32LE(64 * 1024, HEADER_BYTES + 20); // longest write
writeSync(device, init);
writeSync(1, 'ready\n');
try {
  while (true) readSync(device, request);
} catch {
  // ENODEV: unmounted.
}
