import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { createResampler } from '@antiphon/shared/audio/pcm';
import { PAUSE_MS } from '@antiphon/shared/audio/silence-trimmer';
import type { Pause } from '@antiphon/shared/text/pause';
import { JobProducer } from '@antiphon/shared/queue/job-producer';
import { openRedis } from '@antiphon/shared/queue/redis';
import type { SpeechJob } from '@antiphon/shared/jobs/job-catalog';
import { createLogger } from '@antiphon/shared/runtime/logger';
import type { PcmChunk, SpeechRequest, TTSService } from '@antiphon/shared/services/tts-service';
import { SpeechCache } from '@antiphon/shared/storage/speech-cache';
import { StreamLog } from '@antiphon/shared/streams/stream-log';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type CacheScope, PhraseCache } from './phrase-cache.ts';
import { createSpeechGiveUp, createSpeechHandler } from './speech-handler.ts';

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
  return chunksOf(Buffer.from(samples.buffer), sampleRateHz);
}
function chunksOf(pcm: Buffer, sampleRateHz: number) {
  const chunks: PcmChunk[] = [];
  for (let start = 0; start < pcm.length; start += 5002) {
    chunks.push({ pcm: pcm.subarray(start, start + 5002), sampleRateHz });
  }
  return { pcm, chunks };
}
/** As an engine gives it: silence, two words with a pause between them, silence. */
function spokenAt(sampleRateHz: number) {
  const silence = Buffer.alloc(Math.round(sampleRateHz * 0.3) * 2);
  const word = toneAt(sampleRateHz, 1).pcm;
  return chunksOf(Buffer.concat([silence, word, silence, word, silence]), sampleRateHz);
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
  cache?: PhraseCache;
  signal?: AbortSignal;
  job?: Partial<SpeechJob>;
}

/** Warnings of the run. */
const lines: { message: string; [field: string]: unknown }[] = [];
beforeEach(() => lines.splice(0));

