import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { JOB_CATALOG, type TranscriptionJob } from '@antiphon/shared/jobs/job-catalog';
import { openRedis } from '@antiphon/shared/queue/redis';
import type {
  STTService,
  TranscriptEvent,
  TranscriptionRequest,
} from '@antiphon/shared/services/stt-service';
import { type BlobStore, openDiskBlobStore } from '@antiphon/shared/storage/blob-store';
import { TranscriptStore } from '@antiphon/shared/storage/transcript-store';
import { StreamLog } from '@antiphon/shared/streams/stream-log';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createTranscriptionHandler } from './transcription-handler.ts';

let server: RedisServer;
let redis: ReturnType<typeof openRedis>;
let log: StreamLog;
let blobs: BlobStore;
let transcripts: TranscriptStore;
let directory: string;

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: () => undefined });
  log = new StreamLog(redis);
  transcripts = new TranscriptStore(redis);
  directory = await mkdtemp(join(tmpdir(), 'antiphon-stt-'));
  blobs = await openDiskBlobStore(directory);
});
afterEach(async () => {
  await redis.config('SET', 'maxmemory', '0');
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
  await rm(directory, { recursive: true, force: true });
});

type Transcribe = (
  request: TranscriptionRequest,
  signal: AbortSignal,
) => AsyncIterable<TranscriptEvent>;
const segment = (text: string): TranscriptEvent => ({
  type: 'segment',
  segment: { text, startSeconds: 0, endSeconds: 1 },
  words: [{ word: text, startSeconds: 0, endSeconds: 1 }],
});
const finish: TranscriptEvent = { type: 'finish', language: 'en', durationSeconds: 1 };

interface RunOptions {
  blobId?: string;
  signal?: AbortSignal;
  hasOutput?: boolean;
  chatPart?: NonNullable<TranscriptionJob['chatPart']>;
}

async function run(transcribe: Transcribe, options: RunOptions = {}) {
  const upload = options.blobId ?? (await blobs.put(Readable.from([Buffer.alloc(3200)]))).blobId;
  const streamId = await log.open({
    ...{
      tenantId: 'default',
      gatewayId: 'g1',
      kind: 'transcription',
      model: 'm',
      queueName: 'q',
      maxLogBytes: 1e7,
    },
    ...{ ttlMs: 60_000, logTtlMs: 30_000 },
  });
  const job: TranscriptionJob = {
    ...{ version: 1 as const, streamId, tenantId: 'default', gatewayId: 'g1', model: 'm' },
    ...{ blobId: upload, format: 'wav' as const, sizeBytes: 3200, wordTimes: true },
    ...{ operation: 'translate' as const, language: 'de', prompt: 'p', temperature: 0.5 },
    maxAudioSeconds: 60,
    ...(options.chatPart ? { chatPart: options.chatPart } : {}),
  };
  const name = JOB_CATALOG.transcription.producer(job);
  let claim = await log.claim(streamId, name, 'w1');
  if (options.hasOutput) {
    const earlier = log.producer(streamId, name, claim);
    const words = { text: 'before', startSeconds: 0, endSeconds: 1 };
    await earlier.append({ type: 'transcript-delta', segment: words });
    claim = await log.claim(streamId, name, 'w2');
  }
  const service: STTService = {
    languages: 'any',
    listModels: async () => ({ models: ['m'] }),
    transcribe,
    close: async () => undefined,
  };
  const signal = options.signal ?? new AbortController().signal;
  const producer = log.producer(streamId, name, claim);
  const error: unknown = await createTranscriptionHandler({ service, blobs, transcripts })({
    ...{ job, claim, producer, signal },
  }).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  const { entries } = await log.read(streamId, 1, 100);
  return {
    error,
    streamId,
    events: entries.map(({ event }) => event),
    last: entries.at(-1),
  };
}

it('writes segments as they come, then the end', async () => {
  const seen: TranscriptionRequest[] = [];
  const { error, events, last } = await run(async function* (request) {
    seen.push(request);
    yield segment('hello');
    yield segment('world');
    yield finish;
  });
  expect(error).toBeUndefined();
  expect(events.slice(1)).toMatchObject([
    { type: 'transcript-delta', segment: { text: 'hello' }, words: [{ word: 'hello' }] },
    { type: 'transcript-delta', segment: { text: 'world' } },
    { type: 'transcript-end', language: 'en', durationSeconds: 1 },
  ]);
  expect(last?.terminal).toBe(true);
  const { audio, ...asked } = seen[0] ?? {};
  expect(asked).toEqual({
    ...{ model: 'm', operation: 'translate', wordTimes: true },
    ...{ language: 'de', prompt: 'p', temperature: 0.5 },
  });
  expect(audio).toMatchObject({ format: 'wav', sizeBytes: 3200 });
});

