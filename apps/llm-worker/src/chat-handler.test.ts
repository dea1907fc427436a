import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { JobProducer } from '@antiphon/shared/queue/job-producer';
import { openRedis } from '@antiphon/shared/queue/redis';
import { createLogger } from '@antiphon/shared/runtime/logger';
import type { AIService, ChatEvent, ChatRequest } from '@antiphon/shared/services/ai-service';
import { type BlobStore, openDiskBlobStore } from '@antiphon/shared/storage/blob-store';
import { TranscriptStore } from '@antiphon/shared/storage/transcript-store';
import { gatewayKey } from '@antiphon/shared/streams/stream-key';
import { StreamLog } from '@antiphon/shared/streams/stream-log';
import { StreamClosed } from '@antiphon/shared/streams/stream-producer';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { until } from '@antiphon/testing/until';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createChatHandler } from './chat-handler.ts';
import { TextAppender } from './text-appender.ts';

let server: RedisServer;
let redis: ReturnType<typeof openRedis>;
let log: StreamLog;
let blobs: BlobStore;
let jobs: JobProducer;
let transcripts: TranscriptStore;
let directory: string;
const logger = createLogger('llm-worker', 'silent');

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: () => undefined });
  log = new StreamLog(redis);
  jobs = new JobProducer(redis, () => undefined);
  transcripts = new TranscriptStore(redis);
  directory = await mkdtemp(join(tmpdir(), 'antiphon-chat-'));
  blobs = await openDiskBlobStore(directory);
});
afterAll(async () => {
  await jobs.close();
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
const handlerOf = (service: AIService) =>
  createChatHandler({ service, blobs, transcripts, log, jobs, logger });
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
  const handler = handlerOf(engine(answer));
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
  await expect(handlerOf(service)(context)).rejects.toMatchObject({
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

describe('an answer that is spoken', () => {
  const SENTENCES = [
    'The first sentence is spoken at once.',
    'The second sentence comes a little later.',
    'The third sentence is the last of them.',
  ];
  const openSpoken = () =>
    log.open({
      ...{ tenantId: 'default', gatewayId: 'g1', kind: 'chat', model: 'm', queueName: 'q' },
      ...{ ttlMs: 60_000, logTtlMs: 30_000, maxLogBytes: 1e7 },
      ...{ parallelPhrases: 8, aheadSamples: 1e6 },
      speech: JSON.stringify({
        queueName: 'tts-nobody',
        job: {
          ...{ version: 1, tenantId: 'default', gatewayId: 'g1', model: 'tts-1' },
          ...{ voice: 'alloy', speed: 1 },
        },
      }),
    });
  const jobOf = (streamId: string, content: 'code' | 'full' | 'none' = 'code') => ({
    ...{ version: 1 as const, streamId, tenantId: 'default', gatewayId: 'g1', model: 'm' },
    ...{ stream: true, choiceCount: 1, requestJson: '{}', audio: { content } },
  });

  async function speak(answer: Answer, content?: 'code' | 'full' | 'none') {
    const streamId = await openSpoken();
    const claim = await log.claim(streamId, 'chat', 'w1');
    const producer = log.producer(streamId, 'chat', claim);
    const job = jobOf(streamId, content);
    const { signal } = new AbortController();
    const error: unknown = await handlerOf(engine(answer))({ job, claim, producer, signal }).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    return { streamId, error, ...(await writtenIn(streamId)) };
  }

  async function writtenIn(streamId: string) {
    const { entries } = await log.read(streamId, 1, 1000);
    const events = entries.map(({ event }) => event);
    return {
      phrases: events.flatMap((event) => (event.type === 'phrase-start' ? [event.text] : [])),
      deltas: events.flatMap((event) => (event.type === 'message-delta' ? [event.delta] : [])),
      textBytes: events.filter(({ type }) => type === 'text-delta').length,
      ends: entries.filter(({ terminal }) => terminal).length,
      last: entries.at(-1),
    };
  }
  /** A tts-worker's part. */
  async function speakPhrase(streamId: string, phraseIndex: number): Promise<void> {
    const name = `phrase-${phraseIndex}`;
    const producer = log.producer(streamId, name, await log.claim(streamId, name, 'w2'));
    await producer.append({ type: 'audio-end', phraseIndex }, { ends: 'phrase' });
  }

  const wordsOf = (text: string) => text.match(/\s*\S+/g) ?? [];
  const frame = (delta: object) =>
    Buffer.from(`data: ${JSON.stringify({ choices: [{ index: 0, delta }] })}\n\n`);

  it('is phrases, and a text-end that carries it', async () => {
    const answer = SENTENCES.join(' ');
    const { error, phrases, textBytes, last } = await speak(saying(...wordsOf(answer)));
    expect(error).toBeUndefined();
    expect(phrases).toEqual(SENTENCES);
    expect(textBytes).toBe(0);
    expect(last).toMatchObject({
      terminal: false,
      event: {
        ...{ type: 'text-end', finishReason: 'stop', phraseCount: 3, answer },
        usage: { totalTokens: 3 },
      },
    });
  });

  it('is read out of ready frames; what is not text is shown', async () => {
    const call = { tool_calls: [{ index: 0, id: 'call_1', function: { name: 'f' } }] };
    const { phrases, deltas, last } = await speak(async function* () {
      const frames = [
        frame({ role: 'assistant', content: '', refusal: null }),
        frame({ reasoning_content: 'Well.' }),
        ...wordsOf(SENTENCES.slice(0, 2).join(' ')).map((content) => frame({ content })),
      ];
      yield { type: 'chunk-frames', frames: Buffer.concat(frames) };
      yield { type: 'chunk-frames', frames: frame(call) };
      yield { type: 'finish', finishReason: 'tool_calls' };
    });
    expect(phrases).toEqual(SENTENCES.slice(0, 2));
    expect(deltas).toStrictEqual([{ reasoning_content: 'Well.' }, call]);
    expect(last?.event).toMatchObject({ finishReason: 'tool_calls', phraseCount: 2 });
  });

  it.each([
    ['code', '```\nx = 1\n```'],
    ['full', `${SENTENCES[0]}\n\n\`\`\`\nx = 1\n\`\`\``],
    ['none', ''],
  ] as const)('with AUDIO_CONTENT %s shows that', async (content, expected) => {
    const tokens = [SENTENCES[0] ?? '', '\n', '\n``', '`\nx =', ' 1\n```'];
    const { phrases, deltas, last } = await speak(saying(...tokens), content);
    expect(phrases).toEqual([SENTENCES[0]]);
    const shown = deltas.map((delta) => String(delta['content'])).join('');
    expect(shown.trim()).toBe(expected);
    expect(last?.event).toMatchObject({ answer: tokens.join('') });
  });

  it('that breaks off is spoken as far as it came', async () => {
    const { error, phrases, ends } = await speak(async function* () {
      yield { type: 'text-delta', text: `${SENTENCES[0]} And then` };
    });
    expect(error).toMatchObject({ code: 'upstream_protocol' });
    expect(phrases).toEqual([SENTENCES[0], 'And then']);
    expect(ends).toBe(0);
  });

  it('whose frames cannot be understood is an error', async () => {
    const { error, phrases } = await speak(async function* () {
      yield { type: 'text-delta', text: `${SENTENCES[0]} ` };
      yield { type: 'chunk-frames', frames: Buffer.from('data: {"choices"\n\n') };
      yield finish;
    });
    expect(error).toMatchObject({ code: 'upstream_protocol' });
    expect(phrases).toEqual([SENTENCES[0]]);
  });

  it('is not begun again after a phrase was cut', async () => {
    const { streamId } = await speak(saying(`${SENTENCES[0]} `));
    const claim = await log.claim(streamId, 'chat', 'w2');
    const producer = log.producer(streamId, 'chat', claim);
    const { signal } = new AbortController();
    let calls = 0;
    const service = engine(async function* () {
      calls += 1;
      yield finish;
    });
    const run = handlerOf(service)({ job: jobOf(streamId), claim, producer, signal });
    await expect(run).rejects.toMatchObject({ code: 'stream_interrupted' });
    expect(calls).toBe(0);
  });

  describe('as a job', () => {
    async function runJob(service: AIService, during: (streamId: string) => Promise<void>) {
      await redis.set(gatewayKey('g1'), '1', 'PX', 60_000);
      const worker = await startScriptedWorker({
        redisUrl: server.url,
        kind: 'chat',
        announced: { models: ['m'] },
        handler: handlerOf(service),
      });
      try {
        const streamId = await openSpoken();
        await jobs.enqueue(worker.queueName, 'chat', jobOf(streamId), { jobId: streamId });
        await during(streamId);
      } finally {
        await worker.close();
      }
    }

    it('that fails after two phrases: they are spoken, then the stream ends with the error', async () => {
      const service = engine(async function* () {
        for (const text of wordsOf(SENTENCES.slice(0, 2).join(' '))) {
          yield { type: 'text-delta', text };
        }
        throw new VoiceError('upstream_timeout');
      });
      await runJob(service, async (streamId) => {
        // Both phrases are cut; the failure waits behind them.
        await until(async () => (await log.state(streamId))?.['failure'] !== undefined);
        const broken = await writtenIn(streamId);
        expect(broken.phrases).toEqual(SENTENCES.slice(0, 2));
        expect(broken.ends).toBe(0);
        await speakPhrase(streamId, 1);
        expect((await log.state(streamId))?.['status']).toBe('open');
        await speakPhrase(streamId, 0);
        const { ends, last } = await writtenIn(streamId);
        expect(ends).toBe(1);
        expect(last).toMatchObject({
          terminal: true,
          event: { type: 'stream-error', error: { code: 'upstream_timeout' } },
        });
        expect((await log.state(streamId))?.['status']).toBe('error');
      });
    });

    it('that fails before its first word ends the stream at once', async () => {
      // oxlint-disable-next-line require-yield
      const service = engine(async function* () {
        throw new VoiceError('upstream_timeout');
      });
      await runJob(service, async (streamId) => {
        await until(async () => (await log.state(streamId))?.['status'] === 'error');
        expect((await writtenIn(streamId)).last).toMatchObject({
          event: { type: 'stream-error', error: { code: 'upstream_timeout' } },
        });
      });
    });

    it('that is stopped: the engine’s signal aborts, and nothing follows', async () => {
      let reason: unknown;
      const service = engine(async function* (_request, signal) {
        signal.addEventListener('abort', () => {
          ({ reason } = signal);
        });
        for (let count = 0; ; count += 1) {
          signal.throwIfAborted();
          yield { type: 'text-delta', text: `This is sentence number ${count} of the answer. ` };
          await new Promise((resolve) => {
            setTimeout(resolve, 5);
          });
        }
      });
      await runJob(service, async (streamId) => {
        await until(async () => (await writtenIn(streamId)).phrases.length >= 2);
        await log.finish(streamId, new VoiceError('stream_cancelled'));
        await until(() => reason !== undefined);
        const { ends, last } = await writtenIn(streamId);
        expect(ends).toBe(1);
        expect(last).toMatchObject({
          terminal: true,
          event: { type: 'stream-error', error: { code: 'stream_cancelled' } },
        });
      });
    });
  });
});
