import { once } from 'node:events';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { JobContext } from '@antiphon/shared/queue/job-worker';
import { expectError } from '@antiphon/testing/error-envelope';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type ScriptedWorker, startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { PATIENCE, until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { answerChat, chatFrame } from '../testing/scripted-handlers.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

let redis: RedisServer;
let llm: ScriptedWorker<'chat'>;
let tts: ScriptedWorker<'speech'>;
let gateway: TestGateway;
/** What the llm-worker does with the next job. */
let script: (context: JobContext<'chat'>) => Promise<void>;
let speak: (context: JobContext<'speech'>) => Promise<void>;
/** Why the jobs' signals aborted. */
let stopped: string[];

const HOLD_MS = 200;
beforeAll(async () => {
  redis = await startRedis();
  llm = await startScriptedWorker({
    redisUrl: redis.url,
    kind: 'chat',
    announced: { models: ['scripted'] },
    handler: async (context) => {
      context.signal.addEventListener('abort', () => stopped.push(String(context.signal.reason)));
      await script(context);
    },
  });
  tts = await startScriptedWorker({
    redisUrl: redis.url,
    kind: 'speech',
    announced: { models: ['tts-1'], voices: 'any' },
    handler: (context) => speak(context),
  });
});
beforeEach(async () => {
  stopped = [];
  gateway = await openTestGateway(redis.url, {
    STATUS_HOLD_MS: String(HOLD_MS),
    KEEPALIVE_MS: '100',
  });
});
afterEach(async () => {
  await until(() => gateway.context.watch.streams.size === 0, { what: 'no stream under watch' });
  await until(() => gateway.context.subscriber.readerCount === 0, { what: 'no reader' });
  await gateway.close();
});
afterAll(async () => {
  await llm.close();
  await tts.close();
  await redis.close();
});

const chat = (stream: boolean, init: RequestInit = {}) =>
  fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ stream, messages: [{ role: 'user', content: 'hi' }] }),
    ...init,
  });
const text = (content: string) => ({ type: 'text-delta' as const, bytes: chatFrame(content) });
/** Until the stream has its end from elsewhere. */
const forever = async ({ signal }: JobContext<'chat'>) => {
  if (!signal.aborted) await once(signal, 'abort');
  signal.throwIfAborted();
};
const errorFrame = (body: string) => {
  const frames = body.split('\n\n').filter((frame) => frame.includes('data: '));
  return JSON.parse(frames.at(-1)?.replace(/^(: keepalive\n)*data: /, '') ?? '') as unknown;
};

describe('an error before the answer began', () => {
  it.each([true, false])('has its status and its headers; stream: %s', async (stream) => {
    script = () =>
      Promise.reject(
        new VoiceError('rate_limit_exceeded', { message: 'Slow down.', retryAfterSeconds: 600 }),
      );
    const response = await chat(stream);
    expect(response.headers.get('x-should-retry')).toBe('true');
    // SDKs obey at most a minute, or give up.
    expect(response.headers.get('retry-after')).toBe('60');
    expect(response.headers.get('x-stream-id')).toBe(llm.jobs.at(-1)?.streamId);
    await expectError(response, {
      status: 429,
      type: 'requests',
      code: 'rate_limit_exceeded',
      message: 'Slow down.',
    });
  });

  it.each([
    ['upstream_rejected', 400, 'invalid_request_error', 'false'],
    ['upstream_auth', 502, 'server_error', 'false'],
    ['upstream_timeout', 504, 'server_error', 'true'],
    ['engine_failed', 500, 'server_error', 'true'],
    ['storage_full', 503, 'service_unavailable_error', 'true'],
  ] as const)('%s is %i', async (code, status, type, retry) => {
    script = () => Promise.reject(new VoiceError(code, { param: 'seed' }));
    const response = await chat(true);
    expect(response.headers.get('x-should-retry')).toBe(retry);
    expect(response.headers.get('retry-after')).toBe(status === 503 ? '1' : null);
    await expectError(response, { status, type, code, param: 'seed' });
  });

  it('what the engine throws by accident tells nothing of the inside', async () => {
    script = () => Promise.reject(new TypeError('secret of the inside'));
    await expectError(await chat(false), {
      status: 500,
      type: 'server_error',
      code: 'internal_error',
      message: 'The server had an error while processing your request.',
    });
  });
});

