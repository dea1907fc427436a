import { BYTES_PER_SAMPLE } from '@antiphon/shared/audio/audio-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { JOB_CATALOG } from '@antiphon/shared/jobs/job-catalog';
import type { JobProducer } from '@antiphon/shared/queue/job-producer';
import type { GiveUp, JobContext, JobHandler } from '@antiphon/shared/queue/job-worker';
import { releasePhrases } from '@antiphon/shared/queue/phrase-release';
import type { Logger } from '@antiphon/shared/runtime/logger';
import type { TTSService } from '@antiphon/shared/services/tts-service';
import type { StreamEvent } from '@antiphon/shared/streams/stream-event';
import type { StreamLog } from '@antiphon/shared/streams/stream-log';
import { engineFor, PhraseFailed } from './phrase-audio.ts';
import type { CachedPhrase, PhraseCache } from './phrase-cache.ts';
import { speakWithRetry } from './phrase-retry.ts';

export interface SpeechHandlerOptions {
  service: TTSService;
  /** Speaks what the first engine says it cannot. */
  fallback: TTSService | undefined;
  /** Left out: every phrase is synthesized. */
  cache?: PhraseCache | undefined;
  log: StreamLog;
  jobs: JobProducer;
  logger: Logger;
}

/** 500 ms of audio; larger entries would make a reader wait for more than it needs. */
const ENTRY_BYTES = 24_000;

/**
 * Runs one phrase: engine → 24 kHz → silence trimmed → audio entries → `audio-end`, then releases
 * what may run next. Sound that the cache has needs no engine, and what an engine has made is kept
 * there once it is whole in the stream. A phrase whose worker died is synthesized again and continued where it was,
 * when the engine gives the same samples again. One that fails for good ends alone with a
 * `phrase-error` when the job says `skip`; otherwise, and always when it is not the phrase that
 * failed (the stream is over, its storage full, this process stopping), the handler throws.
 */
export function createSpeechHandler(options: SpeechHandlerOptions): JobHandler<'speech'> {
  const { log, jobs } = options;
  return async (context) => {
    const { job, producer, signal } = context;
    const { end, cached } = await speak(options, context);
    await producer.append(end, { ends: 'phrase', signal });
    await releasePhrases(log, jobs, job.streamId);
    if (end.type === 'audio-end') await cached?.keep();
  };
}

/** A phrase that its workers died of: where it may, it fails alone, as one that cannot be made. */
export function createSpeechGiveUp({
  log,
  jobs,
}: Pick<SpeechHandlerOptions, 'log' | 'jobs'>): GiveUp<'speech'> {
  return async (job, workerId) => {
    const { streamId, phraseIndex, onPhraseError } = job;
    const error = new VoiceError('stream_interrupted');
    if (onPhraseError !== 'skip') {
      await log.finish(streamId, error);
      return;
    }
    const name = JOB_CATALOG.speech.producer(job);
    const claim = await log.claim(streamId, name, workerId);
    if (claim.status !== 'open') return;
    await log
      .producer(streamId, name, claim)
      .append({ type: 'phrase-error', phraseIndex, error: error.serialize() }, { ends: 'phrase' });
    await releasePhrases(log, jobs, streamId);
  };
}

interface SpokenPhrase {
  end: StreamEvent;
  /** Left out where there is no cache, and of a phrase that failed. */
  cached?: CachedPhrase | undefined;
}

/** Appends the phrase's audio; returns the event that ends it. */
async function speak(
  options: SpeechHandlerOptions,
  context: JobContext<'speech'>,
): Promise<SpokenPhrase> {
  const { streamId, phraseIndex, onPhraseError } = context.job;
  try {
    const engine = chooseEngine(options, context);
    const cached = await options.cache?.look(engine, context.job);
    if (cached?.found) {
      await appendAudio([cached.found], context, { appended: 0, cache: 'hit' });
      return { end: { type: 'audio-end', phraseIndex, cached: true } };
    }
    await synthesize({ engine, cached }, context, options.logger);
    return { end: { type: 'audio-end', phraseIndex }, cached };
  } catch (thrown) {
    if (!(thrown instanceof PhraseFailed)) throw thrown;
    const { error } = thrown;
    // An engine that is being closed under the phrase says so itself.
    if (onPhraseError !== 'skip' || error.code === 'server_shutting_down') throw error;
    options.logger.warn({ streamId, phraseIndex, code: error.code }, 'phrase failed');
    return { end: { type: 'phrase-error', phraseIndex, error: error.serialize() } };
  }
}

function chooseEngine(
  options: SpeechHandlerOptions,
  { job, claim }: JobContext<'speech'>,
): TTSService {
  const engine = engineFor(options, job.text);
  // It would say the rest differently: what an earlier run has appended stands alone.
  if (claim.lastIndex > 0 && !engine.deterministic) {
    throw new PhraseFailed(new VoiceError('stream_interrupted'));
  }
  return engine;
}

/** The other try is made before the first sample only. */
async function synthesize(
  { engine, cached }: { engine: TTSService; cached: CachedPhrase | undefined },
  context: JobContext<'speech'>,
  logger: Logger,
): Promise<void> {
  const { job, signal } = context;
  const { streamId, phraseIndex } = job;
  const progress: Progress = { appended: 0, ...(cached ? { cache: 'miss' } : {}) };
  await speakWithRetry({
    ...{ engine, phrase: job, cached, signal },
    take: (pcm) => appendAudio(pcm, context, progress),
    mayRepeat: (err) => {
      if (progress.appended > 0) return false;
      logger.warn({ err, streamId, phraseIndex }, 'phrase again');
      return true;
    },
  });
}

interface Progress {
  /** Entries. */
  appended: number;
  /** Noted in each of them. */
  cache?: 'hit' | 'miss';
}

/** What an earlier run has appended is left out. */
async function appendAudio(
  sound: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  { job, claim, producer, signal }: JobContext<'speech'>,
  progress: Progress,
): Promise<void> {
  const { phraseIndex } = job;
  const { cache } = progress;
  let chunkIndex = claim.lastIndex;
  let skipBytes = claim.samples * BYTES_PER_SAMPLE;
  for await (const pcm of sound) {
    const skipped = Math.min(skipBytes, pcm.byteLength);
    skipBytes -= skipped;
    for (let start = skipped; start < pcm.byteLength; start += ENTRY_BYTES) {
      const part = pcm.subarray(start, start + ENTRY_BYTES);
      await producer.append(
        { type: 'audio-delta', phraseIndex, chunkIndex, pcm: part, ...(cache ? { cache } : {}) },
        { samples: part.byteLength / BYTES_PER_SAMPLE, signal },
      );
      progress.appended += 1;
      chunkIndex += 1;
    }
  }
}