async function run(streamId: string, service: TTSService, options: RunOptions = {}) {
  const { fallback, cache, signal } = options;
  const claim = await log.claim(streamId, 'phrase-0', 'w1');
  const logger = createLogger('tts-worker', 'fatal');
  logger.warn = ((fields: object, message: string) => {
    lines.push({ ...fields, message });
  }) as typeof logger.warn;
  const handler = createSpeechHandler({ service, fallback, cache, log, jobs, logger });
  const job = {
    ...{ version: 1 as const, streamId, tenantId: 'default', gatewayId: 'g1', model: 'm' },
    ...{ phraseIndex: 0, text: 'Hello.', voice: 'v', speed: 1 },
    ...options.job,
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
    errors: entries.flatMap(({ event }) => (event.type === 'phrase-error' ? [event] : [])),
    largest: Math.max(0, ...deltas.map(({ pcm }) => pcm.length)),
    chunks: deltas.length,
    cache: [...new Set(deltas.map(({ cache }) => cache))],
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

describe('a phrase with a pause', () => {
  it.each(Object.entries(PAUSE_MS) as [Pause, number][])(
    'of %s has that silence behind it, 15 ms before it, and its own in the middle',
    async (pause, pauseMs) => {
      const streamId = await open();
      await run(streamId, engine(playing(spokenAt(24_000).chunks)), { job: { pause } });
      const { pcm, ended } = await audioOf(streamId);
      expect(ended).toBe(1);
      // 300 ms of silence between two words of a second.
      expect(pcm.length / 2).toBe(24 * (2300 + pauseMs));
      expect(pcm.subarray(0, 24 * 15 * 2).every((byte) => byte === 0)).toBe(true);
      expect(pcm.readInt16LE((24 * 15 + 1) * 2)).not.toBe(0);
    },
  );

  it('is heard before the engine has finished it', async () => {
    const { chunks } = spokenAt(24_000);
    const streamId = await open();
    const heard = Promise.withResolvers<void>();
    const service = engine(async function* () {
      yield* chunks.slice(0, 5);
      await heard.promise;
      yield* chunks.slice(5);
    });
    const running = run(streamId, service, { job: { pause: 'sentence' } });
    await until(async () => (await audioOf(streamId)).chunks > 0);
    heard.resolve();
    expect(await running).toBeUndefined();
  });

  it('that an engine has nothing to say to is the pause', async () => {
    const streamId = await open();
    await run(streamId, engine(playing([])), { job: { pause: 'clause' } });
    expect(await audioOf(streamId)).toMatchObject({ ended: 1, pcm: Buffer.alloc(24 * 80 * 2) });
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

  it.each([
    ['before its first sound', 24_000, 2],
    ['within its first word', 24_000, 5],
    ['within its first word', 16_000, 4],
    ['within its pause', 24_000, 14],
    ['within its second word', 22_050, 17],
    ['within the silence at its end', 24_000, 25],
  ] as const)('%s, at %i Hz, gets the same silences', async (_place, sampleRateHz, after) => {
    const { chunks, pcm } = spokenAt(sampleRateHz);
    const job = { pause: 'sentence' } as const;
    const [undisturbed, disturbed] = [await open(), await open()];
    await run(undisturbed, engine(playing(chunks)), { job });
    await run(disturbed, engine(dying(chunks, after)), { job });
    const recut = [pcm.subarray(0, 20_001), pcm.subarray(20_001, 50_000), pcm.subarray(50_000)];
    const again = engine(playing(recut.map((part) => ({ pcm: part, sampleRateHz }))));
    expect(await run(disturbed, again, { job })).toBeUndefined();
    const [one, other] = [await audioOf(undisturbed), await audioOf(disturbed)];
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

describe('a phrase that its workers died of', () => {
  const job: SpeechJob = {
    ...{ version: 1, tenantId: 'default', gatewayId: 'g1', model: 'm', voice: 'v', speed: 1 },
    ...{ streamId: '', phraseIndex: 0, text: 'Phrase 0.' },
  };
  const giveUp = (streamId: string, onPhraseError: 'skip' | 'fail') =>
    createSpeechGiveUp({ log, jobs })({ ...job, streamId, onPhraseError }, 'w3');

  it('fails alone where it may, and the next one runs', async () => {
    const streamId = await open(2);
    await log.claim(streamId, 'phrase-0', 'w1');
    await giveUp(streamId, 'skip');
    expect((await audioOf(streamId)).errors).toMatchObject([
      { phraseIndex: 0, error: { code: 'stream_interrupted' } },
    ]);
    expect((await log.state(streamId))?.['status']).toBe('open');
    expect(await redis.exists(`bull:${QUEUE}:${streamId}-1`)).toBe(1);
    await giveUp(streamId, 'skip'); // it has its end already
    expect((await audioOf(streamId)).errors).toHaveLength(1);
  });

  it('ends its stream where it may not', async () => {
    const streamId = await open(2);
    await log.claim(streamId, 'phrase-0', 'w1');
    await giveUp(streamId, 'fail');
    expect((await log.state(streamId))?.['status']).toBe('error');
  });
});

describe('a phrase that may fail alone', () => {
  const job = { onPhraseError: 'skip' } as const;
  const { chunks } = toneAt(24_000, 1);
  /** Throws each time, after what it has said; counts the tries. */
  function failing(error: Error, said: PcmChunk[] = [], options: Partial<TTSService> = {}) {
    const counted = { tries: 0, service: engine(synthesize, options) };
    async function* synthesize() {
      counted.tries += 1;
      yield* said;
      throw error;
    }
    return counted;
  }

  it.each([
    ['twice', new VoiceError('upstream_unavailable'), 'upstream_unavailable', 2],
    ['for good', new VoiceError('upstream_auth'), 'upstream_auth', 1],
    ['in a way of its own', new TypeError('Hello. broke it'), 'engine_failed', 2],
  ] as const)('ends with its error when the engine fails %s', async (_name, error, code, tries) => {
    const streamId = await open(2);
    const counted = failing(error);
    expect(await run(streamId, counted.service, { job })).toBeUndefined();
    expect(counted.tries).toBe(tries);
    const { errors, ended, chunks: heard } = await audioOf(streamId);
    expect(errors).toMatchObject([{ phraseIndex: 0, error: { code } }]);
    expect({ ended, heard }).toEqual({ ended: 0, heard: 0 });
    expect((await log.state(streamId))?.['status']).toBe('open');
    // The next one runs.
    expect(await redis.exists(`bull:${QUEUE}:${streamId}-1`)).toBe(1);
    const told = lines.filter(({ message }) => message === 'phrase failed');
    expect(told).toEqual([{ message: 'phrase failed', streamId, phraseIndex: 0, code }]);
  });

  it('and is the last one ends the stream well', async () => {
    const streamId = await open();
    await run(streamId, failing(new VoiceError('upstream_auth')).service, { job });
    expect((await log.state(streamId))?.['status']).toBe('done');
  });

  it('keeps what was heard of it', async () => {
    const streamId = await open();
    const counted = failing(new VoiceError('upstream_unavailable'), chunks);
    expect(await run(streamId, counted.service, { job })).toBeUndefined();
    expect(counted.tries).toBe(1);
    const { pcm, errors } = await audioOf(streamId);
    expect(pcm.length).toBe(48_000);
    expect(errors).toMatchObject([{ error: { code: 'upstream_unavailable' } }]);
  });

  it('ends so where no engine can speak it', async () => {
    const streamId = await open();
    const mute = engine(playing(chunks), { canSpeak: () => false });
    expect(await run(streamId, mute, { job })).toBeUndefined();
    expect((await audioOf(streamId)).errors).toMatchObject([
      { error: { code: 'text_not_speakable', param: 'input' } },
    ]);
  });

  it('ends so where its worker died and its engine would say the rest differently', async () => {
    const streamId = await open();
    await run(streamId, failing(new Error('killed'), chunks.slice(0, 3)).service);
    const service = engine(playing(chunks), { deterministic: false });
    expect(await run(streamId, service, { job })).toBeUndefined();
    const { errors, chunks: heard } = await audioOf(streamId);
    expect(errors).toMatchObject([{ error: { code: 'stream_interrupted' } }]);
    expect(heard).toBe(3);
  });

  it('does not when it may not', async () => {
    const streamId = await open();
    const { service } = failing(new VoiceError('upstream_auth'));
    const error = await run(streamId, service, { job: { onPhraseError: 'fail' } });
    expect(error).toMatchObject({ code: 'upstream_auth' });
    expect((await audioOf(streamId)).errors).toEqual([]);
  });

  it('does not when the engine is closed under it', async () => {
    const streamId = await open();
    const { service } = failing(new VoiceError('server_shutting_down'), chunks);
    const error = await run(streamId, service, { job });
    expect(error).toMatchObject({ code: 'server_shutting_down' });
    expect((await audioOf(streamId)).errors).toEqual([]);
  });

  it('does not after the signal', async () => {
    const streamId = await open();
    const stopped = new AbortController();
    const service = engine(async function* () {
      yield* chunks;
      stopped.abort(new VoiceError('stream_cancelled'));
      throw new VoiceError('upstream_unavailable');
    });
    const error = await run(streamId, service, { job, signal: stopped.signal });
    expect(error).toMatchObject({ code: 'stream_cancelled' });
    expect((await audioOf(streamId)).errors).toEqual([]);
  });

  it('does not when the stream is over', async () => {
    const streamId = await open();
    const service = engine(async function* () {
      await log.finish(streamId, new VoiceError('stream_cancelled'));
      yield* chunks;
    });
    expect(await run(streamId, service, { job })).toMatchObject({ name: 'StreamClosed' });
    expect((await audioOf(streamId)).errors).toEqual([]);
  });

  it('does not when the storage is full', async () => {
    const streamId = await open();
    const service = engine(async function* () {
      await redis.config('SET', 'maxmemory', '1');
      yield* chunks;
    });
    const error = await run(streamId, service, { job });
    await redis.config('SET', 'maxmemory', '0');
    expect(error).toMatchObject({ code: 'storage_full' });
    expect((await audioOf(streamId)).errors).toEqual([]);
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

describe('the cache', () => {
  const cacheOf = (scope: CacheScope, maxBytes = 1e8) =>
    new PhraseCache(
      new SpeechCache(redis, {
        ...{ maxBytes, ttlMs: 60_000 },
        onFailure: (error) => {
          throw error;
        },
      }),
      scope,
    );
  /** Says something else each time, as a neural voice may; counts how often it is asked. */
  function counting(options: Partial<TTSService> = {}, sampleRateHz = 22_050) {
    const counted = { asked: 0, service: engine(synthesize, { fingerprint: 'f', ...options }) };
    async function* synthesize() {
      counted.asked += 1;
      const { pcm } = spokenAt(sampleRateHz);
      for (let at = 0; at < pcm.length - 1; at += 2) {
        pcm.writeInt16LE(Math.round(pcm.readInt16LE(at) / counted.asked), at);
      }
      yield* chunksOf(pcm, sampleRateHz).chunks;
    }
    return counted;
  }
  const cached = async () =>
    Number((await redis.hget('antiphon:{speech-cache}:sizes', 'total')) ?? 0);
  const job = { pause: 'sentence' } as const;
  beforeEach(async () => {
    const keys = await redis.keys('antiphon:{speech-cache}:*');
    if (keys.length > 0) await redis.del(...keys);
  });

  it('gives the same sound, and asks no engine', async () => {
    const [first, second] = [await open(), await open()];
    const { service } = counting({ deterministic: false });
    await run(first, service, { cache: cacheOf('tenant'), job });
    const silent = engine(
      // oxlint-disable-next-line require-yield
      async function* () {
        throw new VoiceError('upstream_unavailable');
      },
      { fingerprint: 'f', deterministic: false },
    );
    expect(await run(second, silent, { cache: cacheOf('tenant'), job })).toBeUndefined();
    const [one, other] = [await audioOf(first), await audioOf(second)];
    expect(one).toMatchObject({ ended: 1, cache: ['miss'] });
    expect(other).toMatchObject({ ended: 1, cache: ['hit'] });
    expect(other.pcm.equals(one.pcm)).toBe(true);
    expect(other.largest).toBeLessThanOrEqual(24_000);
    expect(await log.state(first)).not.toHaveProperty('cached');
    expect(await log.state(second)).toMatchObject({ status: 'done', ended: '1', cached: '1' });
  });

  it.each([
    ['text', { text: 'Hello!' }],
    ['voice', { voice: 'w' }],
    ['model', { model: 'n' }],
    ['speed', { speed: 1.1 }],
    ['pause', { pause: 'clause' }],
    ['language', { language: 'de' }],
    ['instructions', { instructions: 'Whisper.' }],
    ['tenant', { tenantId: 'another' }],
  ] as const)('has nothing for another %s', async (_name, other) => {
    const counted = counting();
    const cache = cacheOf('tenant');
    await run(await open(), counted.service, { cache, job });
    await run(await open(), counted.service, { cache, job });
    expect(counted.asked).toBe(1);
    await run(await open(), counted.service, { cache, job: { ...job, ...other } });
    expect(counted.asked).toBe(2);
  });

  it('is the same for all tenants only where it is shared', async () => {
    const counted = counting();
    const cache = cacheOf('shared');
    await run(await open(), counted.service, { cache });
    await run(await open(), counted.service, { cache, job: { tenantId: 'another' } });
    expect(counted.asked).toBe(1);
    await run(await open(), counted.service, { cache: cacheOf('tenant') });
    expect(counted.asked).toBe(2);
  });

  it('has nothing for another engine, another version, or a fallback', async () => {
    const cache = cacheOf('tenant');
    const [one, other] = [counting(), counting({ fingerprint: 'g' })];
    const mute = counting({ canSpeak: () => false });
    await run(await open(), one.service, { cache });
    await run(await open(), mute.service, { fallback: other.service, cache });
    expect([one.asked, other.asked]).toEqual([1, 1]);
    await run(await open(), mute.service, { fallback: other.service, cache });
    expect(other.asked).toBe(1);
  });

  it('is not asked for an engine that does not say what decides its sound, nor when it is off', async () => {
    const plain = engine(playing(spokenAt(24_000).chunks));
    const streamId = await open();
    await run(streamId, plain, { cache: cacheOf('tenant') });
    const { service } = counting();
    const off = await open();
    await run(off, service);
    expect(await cached()).toBe(0);
    for (const id of [streamId, off]) expect((await audioOf(id)).cache).toEqual([undefined]);
  });

  it('keeps nothing of a phrase that failed, was stopped, or is too long', async () => {
    const cache = cacheOf('tenant');
    const { chunks } = toneAt(24_000, 1);
    const failing = engine(
      async function* () {
        yield* chunks;
        throw new VoiceError('upstream_protocol');
      },
      { fingerprint: 'f' },
    );
    await run(await open(), failing, { cache, job: { onPhraseError: 'skip' } });
    await run(await open(), failing, { cache });
    const stopped = await open();
    const stopping = engine(
      async function* () {
        yield* chunks.slice(0, 5);
        await log.finish(stopped, new VoiceError('stream_cancelled'));
        yield* chunks.slice(5);
      },
      { fingerprint: 'f' },
    );
    expect(await run(stopped, stopping, { cache })).toMatchObject({ name: 'StreamClosed' });
    const long = engine(playing(toneAt(24_000, 25).chunks), { fingerprint: 'f' });
    expect(await run(await open(), long, { cache })).toBeUndefined();
    expect(await cached()).toBe(0);
  });

  it('keeps of a phrase that was tried twice what was heard', async () => {
    const cache = cacheOf('tenant');
    let tries = 0;
    const service = engine(
      async function* () {
        tries += 1;
        yield { pcm: Buffer.alloc(0), sampleRateHz: 24_000 };
        if (tries === 1) throw new VoiceError('upstream_unavailable');
        yield* toneAt(24_000, 1).chunks;
      },
      { fingerprint: 'f' },
    );
    const [first, second] = [await open(), await open()];
    await run(first, service, { cache });
    await run(second, service, { cache });
    expect(tries).toBe(2);
    expect((await audioOf(second)).pcm.equals((await audioOf(first)).pcm)).toBe(true);
  });

  it('goes on where a worker died', async () => {
    const cache = cacheOf('tenant');
    const { chunks } = spokenAt(16_000);
    const options = { fingerprint: 'f' };
    const [undisturbed, disturbed] = [await open(), await open()];
    const dying = engine(async function* () {
      yield* chunks.slice(0, 6);
      throw new Error('killed');
    }, options);
    await run(disturbed, dying, { cache, job });
    await run(undisturbed, engine(playing(chunks), options), { cache, job });
    expect(await run(disturbed, dying, { cache, job })).toBeUndefined();
    const [one, other] = [await audioOf(undisturbed), await audioOf(disturbed)];
    expect(other.cache).toEqual(['miss', 'hit']);
    expect(other.pcm.equals(one.pcm)).toBe(true);
    expect(other.ended).toBe(1);
  });

  it('does not go on where an engine had begun to say it differently', async () => {
    const cache = cacheOf('tenant');
    const { chunks } = spokenAt(24_000);
    const options = { fingerprint: 'f', deterministic: false };
    const dying = engine(async function* () {
      yield* chunks.slice(0, 6);
      throw new Error('killed');
    }, options);
    const streamId = await open();
    await run(streamId, dying, { cache, job });
    await run(await open(), engine(playing(chunks), options), { cache, job });
    expect(await cached()).toBeGreaterThan(0);
    expect(await run(streamId, dying, { cache, job })).toMatchObject({
      code: 'stream_interrupted',
    });
  });
});