describe('the status line', () => {
  it('is held until STATUS_HOLD_MS, then comments fill the silence', async () => {
    const go = Promise.withResolvers<void>();
    script = async (context) => {
      await go.promise;
      await answerChat('late')(context);
    };
    const startedMs = performance.now();
    const response = await chat(true);
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(HOLD_MS - 5);
    expect(response.status).toBe(200);
    let body = '';
    for await (const part of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      body += part;
      if (body.split('\n').length > 2) go.resolve();
    }
    expect(body).toMatch(/^(: keepalive\n){2,}data: \{.*"late".*\}\n\n.*data: \[DONE\]\n\n$/s);
  });

  it('goes out with the first event when that is earlier', async () => {
    const go = Promise.withResolvers<void>();
    script = async (context) => {
      await context.producer.append(text('at once'), { signal: context.signal });
      await go.promise;
      await answerChat(' and later')(context);
    };
    const response = await chat(true);
    expect(response.status).toBe(200);
    go.resolve();
    expect(await response.text()).toMatch(/at once.*and later.*data: \[DONE\]\n\n$/s);
  });

  it('of a whole answer waits for all of it', async () => {
    script = async () => {
      const startedMs = performance.now();
      await until(() => performance.now() - startedMs > HOLD_MS * 2);
      throw new VoiceError('engine_failed');
    };
    await expectError(await chat(false), {
      status: 500,
      type: 'server_error',
      code: 'engine_failed',
    });
  });
});

describe('an error in the middle', () => {
  it('of server-sent events is one frame, without [DONE]', async () => {
    script = async ({ producer, signal }) => {
      await producer.append(text('one'), { signal });
      throw new VoiceError('upstream_protocol', { message: 'Broken off.' });
    };
    const response = await chat(true);
    expect(response.status).toBe(200);
    const body = await response.text();
    expect(body).toContain('"one"');
    expect(body).not.toContain('[DONE]');
    expect(body.match(/"error"/g)).toHaveLength(1);
    expect(errorFrame(body)).toStrictEqual({
      error: {
        message: 'Broken off.',
        type: 'server_error',
        param: null,
        code: 'upstream_protocol',
      },
    });
  });

  it('before any event, but after the status, is a frame as well', async () => {
    const go = Promise.withResolvers<void>();
    script = async () => {
      await go.promise;
      throw new VoiceError('first_event_timeout');
    };
    const response = await chat(true);
    expect(response.status).toBe(200);
    go.resolve();
    expect(errorFrame(await response.text())).toMatchObject({
      error: { code: 'first_event_timeout' },
    });
  });

  it('of audio cuts the connection: never a clean end', async () => {
    speak = async ({ job, producer, signal }) => {
      const { phraseIndex } = job;
      await producer.append(
        { type: 'audio-delta', phraseIndex, chunkIndex: 0, pcm: new Uint8Array(24_000) },
        { samples: 12_000, signal },
      );
      throw new VoiceError('engine_failed');
    };
    const response = await fetch(`${gateway.url}/v1/audio/speech`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ input: 'Hello there.', response_format: 'pcm' }),
    });
    expect(response.status).toBe(200);
    await expect(response.arrayBuffer()).rejects.toThrow('terminated');
  });

  it('before any audio has its status', async () => {
    speak = () => Promise.reject(new VoiceError('text_not_speakable', { param: 'input' }));
    const response = await fetch(`${gateway.url}/v1/audio/speech`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ input: 'Привет', response_format: 'mp3' }),
    });
    await expectError(response, { status: 400, code: 'text_not_speakable', param: 'input' });
  });
});

