import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { AUDIO_FORMATS, SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import { createBatchId, lineFileId } from '@antiphon/shared/batches/batch-key';
import type { LineContext } from '@antiphon/shared/batches/line-handler';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { blobIdOf, type FileRecord } from '@antiphon/shared/files/file-record';
import type { SpeechLine } from '@antiphon/shared/jobs/batch-line-job';
import { openRedis, whenReady } from '@antiphon/shared/queue/redis';
import type { PcmChunk, SpeechRequest, TTSService } from '@antiphon/shared/services/tts-service';
import { type BlobStore, openDiskBlobStore } from '@antiphon/shared/storage/blob-store';
import { SpeechCache } from '@antiphon/shared/storage/speech-cache';
import { decodeToPcm } from '@antiphon/testing/decode-audio';
import { startRedis } from '@antiphon/testing/redis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { flite } from '../engines/flite.ts';
import { PhraseCache } from '../phrase-cache.ts';
import { EncoderPool } from './encoder-pool.ts';
import { createSpeechLineHandler, type SpeechLineOptions } from './speech-line-handler.ts';

const PHRASES: SpeechLine['phrases'] = [
  { text: 'Good morning to everybody.', pause: 'sentence' },
  { text: 'This is the second phrase.', pause: 'paragraph' },
];

let directory: string;
let fileBlobs: BlobStore;
let encoders: EncoderPool;
let real: TTSService;
/** Turns that are taken now, and the most that were at once. */
let turns = { now: 0, most: 0, all: 0 };

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'antiphon-speech-lines-'));
  fileBlobs = await openDiskBlobStore(directory);
  encoders = new EncoderPool(2);
  const warn = (message: string) => expect.fail(message);
  real = await flite.createFrom({}, { concurrency: 2, warn });
});
beforeEach(() => {
  turns = { now: 0, most: 0, all: 0 };
});
afterAll(async () => {
  await Promise.all([real.close(), encoders.close()]);
  await rm(directory, { recursive: true });
});

function contextOf(work: Partial<SpeechLine> = {}, signal = new AbortController().signal) {
  const context: LineContext<'speech'> = {
    job: {
      ...{ version: 1, batchId: createBatchId(), line: 4, tenantId: 't', model: 'flite' },
      work: {
        ...{ type: 'speech', phrases: PHRASES, voice: 'slt', speed: 1, format: 'wav' },
        ...{ expiresAtSeconds: 4_000_000_000, ...work },
      },
    },
    signal,
    takeTurn: async () => {
      turns.now += 1;
      turns.all += 1;
      turns.most = Math.max(turns.most, turns.now);
      return () => {
        turns.now -= 1;
      };
    },
  };
  return context;
}

const handlerOf = (options: Partial<SpeechLineOptions> = {}) =>
  createSpeechLineHandler({ service: real, fallback: undefined, encoders, fileBlobs, ...options });

async function bytesOf(file: FileRecord | undefined): Promise<Buffer> {
  const blob = file && (await fileBlobs.get(blobIdOf(file)));
  if (!blob) throw new Error(`no blob of ${file?.id}`);
  return buffer(blob);
}

const hasSound = async ({ job }: LineContext<'speech'>) =>
  (await readdir(directory)).some((name) => name.startsWith(lineFileId(job.batchId, job.line)));

type Synthesize = (request: SpeechRequest, signal: AbortSignal) => AsyncIterable<PcmChunk>;
const engine = (synthesize: Synthesize, options: Partial<TTSService> = {}): TTSService => ({
  ...{ deterministic: true, parallelPhrases: 2, maxPhraseCharacters: 300, canSpeak: () => true },
  listVoices: async () => ({ models: ['m'], voices: 'any' }),
  synthesize,
  close: async () => undefined,
  ...options,
});
const chunk = (samples: number): PcmChunk => ({
  pcm: new Uint8Array(Int16Array.from({ length: samples }, () => 8000).buffer),
  sampleRateHz: SAMPLE_RATE_HZ,
});

