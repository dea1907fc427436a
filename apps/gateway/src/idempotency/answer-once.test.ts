import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { JobContext } from '@antiphon/shared/queue/job-worker';
import { openRedis, whenReady } from '@antiphon/shared/queue/redis';
import type { ScriptedRedis } from '@antiphon/shared/streams/stream-scripts';
import { expectError } from '@antiphon/testing/error-envelope';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type S3Server, startS3Server } from '@antiphon/testing/s3-server';
import { type ScriptedWorker, startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { type TcpProxy, startTcpProxy } from '@antiphon/testing/tcp-proxy';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { readEvents } from '../testing/read-events.ts';
import {
  answerChat,
  chatFrame,
  hearOneSegment,
  speakSilence,
} from '../testing/scripted-handlers.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

const KEY = 'key-of-tenant-a-0123456789';
const OTHER_KEY = 'key-of-tenant-b-0123456789';
/** Above the pauses of a busy machine: clients come back within it. */
const GRACE_MS = 1500;
const environment = { API_KEYS: `${KEY},${OTHER_KEY}`, RESUME_GRACE_MS: String(GRACE_MS) };

let server: RedisServer;
let redis: ScriptedRedis;
let first: TestGateway;
let second: TestGateway;
let llm: ScriptedWorker<'chat'>;
let tts: ScriptedWorker<'speech'>;
let stt: ScriptedWorker<'transcription'>;
let write: (context: JobContext<'chat'>) => Promise<void>;
let keyCount = 0;
let key: string;

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: () => undefined });
  await whenReady(redis);
  const redisUrl = server.url;
  llm = await startScriptedWorker({
    ...{ redisUrl, kind: 'chat', announced: { models: ['scripted'] } },
    handler: (context) => write(context),
  });
  tts = await startScriptedWorker({
    ...{ redisUrl, kind: 'speech', announced: { models: ['tts-1'], voices: 'any' } },
    handler: speakSilence,
  });
  stt = await startScriptedWorker({
    ...{ redisUrl, kind: 'transcription', announced: { models: ['whisper-1'] } },
    handler: hearOneSegment,
  });
  first = await openTestGateway(redisUrl, environment);
  second = await openTestGateway(redisUrl, environment);
});
beforeEach(() => {
  for (const { jobs } of [llm, tts, stt]) jobs.length = 0;
  keyCount += 1;
  key = `order ${keyCount}`;
  write = answerChat('Hello.');
});
afterEach(async () => {
  for (const gateway of [first, second]) {
    const { watch } = gateway.context;
    await until(() => watch.streams.size === 0, { what: 'no stream under watch' });
    await until(async () => (await gateway.blobNames()).length === 0, { what: 'no upload left' });
  }
});
afterAll(async () => {
  await first?.close();
  await second?.close();
  await Promise.all([llm, tts, stt].map((worker) => worker?.close()));
  redis?.disconnect();
  await server?.close();
});

interface SendOptions {
  gateway?: TestGateway;
  apiKey?: string;
  key?: string;
}

