import { once } from 'node:events';
import { connect } from 'node:net';
import { openRedis, whenReady } from '@antiphon/shared/queue/redis';
import type { JobContext } from '@antiphon/shared/queue/job-worker';
import type { ScriptedRedis } from '@antiphon/shared/streams/stream-scripts';
import { expectError } from '@antiphon/testing/error-envelope';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type ScriptedWorker, startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { PATIENCE, until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { StreamObject } from '../openai/stream-object.ts';
import { answerChat, chatFrame } from '../testing/scripted-handlers.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

const KEY = 'key-of-tenant-a-0123456789';
const OTHER_KEY = 'key-of-tenant-b-0123456789';
const NO_STREAM = `s${'0'.repeat(32)}`;
/** A stop that waited for a deadline, a stall or the silence check would take longer. */
const AT_ONCE_MS = 900;

let server: RedisServer;
let redis: ScriptedRedis;
let gateway: TestGateway;
let llm: ScriptedWorker<'chat'>;
let tts: ScriptedWorker<'speech'>;
let stt: ScriptedWorker<'transcription'>;
/** Announced, but take nothing: what is asked of them stays in the queue. */
let asleep: ScriptedWorker<'chat'>;
let mute: ScriptedWorker<'speech'>;
let script: (context: JobContext<'chat'>) => Promise<void>;
let speak: (context: JobContext<'speech'>) => Promise<void>;
/** Why jobs' signals aborted, by stream. */
let aborted: Map<string, string>;

/** Until the stream has its end from elsewhere. */
const forever = async ({ signal }: JobContext<'chat' | 'speech' | 'transcription'>) => {
  if (!signal.aborted) await once(signal, 'abort');
  signal.throwIfAborted();
};
const noting =
  <Context extends JobContext<'chat' | 'speech' | 'transcription'>>(
    run: (context: Context) => Promise<void>,
  ) =>
  async (context: Context) => {
    const { signal, job } = context;
    signal.addEventListener('abort', () => aborted.set(job.streamId, String(signal.reason)));
    await run(context);
  };
const text = (content: string) => ({ type: 'text-delta' as const, bytes: chatFrame(content) });

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: () => undefined });
  await whenReady(redis);
  const redisUrl = server.url;
  llm = await startScriptedWorker({
    ...{ redisUrl, kind: 'chat', announced: { models: ['scripted'] } },
    handler: noting((context) => script(context)),
  });
  asleep = await startScriptedWorker({
    ...{ redisUrl, kind: 'chat', announced: { models: ['asleep'] }, engine: 'asleep' },
    ...{ takesJobs: false, handler: noting((context) => script(context)) },
  });
  tts = await startScriptedWorker({
    ...{ redisUrl, kind: 'speech', announced: { models: ['tts-1'], voices: 'any' } },
    handler: noting((context) => speak(context)),
  });
  mute = await startScriptedWorker({
    ...{ redisUrl, kind: 'speech', announced: { models: ['mute'], voices: 'any' } },
    ...{ engine: 'mute', takesJobs: false, handler: noting((context) => speak(context)) },
  });
  stt = await startScriptedWorker({
    ...{ redisUrl, kind: 'transcription', announced: { models: ['whisper-1'] } },
    handler: noting(forever),
  });
  gateway = await openTestGateway(redisUrl, {
    API_KEYS: `${KEY},${OTHER_KEY}`,
    STATUS_HOLD_MS: '60000',
  });
});
beforeEach(() => {
  aborted = new Map();
  script = forever;
  speak = forever;
});
afterEach(async () => {
  await until(() => gateway.context.watch.streams.size === 0, { what: 'no stream under watch' });
  await until(async () => (await redis.keys('antiphon:tenant:*')).length === 0, {
    what: 'no tenant has anything open',
  });
});
afterAll(async () => {
  await gateway.close();
  for (const worker of [llm, asleep, tts, mute, stt]) await worker.close();
  redis.disconnect();
  await server.close();
});

const ask = (method: string, path: string, key = KEY) =>
  fetch(`${gateway.url}${path}`, { method, headers: { authorization: `Bearer ${key}` } });
const cancel = (streamId: string, key = KEY) => ask('POST', `/v1/streams/${streamId}/cancel`, key);
const look = async (streamId: string) =>
  (await (await ask('GET', `/v1/streams/${streamId}`)).json()) as StreamObject;