describe('a line of speech', () => {
  it.each(AUDIO_FORMATS)('becomes a file of %s that is as long as it says', async (format) => {
    const context = contextOf({ format });
    const { result, file } = await handlerOf()(context);
    if (result.type !== 'speech') throw new Error(result.type);
    const fileId = lineFileId(context.job.batchId, 4);
    const bytes = await bytesOf(file);
    expect(result).toMatchObject({ model: 'flite', voice: 'slt', format, fileId });
    expect(result.bytes).toBe(bytes.length);
    expect(file).toMatchObject({
      ...{ id: fileId, tenantId: 't', bytes: bytes.length, purpose: 'batch_output' },
      ...{ filename: `line-5.${format}`, expiresAtSeconds: 4_000_000_000 },
    });
    const samples =
      format === 'pcm'
        ? bytes.length / 2
        : (await decodeToPcm(bytes, { sampleRateHz: SAMPLE_RATE_HZ })).length;
    // Decoders of lossy codecs give whole frames, and what the encoder put before the sound.
    const heardMs = (samples * 1000) / SAMPLE_RATE_HZ;
    expect(heardMs).toBeGreaterThanOrEqual(result.durationMs - 1);
    expect(heardMs).toBeLessThan(result.durationMs + 130);
    expect(result.durationMs).toBeGreaterThan(3000);
    expect(turns).toMatchObject({ now: 0, most: 1, all: 2 });
  });

  it('is the same bytes in every run, each in a blob of its own', async () => {
    const context = contextOf({ format: 'mp3' });
    const runs = await Promise.all([handlerOf()(context), handlerOf()(context)]);
    const [first, second] = await Promise.all(runs.map(({ file }) => bytesOf(file)));
    expect(first?.equals(second ?? Buffer.of())).toBe(true);
    expect(new Set(runs.map(({ file }) => file?.id)).size).toBe(1);
    expect(new Set(runs.map(({ file }) => file?.blobId)).size).toBe(2);
  });

  it('asks the engine in the background, and takes no turn while it encodes', async () => {
    const requests: SpeechRequest[] = [];
    const service = engine(async function* (request) {
      requests.push(request);
      expect(turns.now).toBe(1);
      yield chunk(1000);
    });
    await handlerOf({ service })(contextOf({ speed: 1.5, instructions: 'Softly.' }));
    expect(requests.map(({ text }) => text)).toEqual(PHRASES.map(({ text }) => text));
    expect(requests[0]).toMatchObject({ background: true, speed: 1.5, instructions: 'Softly.' });
    expect(turns.now).toBe(0);
  });

  it('is spoken by the second engine where the first one cannot', async () => {
    const service = engine(() => expect.fail('asked'), { canSpeak: () => false });
    const { result } = await handlerOf({ service, fallback: real })(contextOf());
    expect(result).toMatchObject({ type: 'speech' });
    await expect(handlerOf({ service })(contextOf())).rejects.toMatchObject({
      code: 'text_not_speakable',
      param: 'input',
    });
  });

  it('without a phrase is a file without sound', async () => {
    const { result } = await handlerOf()(contextOf({ phrases: [] }));
    expect(result).toMatchObject({ bytes: 44, durationMs: 0 });
  });

  it('takes phrases that were spoken before from the cache, and keeps new ones', async () => {
    const server = await startRedis();
    const redis = openRedis(server.url, { role: 'patient', onError: () => undefined });
    try {
      await whenReady(redis);
      let runs = 0;
      const limits = {
        maxBytes: 1e6,
        ttlMs: 60_000,
        onFailure: (error: unknown) => {
          throw error;
        },
      };
      const cache = new PhraseCache(new SpeechCache(redis, limits), 'tenant');
      const service = engine(
        async function* () {
          runs += 1;
          yield chunk(1000);
        },
        { fingerprint: 'x' },
      );
      const first = await bytesOf((await handlerOf({ service, cache })(contextOf())).file);
      const second = await bytesOf((await handlerOf({ service, cache })(contextOf())).file);
      expect(runs).toBe(2);
      expect(turns.all).toBe(2);
      expect(first.equals(second)).toBe(true);
    } finally {
      redis.disconnect();
      await server.close();
    }
  });
});

describe('a failure', () => {
  /** Fails so often, in the middle of a phrase. */
  const failing = (times: number, error: VoiceError) => {
    let runs = 0;
    const service = engine(async function* () {
      runs += 1;
      yield chunk(500);
      if (runs <= times) throw error;
      yield chunk(500);
    });
    return { service, runs: () => runs };
  };

  it('of a phrase is tried once more, and nothing of the first try is heard', async () => {
    const { service, runs } = failing(1, new VoiceError('upstream_protocol'));
    const phrases = [{ text: 'One.' }];
    const { result } = await handlerOf({ service })(contextOf({ phrases, format: 'pcm' }));
    expect(result).toMatchObject({ bytes: 2000 });
    expect(runs()).toBe(2);
  });

  it.each([
    [new VoiceError('upstream_protocol'), 2],
    [new VoiceError('upstream_rejected'), 1],
    [new VoiceError('rate_limit_exceeded', { retryAfterSeconds: 9 }), 1],
    [new VoiceError('server_shutting_down', { retryAfterSeconds: 1 }), 1],
  ])('%s fails the line, and leaves no file and no turn', async (error, tries) => {
    const { service, runs } = failing(9, error);
    const context = contextOf({ format: 'mp3' });
    await expect(handlerOf({ service })(context)).rejects.toBe(error);
    expect(runs()).toBe(tries);
    expect(turns.now).toBe(0);
    expect(await hasSound(context)).toBe(false);
  });

  it('an abort in the middle leaves no file', async () => {
    const stop = new AbortController();
    const service = engine(async function* (_request, signal) {
      yield chunk(500);
      stop.abort(new Error('over'));
      signal.throwIfAborted();
    });
    const context = contextOf({}, stop.signal);
    await expect(handlerOf({ service })(context)).rejects.toThrow('over');
    expect(await hasSound(context)).toBe(false);
    expect(turns.now).toBe(0);
  });
});