it('takes silence for an answer', async () => {
  const { error, events } = await run(async function* () {
    yield finish;
  });
  expect(error).toBeUndefined();
  expect(events.map(({ type }) => type)).toEqual(['job-claim', 'transcript-end']);
});

it('takes an engine that ends without finish for failed', async () => {
  const { error, last } = await run(async function* () {
    yield segment('half');
  });
  expect(error).toMatchObject({ code: 'engine_failed' });
  expect(last?.terminal).toBe(false);
});

it('passes the error of its engine on', async () => {
  // oxlint-disable-next-line require-yield
  const { error } = await run(async function* () {
    throw new VoiceError('invalid_file_format');
  });
  expect(error).toMatchObject({ code: 'invalid_file_format' });
});

it('is not begun again after it had written something, nor without its upload', async () => {
  let calls = 0;
  const counting: Transcribe = async function* () {
    calls += 1;
    yield finish;
  };
  const again = await run(counting, { hasOutput: true });
  expect(again.error).toMatchObject({ code: 'stream_interrupted' });
  const missing = await run(counting, { blobId: '00000000-0000-4000-8000-000000000000' });
  expect(missing.error).toMatchObject({ code: 'internal_error' });
  expect(calls).toBe(0);
});

it('stops its engine by the signal', async () => {
  const stopped = new AbortController();
  let heard: unknown;
  const { error } = await run(
    async function* (_request, signal) {
      yield segment('a');
      stopped.abort(new VoiceError('stream_cancelled'));
      heard = signal.reason;
      throw signal.reason;
    },
    { signal: stopped.signal },
  );
  expect(error).toMatchObject({ code: 'stream_cancelled' });
  expect(heard).toBe(stopped.signal.reason);
});

describe('a recording in a chat', () => {
  const partOf = (transcriptKey: string) => ({ partIndex: 3, transcriptKey, keepMs: 60_000 });

  it('is kept, and its stream gets nothing but the one end, which leaves it open', async () => {
    const key = 'antiphon:transcript:default:1';
    const { error, streamId, events, last } = await run(
      async function* () {
        yield segment(' hello');
        yield segment('world ');
        yield finish;
      },
      { chatPart: partOf(key) },
    );
    expect(error).toBeUndefined();
    expect(events).toMatchObject([
      { type: 'job-claim', producer: 'transcription-3' },
      { type: 'transcript-end', durationSeconds: 1, partIndex: 3 },
    ]);
    expect(last?.terminal).toBe(false);
    expect((await log.state(streamId))?.['status']).toBe('open');
    const heard = { text: 'hello world', durationSeconds: 1 };
    expect(await transcripts.find([key], 60_000)).toEqual([heard]);
    expect((await log.claim(streamId, 'transcription-3', 'w2')).status).toBe('ended');
  });

  it('of silence is kept as such', async () => {
    const key = 'antiphon:transcript:default:2';
    const { error } = await run(
      async function* () {
        yield finish;
      },
      { chatPart: partOf(key) },
    );
    expect(error).toBeUndefined();
    expect(await transcripts.find([key], 60_000)).toEqual([{ text: '', durationSeconds: 1 }]);
  });

  it.each([
    ['invalid_file_format', 'file', 'messages[0].content[1].input_audio.data'],
    ['unsupported_language', 'language', 'language'],
  ] as const)('%s of its %s is told as of %s', async (code, param, told) => {
    const chatPart = partOf('antiphon:transcript:default:4');
    const fails: Transcribe = async function* () {
      yield segment('half');
      throw new VoiceError(code, { param, message: 'no' });
    };
    const place = 'messages[0].content[1].input_audio.data';
    const { error } = await run(fails, { chatPart: { ...chatPart, param: place } });
    expect(error).toMatchObject({ code, message: 'no', param: told });
    expect((await run(fails, { chatPart })).error).toMatchObject({ param });
    expect((await run(fails)).error).toMatchObject({ param });
  });

  it('has its end only when it is kept, and nothing is kept when the engine breaks off', async () => {
    const key = 'antiphon:transcript:default:3';
    const broken = await run(
      async function* () {
        yield segment('half');
        throw new VoiceError('engine_failed');
      },
      { chatPart: partOf(key) },
    );
    expect(broken.error).toMatchObject({ code: 'engine_failed' });
    expect(broken.events.map(({ type }) => type)).toEqual(['job-claim']);
    expect(await transcripts.find([key], 60_000)).toEqual([undefined]);
    const { error, events } = await run(
      async function* () {
        yield segment('whole');
        await redis.config('SET', 'maxmemory', '1');
        yield finish;
      },
      { chatPart: partOf(key) },
    );
    expect(error).toMatchObject({ code: 'storage_full' });
    expect(events.map(({ type }) => type)).toEqual(['job-claim']);
  });
});
