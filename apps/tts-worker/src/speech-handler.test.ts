import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { createResampler } from '@antiphon/shared/audio/pcm';
import { JobProducer } from '@antiphon/shared/queue/job-producer';
import { openRedis } from '@antiphon/shared/queue/redis';
import { createLogger } from '@antiphon/shared/runtime/logger';
import type { PcmChunk, SpeechRequest, TTSService } from '@antiphon/shared/services/tts-service';
import { StreamLog } from '@antiphon/shared/streams/stream-log';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSpeechHandler } from './speech-handler.ts';

let server: RedisServer;
let redis: ReturnType<typeof openRedis>;
let log: StreamLog;
let jobs: JobProducer;
const QUEUE = 'tts-test';

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: () => undefined });
  log = new StreamLog(redis);
  jobs = new JobProducer(redis, () => undefined);
});
afterAll(async () => {
  await jobs.close();
  redis.disconnect();
  await server.close();
});

type Synthesize = (request: SpeechRequest, signal: AbortSignal) => AsyncIterable<PcmChunk>;
const engine = (synthesize: Synthesize, options: Partial<TTSService> = {}): TTSService => ({
  deterministic: true,
  parallelPhrases: 2,
  maxPhraseCharacters: 300,
  listVoices: async () => ({ models: ['m'], voices: 'any' }),
  canSpeak: () => true,
  synthesize,
  close: async () => undefined,
  ...options,
});

/** A tone of `seconds` in chunks of an odd length, so that their edges fit nothing. */
function toneAt(sampleRateHz: number, seconds: number) {
  const samples = Int16Array.from({ length: sampleRateHz * seconds }, (_, index) =>
    Math.round(8000 * Math.sin((index * 2 * Math.PI * 440) / sampleRateHz)),
  );
  const pcm = Buffer.from(samples.buffer);
  const chunks: PcmChunk[] = [];
  for (let start = 0; start < pcm.length; start += 5002) {
    chunks.push({ pcm: pcm.subarray(start, start + 5002), sampleRateHz });
  }
  return { pcm, chunks };
}
const playing = (chunks: PcmChunk[]): Synthesize =>
  async function* () {
    yield* chunks;
  };

async function open(phraseCount = 1) {
  const streamId = await log.open({
    ...{
      tenantId: 'default',
      gatewayId: 'g1',
      kind: 'speech',
      model: 'm',
      queueName: 'q',
      maxLogBytes: 1e8,
    },
    ...{ ttlMs: 60_000, logTtlMs: 30_000, phraseCount, parallelPhrases: 1, aheadSamples: 1e9 },
    speech: JSON.stringify({
      queueName: QUEUE,
      job: { version: 1, tenantId: 'default', gatewayId: 'g1', model: 'm', voice: 'v', speed: 1 },
    }),
  });
  await log.addPhrases(
    streamId,
    0,
    Array.from({ length: phraseCount }, (_, index) => ({ text: `Phrase ${index}.` })),
  );
  await log.release(streamId);
  return streamId;
}

interface RunOptions {
  fallback?: TTSService;
  signal?: AbortSignal;
}

async function run(streamId: string, service: TTSService, { fallback, signal }: RunOptions = {}) {
  const claim = await log.claim(streamId, 'phrase-0', 'w1');
  const logger = createLogger('tts-worker', 'fatal');
  const handler = createSpeechHandler({ service, fallback, log, jobs, logger });
  const job = {
    ...{ version: 1 as const, streamId, tenantId: 'default', gatewayId: 'g1', model: 'm' },
    ...{ phraseIndex: 0, text: 'Hello.', voice: 'v', speed: 1 },
  };
  const producer = log.producer(streamId, 'phrase-0', claim);
  const context = { job, claim, producer, signal: signal ?? new AbortController().signal };
  return handler(context).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
}

async function audioOf(streamId: string) {
  const { entries } = await log.read(streamId, 1, 1000);
  const deltas = entries.flatMap(({ event }) => (event.type === 'audio-delta' ? [event] : []));
  expect(deltas.map(({ chunkIndex }) => chunkIndex)).toEqual(deltas.map((_, index) => index));
  return {
    pcm: Buffer.concat(deltas.map(({ pcm }) => pcm)),
    ended: entries.filter(({ event }) => event.type === 'audio-end').length,
    largest: Math.max(0, ...deltas.map(({ pcm }) => pcm.length)),
    chunks: deltas.length,
  };
}

describe('a phrase', () => {
  it('is its audio in entries of half a second, then its end', async () => {
    const { pcm, chunks } = toneAt(24_000, 3);
    const streamId = await open();
    expect(await run(streamId, engine(playing(chunks)))).toBeUndefined();
    const audio = await audioOf(streamId);
    expect(audio).toMatchObject({ ended: 1 });
    expect(audio.pcm.equals(pcm)).toBe(true);
    expect(audio.largest).toBeLessThanOrEqual(24_000);
    expect((await log.state(streamId))?.['status']).toBe('done');
  });

  it('of another rate comes at 24 kHz', async () => {
    const { pcm, chunks } = toneAt(16_000, 2);
    const streamId = await open();
    await run(streamId, engine(playing(chunks)));
    const resampler = createResampler(16_000, 24_000);
    const expected = Buffer.concat([resampler.push(pcm), resampler.end()]);
    expect(expected.length).toBe(2 * 24_000 * 2);
    expect((await audioOf(streamId)).pcm.equals(expected)).toBe(true);
  });

  it('releases the next one', async () => {
    const streamId = await open(2);
    await run(streamId, engine(playing(toneAt(24_000, 1).chunks)));
    const data = await redis.hget(`bull:${QUEUE}:${streamId}-1`, 'data');
    expect(JSON.parse(data ?? '{}')).toMatchObject({ phraseIndex: 1, text: 'Phrase 1.' });
  });
});

