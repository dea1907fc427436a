import type { IncomingMessage } from 'node:http';

export interface RecordedFile {
  name: string;
  type: string;
  bytes: Buffer;
}

/** One request as it came in, and how it went. Times are `performance.now()`. */
export interface RecordedRequest {
  method: string;
  /** Without `/v1` and query. */
  path: string;
  query: URLSearchParams;
  headers: IncomingMessage['headers'];
  rawBody: Buffer;
  /** The parsed JSON body; undefined when it is not JSON. */
  body: unknown;
  /** Fields of a multipart body, each with all its values. */
  fields: Record<string, string[]>;
  files: Record<string, RecordedFile[]>;
  startedAtMs: number;
  /** When the client closed the connection before the answer was whole. */
  abortedAtMs: number | undefined;
  /** When the answer was over, one way or another. */
  closedAtMs: number | undefined;
  status: number | undefined;
  /** Tokens of chat or chunks of audio that were written. */
  tokensWritten: number;
  /** When each of them was handed to the socket. */
  tokenTimesMs: number[];
  /** Bytes of the answer's body handed to the socket. */
  bytesWritten: number;
}

/** Reads the request to its end. */
export async function recordRequest(message: IncomingMessage): Promise<RecordedRequest> {
  const startedAtMs = performance.now();
  const pieces: Buffer[] = [];
  for await (const piece of message) pieces.push(piece as Buffer);
  const rawBody = Buffer.concat(pieces);
  const url = new URL(message.url ?? '/', 'http://localhost');
  return {
    method: message.method ?? '',
    path: url.pathname.replace(/^\/v1/, ''),
    query: url.searchParams,
    headers: message.headers,
    rawBody,
    body: parseJson(rawBody),
    ...(await parseForm(rawBody, message.headers['content-type'] ?? '')),
    startedAtMs,
    abortedAtMs: undefined,
    closedAtMs: undefined,
    status: undefined,
    tokensWritten: 0,
    tokenTimesMs: [],
    bytesWritten: 0,
  };
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}

async function parseForm(
  bytes: Buffer,
  contentType: string,
): Promise<Pick<RecordedRequest, 'fields' | 'files'>> {
  const fields: RecordedRequest['fields'] = {};
  const files: RecordedRequest['files'] = {};
  if (!contentType.startsWith('multipart/form-data')) return { fields, files };
  const body = new Uint8Array(bytes);
  const form = await new Response(body, { headers: { 'content-type': contentType } }).formData();
  for (const [name, value] of form) {
    if (typeof value === 'string') {
      (fields[name] ??= []).push(value);
    } else {
      const { name: fileName, type } = value;
      const file = { name: fileName, type, bytes: Buffer.from(await value.arrayBuffer()) };
      (files[name] ??= []).push(file);
    }
  }
  return { fields, files };
}