describe('deadlines', () => {
  const withDeadlines = async (environment: Record<string, string>) => {
    await gateway.close();
    gateway = await openTestGateway(redis.url, environment);
  };

  it('FIRST_EVENT_TIMEOUT_MS: 504, and the engine is stopped', async () => {
    await withDeadlines({ FIRST_EVENT_TIMEOUT_MS: '200' });
    script = forever;
    await expectError(await chat(true), {
      status: 504,
      type: 'server_error',
      code: 'first_event_timeout',
    });
    await until(() => stopped.length === 1);
  });

  it('IDLE_TIMEOUT_MS: what came stays, then one error', async () => {
    await withDeadlines({ IDLE_TIMEOUT_MS: '200' });
    script = async (context) => {
      await context.producer.append(text('one'), { signal: context.signal });
      await forever(context);
    };
    const body = await (await chat(true)).text();
    expect(body).toContain('"one"');
    expect(errorFrame(body)).toMatchObject({ error: { code: 'stream_idle_timeout' } });
    await until(() => stopped.length === 1);
  });

  it('TOTAL_TIMEOUT_MS: an answer that never ends is ended, with an error', async () => {
    await withDeadlines({ TOTAL_TIMEOUT_MS: '500' });
    script = async ({ producer, signal }) => {
      for (;;) await producer.append(text('more'), { signal });
    };
    const startedMs = performance.now();
    const body = await (await chat(true)).text();
    expect(performance.now() - startedMs).toBeLessThan(3000 * PATIENCE);
    expect(body).not.toContain('[DONE]');
    expect(errorFrame(body)).toMatchObject({ error: { code: 'stream_timeout' } });
  });
});

describe('a client that leaves', () => {
  it.each([true, false])('stops the engine within a second; stream: %s', async (stream) => {
    const running = Promise.withResolvers<void>();
    script = async (context) => {
      running.resolve();
      await forever(context);
    };
    const leave = new AbortController();
    const asked = chat(stream, { signal: leave.signal });
    asked.catch(() => undefined); // awaited below
    await running.promise;
    const leftMs = performance.now();
    leave.abort();
    await expect(asked).rejects.toThrow('aborted');
    await until(() => stopped.length === 1);
    expect(performance.now() - leftMs).toBeLessThan(1000 * PATIENCE);
  });
});

describe('draining', () => {
  it('lets short streams end, ends long ones with an error, refuses new ones', async () => {
    const go = Promise.withResolvers<void>();
    script = async (context) => {
      await context.producer.append(text('begun'), { signal: context.signal });
      if (context.job.requestJson?.includes('long')) await forever(context);
      await go.promise;
      await answerChat('the rest')(context);
    };
    const ask = (content: string) =>
      chat(true, {
        body: JSON.stringify({ stream: true, messages: [{ role: 'user', content }] }),
      });
    const [short, long] = await Promise.all([ask('short'), ask('long')]);
    gateway.stopAccepting();
    const startedMs = performance.now();
    const drained = gateway.server.drain(gateway.context.watch, 500);
    go.resolve();
    expect(await short.text()).toMatch(/the rest.*data: \[DONE\]\n\n$/s);
    const refused = await ask('new');
    expect([refused.status, refused.headers.get('connection')]).toStrictEqual([503, 'close']);
    const body = await long.text();
    expect(body).not.toContain('[DONE]');
    expect(errorFrame(body)).toStrictEqual({
      error: {
        message: 'The server is shutting down. Please try again.',
        type: 'service_unavailable_error',
        param: null,
        code: 'server_shutting_down',
      },
    });
    await drained;
    expect(performance.now() - startedMs).toBeLessThan(2500 * PATIENCE);
    expect(await gateway.server.connectionCount()).toBe(0);
    await expect(fetch(`${gateway.url}/health/live`)).rejects.toThrow('fetch failed');
  });

  it('a whole answer that is not finished is 503', async () => {
    const running = Promise.withResolvers<void>();
    script = async (context) => {
      running.resolve();
      await forever(context);
    };
    const asked = chat(false);
    await running.promise;
    gateway.stopAccepting();
    const drained = gateway.server.drain(gateway.context.watch, 100);
    const response = await asked;
    expect(response.headers.get('retry-after')).toBe('1');
    await expectError(response, {
      status: 503,
      type: 'service_unavailable_error',
      code: 'server_shutting_down',
    });
    await drained;
  });
});