describe('an engine', () => {
  const loud = playing(toneAt(24_000, 1).chunks);
  const mute = engine(loud, { canSpeak: () => false });

  it('that cannot speak the text leaves it to the fallback', async () => {
    const streamId = await open();
    const asked: string[] = [];
    const fallback = engine(async function* ({ text }) {
      asked.push(text);
      yield* toneAt(22_050, 1).chunks;
    });
    await run(streamId, mute, { fallback });
    expect(asked).toEqual(['Hello.']);
    expect((await audioOf(streamId)).pcm.length).toBeGreaterThan(40_000);
  });

  it('without a fallback that can: text_not_speakable', async () => {
    for (const options of [{}, { fallback: mute }]) {
      expect(await run(await open(), mute, options)).toMatchObject({ code: 'text_not_speakable' });
    }
  });

  it('is tried once more before its first sample', async () => {
    let tries = 0;
    const streamId = await open();
    const service = engine(async function* (request, signal) {
      tries += 1;
      if (tries === 1) throw new VoiceError('upstream_unavailable');
      yield* loud(request, signal);
    });
    expect(await run(streamId, service)).toBeUndefined();
    expect(tries).toBe(2);
    expect(await audioOf(streamId)).toMatchObject({ ended: 1 });
  });

  it.each([
    ['a second time', 'upstream_unavailable', 2],
    ['for good', 'upstream_auth', 1],
  ] as const)('that fails %s ends the stream with its error', async (_name, code, expected) => {
    let tries = 0;
    // oxlint-disable-next-line require-yield
    const service = engine(async function* () {
      tries += 1;
      throw new VoiceError(code);
    });
    expect(await run(await open(), service)).toMatchObject({ code });
    expect(tries).toBe(expected);
  });

  it('that fails after its first sample is not tried again', async () => {
    let tries = 0;
    const streamId = await open();
    const service = engine(async function* () {
      tries += 1;
      yield* toneAt(24_000, 1).chunks;
      throw new TypeError('broken');
    });
    expect(await run(streamId, service)).toMatchObject({ code: 'engine_failed' });
    expect(tries).toBe(1);
    expect(await audioOf(streamId)).toMatchObject({ ended: 0 });
  });

  it('is not tried again after the signal', async () => {
    let tries = 0;
    const stopped = new AbortController();
    // oxlint-disable-next-line require-yield
    const service = engine(async function* (_request, signal) {
      tries += 1;
      stopped.abort(new VoiceError('stream_cancelled'));
      throw signal.reason;
    });
    const error = await run(await open(), service, { signal: stopped.signal });
    expect(error).toMatchObject({ code: 'stream_cancelled' });
    expect(tries).toBe(1);
  });
});

describe('a phrase whose worker died', () => {
  const dying = (chunks: PcmChunk[], after: number): Synthesize =>
    async function* () {
      yield* chunks.slice(0, after);
      throw new Error('killed');
    };

  it.each([
    [24_000, 1],
    [24_000, 7],
    [16_000, 5],
    [22_050, 11],
  ])('at %i Hz after %i chunks goes on to the same audio', async (sampleRateHz, after) => {
    const { chunks } = toneAt(sampleRateHz, 2);
    const [undisturbed, disturbed] = [await open(), await open()];
    await run(undisturbed, engine(playing(chunks)));
    await run(disturbed, engine(dying(chunks, after)));
    const before = await audioOf(disturbed);
    expect(before.chunks).toBeGreaterThan(0);
    // Cut otherwise the second time, as another thread's timing would.
    const pcm = Buffer.concat(chunks.map((chunk) => chunk.pcm));
    const recut = [pcm.subarray(0, 31_001), pcm.subarray(31_001)];
    const again = engine(playing(recut.map((part) => ({ pcm: part, sampleRateHz }))));
    expect(await run(disturbed, again)).toBeUndefined();
    const [one, other] = [await audioOf(undisturbed), await audioOf(disturbed)];
    expect(other.pcm.length).toBe(one.pcm.length);
    expect(other.pcm.equals(one.pcm)).toBe(true);
    expect(other.ended).toBe(1);
  });

  it('is not spoken again by an engine that says it differently each time', async () => {
    const { chunks } = toneAt(24_000, 1);
    const streamId = await open();
    await run(streamId, engine(dying(chunks, 3)));
    const service = engine(playing(chunks), { deterministic: false });
    expect(await run(streamId, service)).toMatchObject({ code: 'stream_interrupted' });
  });
});

it('stops when the stream is over', async () => {
  const streamId = await open();
  let chunks = 0;
  const service = engine(async function* () {
    for (;;) {
      chunks += 1;
      if (chunks === 3) await log.finish(streamId, new VoiceError('stream_cancelled'));
      yield { pcm: Buffer.alloc(1000), sampleRateHz: 24_000 };
    }
  });
  expect(await run(streamId, service)).toMatchObject({ name: 'StreamClosed' });
  expect(chunks).toBe(3);
});