const headersOf = (options: SendOptions) => ({
  authorization: `Bearer ${options.apiKey ?? KEY}`,
  'idempotency-key': options.key ?? key,
});
const post = (path: string, body: object, options: SendOptions = {}) =>
  fetch(`${(options.gateway ?? first).url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headersOf(options) },
    body: JSON.stringify(body),
  });
const chat = (body: object = {}, options: SendOptions = {}) =>
  post('/v1/chat/completions', { messages: [{ role: 'user', content: 'go' }], ...body }, options);
const transcribe = (fields: Record<string, string>, bytes: number, options: SendOptions = {}) => {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.set(name, value);
  const wav = Buffer.concat([Buffer.from('RIFF0000WAVE'), Buffer.alloc(bytes)]);
  form.set('file', new Blob([wav]), 'a.wav');
  return fetch(`${(options.gateway ?? first).url}/v1/audio/transcriptions`, {
    method: 'POST',
    headers: headersOf(options),
    body: form,
  });
};
const streamIdOf = (response: Response) => response.headers.get('x-stream-id');

describe('the same key and the same request', () => {
  it.each([true, false])('ten at once, streamed: %s: one job, ten answers', async (stream) => {
    write = async (context) => {
      await delay(100);
      await answerChat('Hello.')(context);
    };
    const gateways = [first, second];
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        chat({ stream }, { gateway: gateways[index % 2] ?? first }),
      ),
    );
    const bodies = await Promise.all(answers.map((answer) => answer.text()));
    expect(new Set(bodies).size).toBe(1);
    expect(bodies[0]).toContain('Hello.');
    expect(new Set(answers.map(streamIdOf)).size).toBe(1);
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
    expect(llm.jobs).toHaveLength(1);
    const replayed = answers.filter(({ headers }) => headers.get('idempotent-replayed') === 'true');
    expect(replayed).toHaveLength(9);
  });

  it('after the end: the same status, headers and body, on another gateway', async () => {
    const once = await chat({ stream: true });
    const body = await once.text();
    const again = await chat({ stream: true }, { gateway: second });
    expect(await again.text()).toBe(body);
    for (const name of ['content-type', 'x-stream-id', 'cache-control']) {
      expect(again.headers.get(name)).toBe(once.headers.get(name));
    }
    expect(llm.jobs).toHaveLength(1);
  });

  it.each(['mp3', 'wav', 'pcm', 'opus', 'flac'])('speech in %s: the same bytes', async (format) => {
    const body = { input: 'Good morning.', response_format: format };
    const once = Buffer.from(await (await post('/v1/audio/speech', body)).arrayBuffer());
    const again = await post('/v1/audio/speech', body, { gateway: second });
    expect(once.length).toBeGreaterThan(100);
    expect(Buffer.from(await again.arrayBuffer()).equals(once)).toBe(true);
    expect(tts.jobs).toHaveLength(1);
  });

  it('a recording: its fields and bytes count, not its boundary', async () => {
    const once = await transcribe({ model: 'whisper-1', language: 'en' }, 5000);
    const again = await transcribe({ language: 'en', model: 'whisper-1' }, 5000, {
      gateway: second,
    });
    expect(await again.text()).toBe(await once.text());
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(stt.jobs).toHaveLength(1);
    for (const other of [
      await transcribe({ model: 'whisper-1', language: 'en' }, 5001),
      await transcribe({ model: 'whisper-1', language: 'de' }, 5000),
    ]) {
      await expectError(other, { status: 409, code: 'idempotency_key_reused' });
    }
  });

  it('joins an answer that is being written, from its start', async () => {
    const goOn = Promise.withResolvers<void>();
    write = async (context) => {
      await context.producer.append({ type: 'text-delta', bytes: chatFrame('First ') });
      await goOn.promise;
      await answerChat('then more.')(context);
    };
    const once = await chat({ stream: true });
    await readEvents(once, 1); // and leaves
    const again = await chat({ stream: true }, { gateway: second });
    goOn.resolve();
    const body = await again.text();
    expect(body).toContain('First ');
    expect(body).toContain('then more.');
    expect(body.endsWith('data: [DONE]\n\n')).toBe(true);
    expect(llm.jobs).toHaveLength(1);
  });
});

describe('a request that prepares its stream for long', () => {
  /** Its body is too large for a job, and the network to its store stands still. */
  const large = { messages: [{ role: 'user', content: 'x'.repeat(300_000) }] };
  const nameOfKey = async () => {
    const hash = createHash('sha256').update(key).digest('hex');
    return until(async () => (await redis.keys(`antiphon:idempotency:*:${hash}`))[0]);
  };
  let s3: S3Server;
  let network: TcpProxy;
  let slow: TestGateway;

  beforeAll(async () => {
    s3 = await startS3Server();
    const endpoint = new URL(s3.environment['S3_ENDPOINT'] ?? '');
    network = await startTcpProxy(Number(endpoint.port));
    endpoint.port = String(network.port);
    slow = await openTestGateway(server.url, {
      ...environment,
      ...s3.environment,
      S3_ENDPOINT: endpoint.href,
    });
  });
  beforeEach(() => network.setMode({ type: 'blackhole' }));
  const stored = () => network.setMode({ type: 'pass' });
  afterEach(async () => {
    vi.useRealTimers();
    stored();
    await until(() => slow.context.watch.streams.size === 0, { what: 'no stream under watch' });
  });
  afterAll(async () => {
    await slow?.close();
    await network?.close();
    await s3?.close();
  });

  it('is waited for, whatever the clock of another gateway says', async () => {
    const once = chat(large, { gateway: slow });
    const name = await nameOfKey();
    const monitor = await redis.monitor();
    let looks = 0;
    monitor.on('monitor', (_seconds: string, [command, of]: string[]) => {
      if (command?.toLowerCase() === 'get' && of === name) looks += 1;
    });
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 3_600_000 });
    const again = chat(large, { gateway: second });
    await until(() => looks > 2, { what: 'the second waits for the first' });
    monitor.disconnect();
    stored();
    const [answer, joined] = await Promise.all([once, again]);
    expect(await joined.text()).toBe(await answer.text());
    expect(joined.headers.get('idempotent-replayed')).toBe('true');
    expect(llm.jobs).toHaveLength(1);
  });

  it('keeps its key until then, and after that its stream does', async () => {
    const once = chat(large, { gateway: slow });
    const name = await nameOfKey();
    let lifeMs = await redis.pttl(name);
    const grew = async () => {
      const before = lifeMs;
      lifeMs = await redis.pttl(name);
      return lifeMs > before;
    };
    await until(grew, { what: 'the key is renewed' });
    stored();
    await (await once).text();
    expect(await redis.pttl(name)).toBeGreaterThan(60_000);
  });

  it('is refused when it has lost its key, for another try', async () => {
    const once = chat(large, { gateway: slow });
    await redis.del(await nameOfKey());
    stored();
    const refused = await once;
    expect(refused.headers.get('x-should-retry')).toBe('true');
    await expectError(refused, {
      ...{ status: 503, code: 'queue_unavailable', type: 'service_unavailable_error' },
    });
    expect(await (await chat(large, { gateway: slow })).text()).toContain('Hello.');
    expect(llm.jobs).toHaveLength(1);
  });
});

describe('the same key and another request', () => {
  it('is refused, and never tried again', async () => {
    await (await chat({})).text();
    const other = await chat({ temperature: 1 });
    expect(other.headers.get('x-should-retry')).toBe('false');
    await expectError(other, { status: 409, code: 'idempotency_key_reused' });
    const elsewhere = await post('/v1/audio/speech', { input: 'x' });
    await expectError(elsewhere, { status: 409, code: 'idempotency_key_reused' });
  });

  it('of another tenant is nobody’s business', async () => {
    const once = await chat({});
    const other = await chat({ temperature: 1 }, { apiKey: OTHER_KEY });
    expect([once.status, other.status]).toEqual([200, 200]);
    expect(streamIdOf(other)).not.toBe(streamIdOf(once));
    expect(llm.jobs).toHaveLength(2);
  });

  it.each(['', 'x'.repeat(256), 'a\tb'])('a key like %j is none', async (given) => {
    const refused = await chat({}, { key: given });
    await expectError(refused, { status: 400, code: 'invalid_value', param: 'Idempotency-Key' });
  });
});

describe('what went wrong', () => {
  it('is replayed when another try would be in vain', async () => {
    write = async () => {
      throw new VoiceError('upstream_rejected', { message: 'No.' });
    };
    const once = await chat({});
    const again = await chat({}, { gateway: second });
    expect([once.status, again.status]).toEqual([400, 400]);
    expect(await again.text()).toBe(await once.text());
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(llm.jobs).toHaveLength(1);
  });

  it('is tried again when it was told to be', async () => {
    write = async () => {
      throw new VoiceError('upstream_unavailable');
    };
    const failed = await chat({});
    expect(failed.headers.get('x-should-retry')).toBe('true');
    await failed.text();
    write = answerChat('Now it works.');
    expect(await (await chat({})).text()).toContain('Now it works.');
    expect(llm.jobs).toHaveLength(2);
  });

  it('before anything was queued: the key is free', async () => {
    await expectError(await chat({ model: 'unknown' }), {
      ...{ status: 404, code: 'model_not_found', param: 'model' },
    });
    const other = await chat({});
    expect(other.status).toBe(200);
    expect(other.headers.get('idempotent-replayed')).toBeNull();
  });

  it('nobody came back in time: the next one gets an answer of its own', async () => {
    write = async ({ signal, producer }) => {
      await producer.append({ type: 'text-delta', bytes: chatFrame('First ') });
      await new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error));
      });
    };
    const once = await chat({ stream: true });
    await readEvents(once, 1);
    await until(() => first.context.watch.streams.size === 0);
    write = answerChat('Hello again.');
    expect(await (await chat({ stream: true })).text()).toContain('Hello again.');
  });

  it('a stop is the end for everybody', async () => {
    write = ({ signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error));
      });
    const stopped = { status: 499, code: 'stream_cancelled', type: 'request_cancelled' };
    const waiting = [chat({}), chat({}, { gateway: second })];
    await until(() => second.context.watch.streams.size === 1);
    await fetch(`${second.url}/v1/streams/cancel`, {
      method: 'POST',
      headers: { authorization: `Bearer ${KEY}` },
    });
    for (const answer of await Promise.all(waiting)) {
      await expectError(answer, stopped);
    }
    await expectError(await chat({}), stopped);
    expect(llm.jobs).toHaveLength(1);
  });
});

it('a key lives as long as the log of its stream', async () => {
  const once = await chat({});
  await once.text();
  const hash = createHash('sha256').update(key).digest('hex');
  const [name = ''] = await redis.keys(`antiphon:idempotency:*:${hash}`);
  await until(() => first.context.watch.streams.size === 0);
  const { LOG_TTL_MS: logTtlMs } = first.context.config;
  await until(async () => (await redis.pttl(name)) <= logTtlMs, {
    what: 'the key ends with the log',
  });
  await redis.del(`antiphon:{${streamIdOf(once)}}:state`, `antiphon:{${streamIdOf(once)}}:log`);
  const again = await chat({});
  expect(streamIdOf(again)).not.toBe(streamIdOf(once));
});