const openIds = async (key = KEY) => {
  const { data } = (await (await ask('GET', '/v1/streams', key)).json()) as {
    data: StreamObject[];
  };
  return data.map(({ id }) => id);
};
const post = (path: string, body: object, key = KEY) =>
  fetch(`${gateway.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    body: JSON.stringify(body),
  });
const question = { model: 'scripted', messages: [{ role: 'user', content: 'hi' }] };
const sound = { model: 'tts-1', response_format: 'pcm' };
const chat = (body: object = {}, key = KEY) =>
  post('/v1/chat/completions', { ...question, ...body }, key);

/** Sends a request and resolves with its answer, to come, and its stream, once that is open. */
async function begin(asking: () => Promise<Response>, key = KEY) {
  const before = new Set(await openIds(key));
  const answer = asking();
  answer.catch(() => undefined); // awaited by the test
  const streamId = await until(async () => (await openIds(key)).find((id) => !before.has(id)));
  return { answer, streamId };
}
const beginChat = (body: object = {}, key = KEY) => begin(() => chat(body, key), key);
const untilStage = (streamId: string, stage: string) =>
  until(async () => (await look(streamId)).stage === stage, { what: `${streamId} is ${stage}` });
const stoppedError = { status: 499, type: 'request_cancelled', code: 'stream_cancelled' };

describe('a look at a stream', () => {
  it('tells its stage from the queue to its end', async () => {
    const gate = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    script = async (context) => {
      await gate[0]?.promise;
      await context.producer.append(text('one'), { signal: context.signal });
      await gate[1]?.promise;
      await answerChat('two')(context);
    };
    const { answer, streamId } = await beginChat({ stream: true });
    await untilStage(streamId, 'thinking');
    gate[0]?.resolve();
    await untilStage(streamId, 'writing');
    gate[1]?.resolve();
    expect(await (await answer).text()).toContain('[DONE]');
    const ended = await ask('GET', `/v1/streams/${streamId}`);
    expect(ended.headers.get('x-stream-id')).toBe(streamId);
    expect(await ended.json()).toMatchObject({
      ...{ id: streamId, object: 'stream', kind: 'chat', model: 'scripted' },
      ...{ status: 'done', stage: 'ended' },
    });
    expect(await openIds()).not.toContain(streamId);
  });

  it('passes on what the gateway noted of its times', async () => {
    const { answer, streamId } = await beginChat();
    await gateway.context.log.annotate(streamId, { timings: '{"queueMs":7,"other":1}' });
    expect((await look(streamId)).timings).toStrictEqual({ queueMs: 7 });
    await cancel(streamId);
    await expectError(await answer, stoppedError);
  });

  it('counts phrases', async () => {
    speak = async (context) => {
      const { phraseIndex } = context.job;
      if (phraseIndex > 0) return forever(context);
      const pcm = new Uint8Array(24_000);
      const { producer, signal } = context;
      await producer.append(
        { type: 'audio-delta', phraseIndex, chunkIndex: 0, pcm },
        { samples: 12_000, signal },
      );
      await producer.append({ type: 'audio-end', phraseIndex }, { ends: 'phrase', signal });
    };
    const input = 'This is the first sentence of all. And this is the second one, which hangs.';
    const { answer, streamId } = await begin(() => post('/v1/audio/speech', { ...sound, input }));
    await until(async () => (await look(streamId)).phrases?.spoken === 1);
    const { phrases, stage, kind } = await look(streamId);
    expect({ stage, kind }).toEqual({ stage: 'speaking', kind: 'speech' });
    expect(phrases?.total).toBeGreaterThan(1);
    await cancel(streamId);
    await expect((await answer).arrayBuffer()).rejects.toThrow('terminated');
  });

  it('works with HEAD; other methods are told which ones do', async () => {
    const { answer, streamId } = await beginChat();
    const head = await ask('HEAD', `/v1/streams/${streamId}`);
    expect([head.status, await head.text()]).toEqual([200, '']);
    for (const [method, path, allowed] of [
      ['POST', `/v1/streams/${streamId}`, 'GET, HEAD'],
      ['GET', `/v1/streams/${streamId}/cancel`, 'POST'],
      ['DELETE', '/v1/streams', 'GET, HEAD'],
      ['GET', '/api/stop_all', 'POST'],
      ['GET', `/api/stop/${streamId}`, 'POST'],
    ] as const) {
      const refused = await ask(method, path);
      expect(refused.headers.get('allow')).toBe(allowed);
      await expectError(refused, { status: 405, code: 'method_not_supported' });
    }
    await cancel(streamId);
    await answer;
  });
});

describe('a stop', () => {
  it('ends what its engine does, and is the same the second time', async () => {
    const { answer, streamId } = await beginChat({ stream: true });
    await untilStage(streamId, 'thinking');
    const first = await cancel(streamId);
    expect(first.status).toBe(200);
    expect(first.headers.get('x-stream-id')).toBe(streamId);
    const body = await first.text();
    expect(JSON.parse(body)).toMatchObject({ id: streamId, status: 'cancelled', stage: 'ended' });
    const stopped = await answer;
    expect(stopped.headers.get('x-stream-id')).toBe(streamId);
    expect(stopped.headers.get('x-should-retry')).toBe('false');
    await expectError(stopped, stoppedError);
    await until(() => aborted.get(streamId)?.includes('stream-end'));
    expect(await (await cancel(streamId)).text()).toBe(body);
    expect(await (await ask('GET', `/v1/streams/${streamId}`)).text()).toBe(body);
  });

  it('of a finished stream says how it ended', async () => {
    script = answerChat('done');
    const { streamId } = await finished();
    const answer = (await (await cancel(streamId)).json()) as StreamObject;
    expect(answer).toMatchObject({ status: 'done', stage: 'ended' });
    script = () => Promise.reject(new Error('broken'));
    const failed = await finished();
    expect(await (await cancel(failed.streamId)).json()).toMatchObject({ status: 'error' });
  });

  it('of nothing and of somebody else’s is the same 404, and changes nothing', async () => {
    const { answer, streamId } = await beginChat();
    const bodies = new Set<string>();
    for (const [method, path] of [
      ['POST', `/v1/streams/${streamId}/cancel`],
      ['POST', `/v1/streams/${NO_STREAM}/cancel`],
      ['POST', `/api/stop/${streamId}`],
      ['POST', `/api/stop/${NO_STREAM}`],
      ['GET', `/v1/streams/${streamId}`],
      ['GET', `/v1/streams/${NO_STREAM}`],
      ['POST', '/v1/streams/%7D%00%2F/cancel'],
    ] as const) {
      const response = await ask(method, path, OTHER_KEY);
      expect(response.headers.get('x-stream-id')).toBeNull();
      bodies.add(await response.clone().text());
      await expectError(response, { status: 404, code: 'stream_not_found' });
    }
    expect(bodies.size).toBe(1);
    expect((await look(streamId)).status).toBe('open');
    await cancel(streamId);
    await answer;
  });

  it('without a key is refused', async () => {
    for (const path of [
      ...['/v1/streams/cancel', `/v1/streams/${NO_STREAM}/cancel`],
      ...['/api/stop_all', `/api/stop/${NO_STREAM}`],
    ]) {
      const response = await fetch(`${gateway.url}${path}`, { method: 'POST' });
      await expectError(response, { status: 401, code: null });
    }
  });

  it('reaches the client while its job waits, and takes the job out of the queue', async () => {
    const { answer, streamId } = await beginChat({ model: 'asleep', stream: true });
    const key = `bull:${asleep.queueName}:${streamId}`;
    await until(async () => (await redis.exists(key)) === 1);
    expect((await look(streamId)).stage).toBe('queued');
    const startedMs = performance.now();
    await cancel(streamId);
    await expectError(await answer, stoppedError);
    expect(performance.now() - startedMs).toBeLessThan(AT_ONCE_MS * PATIENCE);
    await until(async () => (await redis.exists(key)) === 0);
    expect(asleep.jobs).toEqual([]);
  });

  it('takes phrases out of the queue that nobody claimed', async () => {
    const { answer, streamId } = await begin(() =>
      post('/v1/audio/speech', { model: 'mute', input: 'Hello there.' }),
    );
    const key = `bull:${mute.queueName}:${streamId}-0`;
    await until(async () => (await redis.exists(key)) === 1);
    await cancel(streamId);
    await expectError(await answer, stoppedError);
    await until(async () => (await redis.exists(key)) === 0);
  });

  it('reaches the client while it is transcribed', async () => {
    const form = new FormData();
    form.set('model', 'whisper-1');
    form.set('file', new Blob([wav(1)]), 'one.wav');
    const { answer, streamId } = await begin(() =>
      fetch(`${gateway.url}/v1/audio/transcriptions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${KEY}` },
        body: form,
      }),
    );
    await untilStage(streamId, 'transcribing');
    const startedMs = performance.now();
    await cancel(streamId);
    await expectError(await answer, stoppedError);
    expect(performance.now() - startedMs).toBeLessThan(AT_ONCE_MS * PATIENCE);
    await until(() => aborted.get(streamId)?.includes('stream-end'));
  });

  it('is an error frame behind what came, without [DONE]', async () => {
    script = async (context) => {
      await context.producer.append(text('one'), { signal: context.signal });
      await forever(context);
    };
    const { answer, streamId } = await beginChat({ stream: true });
    const response = await answer;
    await cancel(streamId);
    const body = await response.text();
    expect(body).toContain('"one"');
    expect(body).not.toContain('[DONE]');
    expect(body.match(/"error"/g)).toHaveLength(1);
    expect(JSON.parse(body.split('\n\n').at(-2)?.slice('data: '.length) ?? '')).toStrictEqual({
      error: {
        ...{ message: 'The stream was stopped.', type: 'request_cancelled' },
        ...{ param: null, code: 'stream_cancelled' },
      },
    });
  });

  it('of a whole answer is 499', async () => {
    const { answer, streamId } = await beginChat();
    await untilStage(streamId, 'thinking');
    await cancel(streamId);
    await expectError(await answer, stoppedError);
  });

  it('goes on while the gateway drains', async () => {
    const draining = await openTestGateway(server.url, { API_KEYS: KEY });
    const { answer, streamId } = await beginChat();
    draining.stopAccepting();
    const headers = { authorization: `Bearer ${KEY}` };
    const url = `${draining.url}/v1/streams/${streamId}/cancel`;
    expect((await fetch(url, { method: 'POST', headers })).status).toBe(200);
    await expectError(await answer, stoppedError);
    await draining.close();
  });

  it('is 503 while Redis is away', async () => {
    const own = await startRedis();
    const alone = await openTestGateway(own.url, { API_KEYS: KEY });
    await own.kill();
    await until(() => !alone.context.redisReady());
    const headers = { authorization: `Bearer ${KEY}` };
    for (const [method, path] of [
      ['POST', `/v1/streams/${NO_STREAM}/cancel`],
      ['POST', '/api/stop_all'],
      ['GET', '/v1/streams'],
      ['GET', `/v1/streams/${NO_STREAM}`],
    ] as const) {
      const response = await fetch(`${alone.url}${path}`, { method, headers });
      const type = 'service_unavailable_error';
      await expectError(response, { status: 503, type, code: 'queue_unavailable' });
    }
    await own.restart();
    await until(() => alone.context.redisReady());
    await alone.close();
    await own.close();
  });
});

describe('a client that does not read', () => {
  it('of server-sent events gets the error behind what it was sent already', async () => {
    script = async ({ producer, signal }) => {
      for (;;) await producer.append(text('x'.repeat(20_000)), { signal });
    };
    const { socket, streamId } = await beginUnread({ stream: true });
    await cancel(streamId);
    await until(() => aborted.get(streamId)?.includes('stream-end'));
    let body = '';
    socket.on('data', (part: Buffer) => {
      body += part.toString('latin1');
    });
    socket.resume();
    await until(() => body.includes('stream_cancelled'));
    const frames = `\r\n${body.split('\r\n\r\n', 2)[1]}`
      .replaceAll(/\r\n[0-9a-f]+\r\n/g, '') // chunk sizes
      .split('\n\n')
      .flatMap((frame) => (frame.startsWith('data: ') ? [JSON.parse(frame.slice(6))] : []));
    expect(frames.length).toBeGreaterThan(2);
    expect(frames.at(-1)).toMatchObject({ error: { code: 'stream_cancelled' } });
    socket.destroy();
  });

  it('of sound is cut off at once', async () => {
    speak = async ({ job, producer, signal }) => {
      const { phraseIndex } = job;
      for (let chunkIndex = 0; ; chunkIndex += 1) {
        const pcm = new Uint8Array(48_000);
        const delta = { type: 'audio-delta' as const, phraseIndex, chunkIndex, pcm };
        await producer.append(delta, { samples: 24_000, signal });
      }
    };
    const { socket, streamId } = await beginUnread({ input: 'Hello there.' });
    const startedMs = performance.now();
    await cancel(streamId);
    await until(() => gateway.context.watch.streams.size === 0);
    expect(performance.now() - startedMs).toBeLessThan(AT_ONCE_MS * PATIENCE);
    socket.resume();
    await until(() => socket.closed);
  });
});

describe('stop-all', () => {
  it('stops what this key has open, and nobody else’s', async () => {
    const own = [await beginChat(), await beginChat({ stream: true })];
    const other = await beginChat({}, OTHER_KEY);
    const ids = own.map(({ streamId }) => streamId);
    expect(await openIds()).toEqual(ids);
    expect(await openIds(OTHER_KEY)).toEqual([other.streamId]);
    const response = await ask('POST', '/v1/streams/cancel');
    const { object, data } = (await response.json()) as { object: string; data: StreamObject[] };
    expect(object).toBe('list');
    expect(data.map(({ id, status, stage }) => ({ id, status, stage }))).toEqual(
      ids.map((id) => ({ id, status: 'cancelled', stage: 'ended' })),
    );
    for (const { answer } of own) await expectError(await answer, stoppedError);
    expect(await openIds(OTHER_KEY)).toEqual([other.streamId]);
    expect(await (await ask('POST', '/v1/streams/cancel')).json()).toEqual({
      ...{ object: 'list', data: [] },
    });
    await cancel(other.streamId, OTHER_KEY);
    await expectError(await other.answer, stoppedError);
  });

  it('speaks as voice assistants expect', async () => {
    const begun = [await beginChat(), await beginChat(), await beginChat()];
    const [first, ...rest] = begun.map(({ streamId }) => streamId);
    const one = await ask('POST', `/api/stop/${first}`);
    expect(one.headers.get('x-stream-id')).toBe(first);
    expect(await one.json()).toStrictEqual({ status: 'stopped', stream_id: first });
    expect(await (await ask('POST', '/api/stop_all')).json()).toStrictEqual({
      ...{ status: 'stopped', count: 2, stream_ids: rest },
    });
    expect(await (await ask('POST', '/api/stop_all')).json()).toStrictEqual({
      ...{ status: 'stopped', count: 0, stream_ids: [] },
    });
    for (const { answer } of begun) await expectError(await answer, stoppedError);
  });

  it('leaves no job behind', async () => {
    const begun = [await beginChat({ model: 'asleep' }), await beginChat({ model: 'asleep' })];
    await ask('POST', '/api/stop_all');
    for (const { answer } of begun) await expectError(await answer, stoppedError);
    await until(async () => (await redis.keys(`bull:${asleep.queueName}:s*`)).length === 0);
  });
});

/** A chat that came to its end. */
async function finished() {
  const response = await chat({ stream: false });
  await response.text();
  return { streamId: response.headers.get('x-stream-id') ?? '' };
}

/** A request whose client reads the headers and then nothing, until the server waits for it. */
async function beginUnread(body: Record<string, unknown>) {
  const path = 'input' in body ? '/v1/audio/speech' : '/v1/chat/completions';
  const json = JSON.stringify('input' in body ? { ...sound, ...body } : { ...question, ...body });
  const request = [
    `POST ${path} HTTP/1.1`,
    `host: x\r\nauthorization: Bearer ${KEY}\r\ncontent-type: application/json`,
    `content-length: ${json.length}\r\n\r\n${json}`,
  ];
  const before = new Set(await openIds());
  const socket = connect(gateway.port, '127.0.0.1');
  socket.on('error', () => undefined); // a cut connection is what some of these want
  socket.write(request.join('\r\n'));
  await once(socket, 'readable');
  const streamId = await until(async () => (await openIds()).find((id) => !before.has(id)));
  let seq = '';
  await until(
    async () => {
      const last = seq;
      seq = (await gateway.context.log.state(streamId))?.['seq'] ?? '';
      return seq === last;
    },
    { intervalMs: 400, what: 'producers wait for the client' },
  );
  return { socket, streamId };
}

/** Silence, 16 kHz. */
function wav(seconds: number): Uint8Array<ArrayBuffer> {
  const bytes = Buffer.alloc(44 + seconds * 32_000);
  bytes.write('RIFF', 0, 'latin1');
  bytes.writeUInt32LE(bytes.length - 8, 4);
  bytes.write('WAVEfmt ', 8, 'latin1');
  bytes.writeUInt32LE(16, 16);
  bytes.writeUInt16LE(1, 20);
  bytes.writeUInt16LE(1, 22);
  bytes.writeUInt32LE(16_000, 24);
  bytes.writeUInt32LE(32_000, 28);
  bytes.writeUInt16LE(2, 32);
  bytes.writeUInt16LE(16, 34);
  bytes.write('data', 36, 'latin1');
  bytes.writeUInt32LE(bytes.length - 44, 40);
  return new Uint8Array(bytes);
}
