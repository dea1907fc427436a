import { setTimeout as delay } from 'node:timers/promises';
import { OpenAI } from 'openai';
import { Agent } from 'undici';
import { z } from 'zod';
import { VoiceError } from '../errors/voice-error.ts';
import { readWholeBody } from './upstream-body.ts';
import { transportFailure, type UpstreamFailure, UpstreamStatusError } from './upstream-error.ts';
import { createUpstreamFetch } from './upstream-fetch.ts';

export interface OpenAIUpstreamOptions {
  /** With the version: `https://api.openai.com/v1`. */
  baseUrl: string;
  /** Left out: no Authorization header is sent. */
  apiKey?: string | undefined;
  connectTimeoutMs: number;
  /** Longest silence: before the headers, and between two reads of a body. */
  idleTimeoutMs: number;
  /** First pause before a second attempt; the next is twice as long. */
  backoffMs?: number;
}

export interface UpstreamRequest {
  method?: 'GET' | 'POST';
  /** Sent as it is; a string or bytes need a `content-type` among the headers. */
  body?: string | Uint8Array<ArrayBuffer> | FormData;
  headers?: Record<string, string>;
  signal: AbortSignal;
  /** Longest wait for the headers, `idleTimeoutMs` unless told; 0 for none (whole answers take long). */
  headersTimeoutMs?: number;
}

/** An OpenAI-compatible server. */
export interface OpenAIUpstream {
  readonly idleTimeoutMs: number;
  /**
   * The raw answer, status 2xx, its body unread (to be read by `BodyReader`). Tries three times at most, and only while there
   * are no headers: on 429, 5xx and connection errors. Throws a VoiceError (`upstream_*`,
   * `rate_limit_exceeded`) or, at once, `signal.reason`.
   */
  request(path: string, request: UpstreamRequest): Promise<Response>;
  /** GET and parse; a body that does not fit the schema is `upstream_protocol`. */
  getJson<T>(path: string, schema: z.ZodType<T>, signal: AbortSignal): Promise<T>;
  /** The ids of `GET /models`. */
  listModels(signal: AbortSignal): Promise<string[]>;
  /** Destroys every connection. */
  close(): Promise<void>;
}

const MAX_ATTEMPTS = 3;
/** All pauses of one call together. A longer `Retry-After` is handed to the client instead. */
const MAX_PAUSES_MS = 8000;
const DEFAULT_BACKOFF_MS = 500;
const MAX_ERROR_BYTES = 64 * 1024;
const MAX_ERROR_READ_MS = 5000;
const MAX_LIST_BYTES = 8 * 1024 * 1024;
/** The SDK's own timeout is switched off: ours are told apart by error code. */
const NO_TIMEOUT_MS = 2 ** 31 - 1;

const modelList = z.object({ data: z.array(z.object({ id: z.string().min(1) })) });

