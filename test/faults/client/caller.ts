/** A client of one call, as a program that can be killed: `node caller.ts SOCKET PATH MESSAGE`, the last in base64. */
import { frame, openSession, post } from './http2.ts';

const [socket = '', path = '', message = ''] = process.argv.slice(2);
const session = await openSession(socket);
await post(session, path, frame(Buffer.from(message, 'base64')));
session.close();
