import type { Readable } from 'node:stream';
import { CONTENT_TYPES } from '@antiphon/shared/audio/audio-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { blobIdOf } from '@antiphon/shared/files/file-record';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type { Handler } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import { chooseRange, readRange } from '../replies/byte-range.ts';
import { ClientConnection, ClientLeft } from '../replies/client-connection.ts';
import { fileNotFound, findFile } from '../files/find-file.ts';

/** By the end of a file's name; no type that a browser would run or show. */
const FILE_TYPES: Record<string, string> = { ...CONTENT_TYPES, jsonl: 'application/jsonl' };

/** `GET /v1/files/{id}/content`: the bytes as they came, all of them or a `Range`. */
export const fileContent =
  ({ config, files, fileBlobs }: GatewayContext): Handler<GatewayEnv, '/:id'> =>
  async (c) => {
    const file = await findFile(files, c.get('tenantId'), c.req.param('id'));
    const { id, bytes: totalBytes, filename } = file;
    const etag = `"${id}"`;
    const range = chooseRange(readRange(c, etag), totalBytes);
    if (range === 'none') {
      c.header('content-range', `bytes */${totalBytes}`);
      throw new VoiceError('range_not_satisfiable', {
        message: `The file has ${totalBytes} bytes.`,
      });
    }
    const isWhole = range === 'whole';
    const { start, end } = isWhole ? { start: 0, end: totalBytes - 1 } : range;
    const status = isWhole ? 200 : 206;
    const headers = {
      'content-type': contentTypeOf(filename),
      'content-length': String(end - start + 1),
      'content-disposition': dispositionOf(filename),
      'accept-ranges': 'bytes',
      'cache-control': 'no-store',
      etag,
      'x-content-type-options': 'nosniff',
      'x-request-id': c.get('requestId'),
      ...(isWhole ? {} : { 'content-range': `bytes ${start}-${end}/${totalBytes}` }),
    };
    // Hono answers HEAD itself, by what it is given.
    if (c.req.method === 'HEAD') return c.body(null, status, headers);
    const content = await fileBlobs.get(blobIdOf(file), isWhole ? undefined : range);
    if (!content) throw fileNotFound(id);
    const writeStallMs = config.WRITE_STALL_TIMEOUT_MS;
    const connection = new ClientConnection(c.env.outgoing, { writeStallMs });
    connection.start(status, headers);
    try {
      await writeExactly(content, end - start + 1, connection);
      connection.end();
    } catch (error) {
      if (!(error instanceof ClientLeft)) connection.destroy(); // headers are out: a cut is the way to say it
    }
    return RESPONSE_ALREADY_SENT;
  };

/** What is told beforehand is held: bytes beyond it would be taken for the next answer. Throws otherwise. */
async function writeExactly(
  content: Readable,
  length: number,
  connection: ClientConnection,
): Promise<void> {
  let left = length;
  for await (const part of content as AsyncIterable<Buffer>) {
    left -= part.byteLength;
    if (left < 0) break;
    await connection.write(part);
  }
  if (left !== 0) throw new Error('the file has another length than its record says');
}

const contentTypeOf = (filename: string): string => {
  const ending = filename.split('.').at(-1)?.toLowerCase() ?? '';
  const known = Object.hasOwn(FILE_TYPES, ending) ? FILE_TYPES[ending] : undefined;
  return known ?? 'application/octet-stream';
};

/** A plain name for old clients, and the true one (RFC 6266; RFC 8187 for what is encoded). */
function dispositionOf(filename: string): string {
  const plain = filename.replaceAll(/[^\x20-\x7E]|["\\%]/g, '_');
  const encoded = encodeURIComponent(filename.toWellFormed()).replaceAll(
    /['()*]/g,
    (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${plain}"; filename*=UTF-8''${encoded}`;
}
