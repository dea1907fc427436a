import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { openRedis } from '@antiphon/shared/queue/redis';
import type { AIService, ChatEvent, ChatRequest } from '@antiphon/shared/services/ai-service';
import { type BlobStore, openDiskBlobStore } from '@antiphon/shared/storage/blob-store';
import { StreamLog } from '@antiphon/shared/streams/stream-log';
import { StreamClosed } from '@antiphon/shared/streams/stream-producer';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createChatHandler } from './chat-handler.ts';
import { TextAppender } from './text-appender.ts';

let server: RedisServer;
let redis: ReturnType<typeof openRedis>;
let log: StreamLog;
let blobs: BlobStore;
let directory: string;

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: () => undefined });
  log = new StreamLog(redis);
  directory = await mkdtemp(join(tmpdir(), 'antiphon-chat-'));
  blobs = await openDiskBlobStore(directory);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
  await rm(directory, { recursive: true, force: true });
});

type Answer = (request: ChatRequest, signal: AbortSignal) => AsyncIterable<ChatEvent>;
const engine = (streamChat: Answer): AIService => ({
  listModels: async () => ({ models: ['m'] }),
  streamChat,
  close: async () => undefined,
});
const finish: ChatEvent = {
  type: 'finish',
  finishReason: 'stop',
  usage: { promptTokens: 1, completionTokens: 2, totalTokens: 3 },
};
const saying = (...words: string[]): Answer =>
  async function* () {
    for (const text of words) yield { type: 'text-delta', text };
    yield finish;
  };

async function open(maxLogBytes = 1e7) {
  const streamId = await log.open({
    ...{
      tenantId: 'default',
      gatewayId: 'g1',
      kind: 'chat',
      model: 'm',
      queueName: 'q',
      maxLogBytes,
    },
    ...{ ttlMs: 60_000, logTtlMs: 30_000 },
  });
  const claim = await log.claim(streamId, 'chat', 'w1');
  return { streamId, claim, producer: log.producer(streamId, 'chat', claim) };
}

interface RunOptions {
  stream?: boolean;
  requestJson?: string;
  requestBlobId?: string;
}

async function run(answer: Answer, { stream = true, ...body }: RunOptions = {}) {
  const { streamId, claim, producer } = await open();
  const request = 'requestBlobId' in body ? body : { requestJson: '{}', ...body };
  const job = {
    ...{ version: 1 as const, streamId, tenantId: 'default', gatewayId: 'g1', model: 'm' },
    ...{ stream, choiceCount: 1, ...request },
  };
  const handler = createChatHandler({ service: engine(answer), blobs });
  const { signal } = new AbortController();
  const error: unknown = await handler({ job, claim, producer, signal }).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return { error, ...(await textOf(streamId)) };
}

async function textOf(streamId: string) {
  const { entries } = await log.read(streamId, 1, 1000);
  const texts = entries.flatMap(({ event }) => (event.type === 'text-delta' ? [event.bytes] : []));
  return { text: Buffer.concat(texts).toString(), last: entries.at(-1) };
}
const framesOf = (text: string) =>
  text
    .trimEnd()
    .split('\n\n')
    .map((frame) => JSON.parse(frame.slice(6)) as { choices: unknown[]; usage?: unknown });

describe('an answer', () => {
  it('as a stream: role once, contents, finish reason', async () => {
    const { text, last, error } = await run(saying('Hel', 'lo'));
    expect(error).toBeUndefined();
    const choices = framesOf(text).map((frame) => frame.choices[0]);
    expect(choices).toMatchObject([
      { delta: { role: 'assistant', content: '' }, finish_reason: null },
      { delta: { content: 'Hel' }, finish_reason: null },
      { delta: { content: 'lo' }, finish_reason: null },
      { delta: {}, finish_reason: 'stop' },
    ]);
    expect(framesOf(text).every((frame) => !('usage' in frame))).toBe(true);
    expect(last).toMatchObject({
      terminal: true,
      event: { type: 'text-end', finishReason: 'stop' },
    });
  });

  it('as a stream with usage, when asked', async () => {
    const requestJson = JSON.stringify({ stream_options: { include_usage: true } });
    const frames = framesOf((await run(saying('a'), { requestJson })).text);
    expect(frames.at(-1)).toMatchObject({ choices: [], usage: { total_tokens: 3 } });
    expect(frames.slice(0, -1).every((frame) => frame.usage === null)).toBe(true);
  });

  it('whole', async () => {
    const { text } = await run(saying('Hel', 'lo'), { stream: false });
    expect(JSON.parse(text)).toMatchObject({
      object: 'chat.completion',
      choices: [{ message: { role: 'assistant', content: 'Hello' }, finish_reason: 'stop' }],
      usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 },
    });
  });

  it('that an engine made ready passes untouched', async () => {
    const { text } = await run(async function* () {
      yield { type: 'chunk-frames', frames: Buffer.from('data: {"x":1}\n\n') };
      yield finish;
    });
    expect(text).toBe('data: {"x":1}\n\n');
  });

  it('that breaks off is upstream_protocol, and what came is kept', async () => {
    const { error, text, last } = await run(async function* () {
      yield { type: 'text-delta', text: 'half' };
    });
    expect(error).toMatchObject({ code: 'upstream_protocol' });
    expect(text).toContain('half');
    expect(last?.terminal).toBe(false);
  });

  it('that fails keeps all that came before the error', async () => {
    const { error, text } = await run(async function* () {
      for (let index = 0; index < 50; index += 1) yield { type: 'text-delta', text: `${index},` };
      throw new VoiceError('upstream_timeout');
    });
    expect(error).toMatchObject({ code: 'upstream_timeout' });
    expect(text).toContain('49,');
  });
});

