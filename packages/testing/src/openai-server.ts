import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { Batches, type BatchOptions } from './openai-server/batches.ts';
import { answerChat } from './openai-server/chat.ts';
import { type RecordedRequest, recordRequest } from './openai-server/recorded-request.ts';
import { Reply, ReplyOver } from './openai-server/reply.ts';
import { DEFAULT_SCRIPT, type FullScript, type Script } from './openai-server/script.ts';
import { answerSpeech } from './openai-server/speech.ts';
import { answerTranscription } from './openai-server/transcription.ts';

export interface OpenAIServerOptions extends Script {
  models?: string[];
  /** Names of voices; `none`: the server has no such route. */
  voices?: string[] | 'none';
  /** Left out: there are neither files nor batches. */
  batches?: BatchOptions;
  /** When given, requests without it get OpenAI's 401. */
  apiKey?: string;
}

/** A real HTTP server on loopback that speaks OpenAI's contract and fails on demand. */
export interface OpenAIServer {
  /** With `/v1`, as `OPENAI_BASE_URL` wants it. */
  readonly baseUrl: string;
  readonly port: number;
  /** Every request so far, in order of arrival. */
  readonly requests: RecordedRequest[];
  /** Requests to one path (`/chat/completions`). */
  requestsTo(path: string): RecordedRequest[];
  /** Answers from now on by `script`, laid over the options and what was scripted before. */
  script(script: Script): void;
  /** Forgets all scripts but the options. */
  resetScripts(): void;
  /** Files and batches that it has. */
  readonly batches: Batches;
  openSockets(): number;
  activeRequests(): number;
  /** Destroys every connection. */
  close(): Promise<void>;
}

interface LiveScript {
  script: Script;
  left: number;
}

export async function startOpenAIServer(options: OpenAIServerOptions = {}): Promise<OpenAIServer> {
  const requests: RecordedRequest[] = [];
  const sockets = new Set<Socket>();
  const scripts: LiveScript[] = [];
  const batches = new Batches(options.batches);
  const server = createServer((message, response) => {
    void answer(message, response);
  });
  server.keepAliveTimeout = 60_000;
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.once('close', () => sockets.delete(socket));
  });

  async function answer(message: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const request = await recordRequest(message);
      requests.push(request);
      const script = scriptFor(request, options, scripts);
      await route(new Reply(response, request, script), options, batches);
    } catch (thrown) {
      // A body that was cut off by the client, or an answer that ended as scripted.
      if (!(thrown instanceof ReplyOver) && !message.errored) throw thrown;
    }
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    baseUrl: `http://127.0.0.1:${port}/v1`,
    port,
    requests,
    batches,
    requestsTo: (path) => requests.filter((request) => request.path === path),
    script: (script) => {
      scripts.unshift({ script, left: script.times ?? Infinity });
    },
    resetScripts: () => {
      scripts.length = 0;
    },
    openSockets: () => sockets.size,
    activeRequests: () => requests.filter(({ closedAtMs }) => closedAtMs === undefined).length,
    close: async () => {
      batches.close();
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** The options with the newest script that fits laid over them. */
function scriptFor(
  request: RecordedRequest,
  options: OpenAIServerOptions,
  scripts: LiveScript[],
): FullScript {
  const fits = ({ script, left }: LiveScript): boolean =>
    left > 0 &&
    (script.path === undefined || script.path === request.path) &&
    (script.when === undefined || script.when(request));
  const live = scripts.find(fits);
  if (live !== undefined) live.left -= 1;
  return { ...DEFAULT_SCRIPT, ...options, ...live?.script };
}

async function route(reply: Reply, options: OpenAIServerOptions, batches: Batches): Promise<void> {
  const { method, path, headers } = reply.request;
  if (options.apiKey !== undefined && headers.authorization !== `Bearer ${options.apiKey}`) {
    await reply.json(401, unauthorized(headers.authorization));
    return;
  }
  if (await answeredByFault(reply)) return;
  switch (`${method} ${path}`) {
    case 'GET /models':
      return reply.json(200, modelList(options.models ?? ['scripted']));
    case 'GET /audio/voices':
      if (options.voices === 'none') break;
      return reply.json(200, voiceList(options.voices ?? ['alloy', 'echo']));
    case 'POST /chat/completions':
      return answerChat(reply);
    case 'POST /audio/speech':
      return answerSpeech(reply);
    case 'POST /audio/transcriptions':
    case 'POST /audio/translations':
      return answerTranscription(reply);
    default:
      if (await batches.answer(reply)) return;
  }
  await reply.json(404, {
    error: {
      message: `Invalid URL (${method} /v1${path})`,
      type: 'invalid_request_error',
      param: null,
      code: null,
    },
  });
}

/** Faults that take the place of the whole answer. */
async function answeredByFault(reply: Reply): Promise<boolean> {
  const { fault } = reply.script;
  switch (fault?.type) {
    case 'status': {
      const { status, body = '', headers = {} } = fault;
      if (typeof body === 'string') {
        await reply.text(status, body, { 'content-type': 'text/plain', ...headers });
      } else {
        await reply.json(status, body, headers);
      }
      return true;
    }
    case 'no-headers':
      return reply.silence();
    case 'html':
      await reply.text(200, '<html><body><h1>Bad gateway</h1></body></html>\n', {
        'content-type': 'text/html',
      });
      return true;
    case 'garbage': {
      const streams = (reply.request.body as { stream?: unknown } | undefined)?.stream === true;
      const type = streams ? 'text/event-stream' : 'application/json';
      await reply.text(200, streams ? 'data: {not json\n\n' : '{not json', {
        'content-type': type,
      });
      return true;
    }
    default:
      return false;
  }
}

function unauthorized(authorization: string | undefined): object {
  const key = authorization?.replace(/^Bearer /, '') ?? '';
  return {
    error: {
      message: `Incorrect API key provided: ${key}.`,
      type: 'invalid_request_error',
      param: null,
      code: 'invalid_api_key',
    },
  };
}

function modelList(models: string[]): object {
  const data = models.map((id) => ({ id, object: 'model', created: 0, owned_by: 'scripted' }));
  return { object: 'list', data };
}

function voiceList(voices: string[]): object {
  const named = voices.map((id) => ({ id, name: id }));
  const data = named.map((voice) => ({ ...voice, object: 'audio.voice' }));
  return { object: 'list', data, voices: named };
}
