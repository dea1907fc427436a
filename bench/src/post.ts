import { request as httpRequest } from 'node:http';
import type { Agent, IncomingMessage } from 'node:http';
import { BrokenStreamError } from './token-reader.ts';

/** A stream that shows no byte for this long is a fault of the side under test, not of the bench. */
const SILENCE_MS = 30_000;

export interface PostOptions {
  agent: Agent;
  port: number;
  path: string;
  headers?: Record<string, string>;
  /** JSON. */
  body: string;
}

/** Resolves with the head of a 200. Throws BrokenStreamError with the start of any other answer. */
export async function post(options: PostOptions): Promise<IncomingMessage> {
  const { agent, port, path, headers, body } = options;
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const request = httpRequest({
    agent,
    host: '127.0.0.1',
    port,
    method: 'POST',
    path,
    timeout: SILENCE_MS,
    headers: {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      ...headers,
    },
  });
  request.once('response', resolve);
  request.once('error', reject);
  request.once('timeout', () => {
    request.destroy(new BrokenStreamError(`Nothing came for ${SILENCE_MS} ms`));
  });
  request.end(body);
  const response = await promise;
  return response.statusCode === 200 ? response : refuse(response);
}

async function refuse(response: IncomingMessage): Promise<never> {
  let body = '';
  for await (const part of response) body += String(part);
  throw new BrokenStreamError(`HTTP ${response.statusCode}: ${body.slice(0, 500)}`);
}