it('is not begun again after it had written something', async () => {
  const { streamId, producer } = await open();
  await producer.append({ type: 'text-delta', bytes: Buffer.from('a') });
  const claim = await log.claim(streamId, 'chat', 'w2');
  let calls = 0;
  const service = engine(async function* () {
    calls += 1;
    yield finish;
  });
  const job = {
    ...{ version: 1 as const, streamId, tenantId: 'default', gatewayId: 'g1', model: 'm' },
    ...{ stream: true, choiceCount: 1, requestJson: '{}' },
  };
  const context = { job, claim, producer, signal: new AbortController().signal };
  await expect(createChatHandler({ service, blobs })(context)).rejects.toMatchObject({
    code: 'stream_interrupted',
  });
  expect(calls).toBe(0);
});

describe('the request', () => {
  const seeing = (seen: ChatRequest[]): Answer =>
    async function* (request) {
      seen.push(request);
      yield finish;
    };

  it('comes from the blob store when it is large', async () => {
    const seen: ChatRequest[] = [];
    const requestJson = JSON.stringify({ messages: 'ü'.repeat(400_000) });
    const { blobId } = await blobs.put(Readable.from([requestJson]));
    await run(seeing(seen), { requestBlobId: blobId });
    expect(seen[0]?.requestJson).toBe(requestJson);
  });

  it('that is missing there is an error', async () => {
    const seen: ChatRequest[] = [];
    const requestBlobId = '00000000-0000-4000-8000-000000000000';
    const { error } = await run(seeing(seen), { requestBlobId });
    expect(error).toMatchObject({ code: 'internal_error' });
    expect(seen).toEqual([]);
  });
});

describe('appending', () => {
  it('keeps order and joins what waits into fewer entries', async () => {
    const { streamId, producer } = await open();
    const appender = new TextAppender(producer, new AbortController().signal);
    for (let index = 0; index < 200; index += 1) await appender.write(Buffer.from(`${index},`));
    await appender.flush();
    const { text } = await textOf(streamId);
    expect(text).toBe(Array.from({ length: 200 }, (_, index) => `${index},`).join(''));
    expect((await log.read(streamId, 1, 1000)).entries.length).toBeLessThan(50);
  });

  it('cuts what is large into entries under 64 KiB', async () => {
    const { streamId, producer } = await open();
    const appender = new TextAppender(producer, new AbortController().signal);
    const bytes = Buffer.from(Array.from({ length: 200_000 }, (_, index) => 97 + (index % 26)));
    await appender.write(bytes);
    await appender.flush();
    const { entries } = await log.read(streamId, 2, 10);
    const sizes = entries.map(({ event }) =>
      event.type === 'text-delta' ? event.bytes.length : 0,
    );
    expect(sizes).toEqual([65_000, 65_000, 65_000, 5000]);
    expect((await textOf(streamId)).text).toBe(bytes.toString());
  });

  it('holds an engine back while the reader is slow, until the signal', async () => {
    const { producer } = await open(100_000);
    const stopped = new AbortController();
    const appender = new TextAppender(producer, stopped.signal);
    let written = 0;
    const writing = (async () => {
      for (; written < 100; written += 1) await appender.write(Buffer.alloc(20_000));
    })();
    const failed = writing.catch((error: unknown) => error);
    await until(() => written >= 3);
    stopped.abort(new VoiceError('stream_cancelled'));
    expect(await failed).toMatchObject({ code: 'stream_cancelled' });
    expect(written).toBeLessThan(20);
  });

  it('throws what an append threw, at the next write and at flush', async () => {
    const { streamId, producer } = await open();
    await log.finish(streamId, new VoiceError('stream_cancelled'));
    const appender = new TextAppender(producer, new AbortController().signal);
    await appender.write(Buffer.from('a'));
    await expect(appender.flush()).rejects.toThrow(StreamClosed);
    await expect(appender.write(Buffer.from('b'))).rejects.toThrow(StreamClosed);
  });
});
