import { eventsIn } from '@antiphon/testing/events-in';
import { expectUnbroken } from '@antiphon/testing/invariant';
import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { freePort } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import { type AppProcess, type Stack, startStack } from './stack.ts';
import { brokenLogs, openStreams } from './stream-logs.ts';

/** Long enough for a client to come back on a busy machine, short enough to wait for. */
const GRACE_MS = 3000;
/** What the scripted model says unless told otherwise. */
export const TOKENS = 12;
export const TEXT =
  'Good morning to you. The kettle is on, and the bread is fresh. Shall we begin?';

/** Two gateways on one Redis, a scripted model and an embedded voice. */
export interface ResumeStack {
  stack: Stack;
  upstream: OpenAIServer;
  redis: Redis;
  /** Of the second gateway, with `/v1`. */
  otherUrl: string;
  /** After every test. */
  untilAtRest(): Promise<void>;
  close(): Promise<void>;
}

export async function startResumeStack(): Promise<ResumeStack> {
  const upstream = await startOpenAIServer({ tokens: TOKENS, tokenDelayMs: 5 });
  const stack = await startStack({
    apps: ['gateway', 'llm-worker', 'tts-worker'],
    environment: {
      ...{ AI_SERVICE: 'openai', TTS_SERVICE: 'flite', OPENAI_BASE_URL: upstream.baseUrl },
      ...{ LLM_OPENAI_MODELS: 'scripted', RESUME_GRACE_MS: String(GRACE_MS) },
    },
    models: ['scripted', 'flite'],
  });
  const redis = new Redis(stack.redis.url);
  const { url: otherUrl } = await startGateway(stack);
  return {
    ...{ stack, upstream, redis, otherUrl },
    async untilAtRest() {
      const isQuiet = () => upstream.activeRequests() === 0;
      await until(isQuiet, { what: 'no engine call', timeoutMs: 20_000 });
      const isKept = () => redis.exists('antiphon:kept');
      await until(async () => (await isKept()) === 0, { what: 'nothing kept' });
      const isOver = async () => (await openStreams(redis)).length === 0;
      await until(isOver, { what: 'no open stream' });
      expectUnbroken(await brokenLogs(redis, { whole: true }));
      upstream.resetScripts();
    },
    async close() {
      redis.disconnect();
      await stack.close();
      await upstream.close();
    },
  };
}

/** One more gateway on the stack's Redis, on a port of its own. */
export async function startGateway(stack: Stack): Promise<{ url: string; process: AppProcess }> {
  const port = await freePort();
  const started = stack.start('gateway', { PORT: String(port) });
  const url = `http://127.0.0.1:${port}/v1`;
  await until(async () => {
    const response = await fetch(`${url}/models`).catch(() => undefined);
    return ((await response?.text()) ?? '').includes('"scripted"');
  });
  return { url, process: started };
}

interface Asked {
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

export const postResumable = (url: string, body: object, { headers, signal }: Asked = {}) =>
  fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-stream-resume': '1', ...headers },
    body: JSON.stringify(body),
    signal: signal ?? null,
  });
/** `url`: with `/v1`, of any gateway. */
export const chatResumable = (url: string, body: object = {}, asked?: Asked) =>
  postResumable(
    `${url}/chat/completions`,
    { model: 'scripted', stream: true, messages: [{ role: 'user', content: 'go' }], ...body },
    asked,
  );
/** To be laid over a question: its answer is spoken. */
export const SPOKEN = { modalities: ['text', 'audio'], audio: { voice: 'alloy', format: 'mp3' } };

export const streamIdOf = (response: Response) => response.headers.get('x-stream-id') ?? '';
export const eventsOf = (url: string, streamId: string, after = 0) =>
  fetch(`${url}/streams/${streamId}/events`, { headers: { 'last-event-id': String(after) } });
export const statusOf = (redis: Redis, streamId: string) =>
  redis.hget(`antiphon:{${streamId}}:state`, 'status');

/** Whole events, without ids and comments; a broken connection ends them as well. */
export async function readEvents(response: Response, most = Infinity): Promise<string[]> {
  const events: string[] = [];
  if (most === 0) {
    await response.body?.cancel();
    return [];
  }
  try {
    for await (const event of eventsIn(response.body)) {
      events.push(event.replace(/^((: .*|id: \d+)\n)+/, ''));
      if (events.length >= most) break; // closes the connection
    }
  } catch {
    // cut: what came is whole events, and the rest of one
  }
  return events;
}
