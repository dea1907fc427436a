import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { answer, sendFault } from './s3-server/answer.ts';
import { S3Bucket, S3Fault } from './s3-server/bucket.ts';
import { refusal, type S3Credentials } from './s3-server/signature.ts';

/**
 * `answer`: as a server would. `error`: 500. `missing`: 501. `cut`: the connection breaks in the
 * middle of the answer.
 */
export type S3Fate = 'answer' | 'error' | 'missing' | 'cut';

/**
 * A real HTTP server on loopback that answers what this project asks of S3, and takes only what is
 * signed (SigV4). There is none in npm that does: s3rver and its fork have no AbortMultipartUpload,
 * without which nobody sees that a failed upload leaves nothing.
 */
export interface S3Server {
  /** As `S3_*` variables. */
  readonly environment: Record<string, string>;
  readonly bucket: S3Bucket;
  /** `METHOD /path?query` of each request so far. */
  readonly requests: string[];
  /** Decides from now on what becomes of a request, by its line in `requests`. */
  decide(fate: (line: string) => S3Fate): void;
  close(): Promise<void>;
}

export interface S3ServerOptions {
  /** Most keys of one page of a list; 1000 unless told. */
  pageSize?: number;
}

const BUCKET = 'antiphon';
const CREDENTIALS: S3Credentials = {
  accessKeyId: 'AKIATESTTESTTEST',
  secretAccessKey: 'test-secret-of-nobody',
};

export async function startS3Server({ pageSize = 1000 }: S3ServerOptions = {}): Promise<S3Server> {
  const bucket = new S3Bucket();
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  let decide = (_line: string): S3Fate => 'answer';

  const serve = async (message: IncomingMessage, response: ServerResponse) => {
    const { method = 'GET', url: path = '/', headers } = message;
    const line = `${method} ${path}`;
    requests.push(line);
    const body = await buffer(message);
    const { pathname, searchParams: query } = new URL(path, 'http://127.0.0.1');
    const [bucketName = '', ...key] = pathname.slice(1).split('/').map(decodeURIComponent);
    const refused = await refusal(message, body, CREDENTIALS);
    if (refused !== undefined) throw new S3Fault(403, refused);
    if (bucketName !== BUCKET) throw new S3Fault(404, 'NoSuchBucket');
    const fate = decide(line);
    if (fate === 'error') throw new S3Fault(500, 'InternalError');
    if (fate === 'missing') throw new S3Fault(501, 'NotImplemented');
    if (fate === 'cut') cutAfter(response, 100);
    answer(
      { ...{ bucket, bucketName, key: key.join('/'), method, query, headers, body }, pageSize },
      response,
    );
  };
  const server = createServer((message, response) => {
    serve(message, response).catch((error: unknown) => {
      if (error instanceof S3Fault && !response.headersSent) sendFault(response, error);
      else response.destroy(); // its client has gone
    });
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    environment: {
      S3_ENDPOINT: `http://127.0.0.1:${port}`,
      S3_BUCKET: BUCKET,
      S3_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
      S3_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
      S3_FORCE_PATH_STYLE: 'true',
    },
    ...{ bucket, requests },
    decide(fate) {
      decide = fate;
    },
    async close() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** The length that was promised never comes. */
function cutAfter(response: ServerResponse, byteCount: number): void {
  const end = response.end.bind(response);
  response.end = ((bytes?: Buffer) => {
    if (!bytes) return end();
    response.write(bytes.subarray(0, byteCount), () => response.destroy());
    return response;
  }) as typeof response.end;
}