export function createOpenAIUpstream(options: OpenAIUpstreamOptions): OpenAIUpstream {
  const { baseUrl, apiKey, connectTimeoutMs, idleTimeoutMs } = options;
  const { backoffMs = DEFAULT_BACKOFF_MS } = options;
  const agent = new Agent({
    connect: { timeout: connectTimeoutMs },
    // Timed here, per call: undici would close a whole answer that is long in the making.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const client = createClient(baseUrl, apiKey, agent);

  async function request(path: string, given: UpstreamRequest): Promise<Response> {
    const { signal } = given;
    signal.throwIfAborted();
    const ready = { headersTimeoutMs: idleTimeoutMs, ...given, ...(await encodedBody(given)) };
    let pausesLeftMs = MAX_PAUSES_MS;
    for (let attempt = 1; ; attempt += 1) {
      const outcome = await attemptRequest(client, path, ready);
      if (outcome instanceof VoiceError) throw outcome;
      if (!('error' in outcome)) return outcome;
      const { error, retryable, retryAfterMs = jittered(backoffMs * 2 ** (attempt - 1)) } = outcome;
      if (!retryable || attempt === MAX_ATTEMPTS || retryAfterMs > pausesLeftMs) throw error;
      pausesLeftMs -= retryAfterMs;
      await pause(retryAfterMs, signal);
    }
  }

  async function getJson<T>(path: string, schema: z.ZodType<T>, signal: AbortSignal): Promise<T> {
    const response = await request(path, { method: 'GET', signal });
    const bodyOptions = { signal, idleTimeoutMs, maxBytes: MAX_LIST_BYTES };
    const body = await readWholeBody(response, bodyOptions);
    try {
      return schema.parse(JSON.parse(body.toString()));
    } catch (thrown) {
      const message = `The upstream server of this engine answered GET ${path} with something else than a list.`;
      throw new VoiceError('upstream_protocol', { message, cause: thrown });
    }
  }

  return {
    idleTimeoutMs,
    request,
    getJson,
    listModels: async (signal) =>
      (await getJson('/models', modelList, signal)).data.map(({ id }) => id),
    close: () => agent.destroy(),
  };
}

function createClient(baseURL: string, apiKey: string | undefined, dispatcher: Agent): OpenAI {
  const upstreamFetch = createUpstreamFetch(dispatcher);
  return new OpenAI({
    baseURL,
    apiKey: apiKey ?? 'none',
    // Given as null, since the SDK would read the environment for what is left out.
    adminAPIKey: null,
    organization: null,
    project: null,
    webhookSecret: null,
    logLevel: 'off',
    maxRetries: 0,
    timeout: NO_TIMEOUT_MS,
    defaultHeaders: {
      'accept-encoding': 'identity', // a compressed stream is held back until a block is full
      'x-stainless-timeout': null,
      ...(apiKey === undefined ? { authorization: null } : {}),
    },
    fetch: async (url, init) => {
      const response = await upstreamFetch(url, init);
      if (response.ok) return response;
      throw await refusalOf(response);
    },
  });
}

/** An error's body is read here, so that it can be neither endless nor late. */
async function refusalOf(response: Response): Promise<UpstreamStatusError> {
  const signal = AbortSignal.timeout(MAX_ERROR_READ_MS);
  const bodyOptions = { signal, idleTimeoutMs: 0, maxBytes: MAX_ERROR_BYTES };
  const text = await readWholeBody(response, bodyOptions).then(String, () => '');
  return new UpstreamStatusError(response.status, response.headers, text);
}

type ReadyRequest = UpstreamRequest & Required<Pick<UpstreamRequest, 'headersTimeoutMs'>>;

async function attemptRequest(
  client: OpenAI,
  path: string,
  request: ReadyRequest,
): Promise<Response | UpstreamFailure | VoiceError> {
  const { method = 'POST', body, headers = {}, signal, headersTimeoutMs } = request;
  const late = new AbortController();
  const timer = headersTimeoutMs > 0 ? setTimeout(() => late.abort(), headersTimeoutMs) : undefined;
  const call = { headers, signal: AbortSignal.any([signal, late.signal]) };
  try {
    const answer = method === 'GET' ? client.get(path, call) : client.post(path, { ...call, body });
    return await answer.asResponse();
  } catch (thrown) {
    signal.throwIfAborted();
    if (late.signal.aborted) return new VoiceError('upstream_timeout', { cause: thrown });
    return transportFailure(thrown, client.apiKey ?? undefined);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * A form becomes bytes once: every attempt sends the same ones, with a Content-Length, and
 * undici's fetch knows only its own FormData class, not Node's.
 */
async function encodedBody({
  body,
  headers = {},
}: UpstreamRequest): Promise<Pick<UpstreamRequest, 'body' | 'headers'>> {
  if (!(body instanceof FormData)) return {};
  const encoder = new Response(body);
  const contentType = encoder.headers.get('content-type') ?? 'multipart/form-data';
  const bytes = new Uint8Array(await encoder.arrayBuffer());
  return { body: bytes, headers: { ...headers, 'content-type': contentType } };
}

function jittered(ms: number): number {
  return ms * (0.75 + Math.random() / 4);
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, { signal });
  } catch {
    throw signal.reason;
  }
}
