import { BYTES_PER_SAMPLE, SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import { createResampler } from '@antiphon/shared/audio/pcm';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { JobProducer } from '@antiphon/shared/queue/job-producer';
import type { JobContext, JobHandler } from '@antiphon/shared/queue/job-worker';
import { releasePhrases } from '@antiphon/shared/queue/phrase-release';
import type { Logger } from '@antiphon/shared/runtime/logger';
import type { PcmChunk, TTSService } from '@antiphon/shared/services/tts-service';
import type { StreamLog } from '@antiphon/shared/streams/stream-log';
import { StreamClosed } from '@antiphon/shared/streams/stream-producer';

export interface SpeechHandlerOptions {
  service: TTSService;
  /** Speaks what the first engine says it cannot. */
  fallback: TTSService | undefined;
  log: StreamLog;
  jobs: JobProducer;
  logger: Logger;
}

/** 500 ms of audio; larger entries would make a reader wait for more than it needs. */
const ENTRY_BYTES = 24_000;
/** One try more, before the first sample. */
const TRIES = 2;

/**
 * Runs one phrase: engine → 24 kHz → audio entries → `audio-end`, then releases what may run next.
 * A phrase whose worker died is synthesized again and continued where it was, when the engine
 * gives the same samples again.
 */
export function createSpeechHandler(options: SpeechHandlerOptions): JobHandler<'speech'> {
  const { log, jobs, logger } = options;
  return async (context) => {
    const { job, claim, producer, signal } = context;
    const engine = chooseEngine(options, job.text);
    if (claim.lastIndex > 0 && !engine.deterministic) throw new VoiceError('stream_interrupted');
    for (let attempt = 1; ; attempt += 1) {
      const progress = { appended: 0 };
      try {
        await speak(engine, context, progress);
        break;
      } catch (error) {
        signal.throwIfAborted();
        const failure = VoiceError.from(error, 'engine_failed');
        const retry = attempt < TRIES && progress.appended === 0 && failure.definition.retryable;
        if (error instanceof StreamClosed) throw error;
        if (!retry) throw failure;
        logger.warn(
          { err: error, streamId: job.streamId, phraseIndex: job.phraseIndex },
          'phrase again',
        );
      }
    }
    await producer.append(
      { type: 'audio-end', phraseIndex: job.phraseIndex },
      { ends: 'phrase', signal },
    );
    await releasePhrases(log, jobs, job.streamId);
  };
}

function chooseEngine({ service, fallback }: SpeechHandlerOptions, text: string): TTSService {
  if (service.canSpeak(text)) return service;
  if (fallback?.canSpeak(text)) return fallback;
  throw new VoiceError('text_not_speakable', { param: 'input' });
}

async function speak(
  engine: TTSService,
  { job, claim, producer, signal }: JobContext<'speech'>,
  progress: { appended: number },
): Promise<void> {
  const { text, voice, model, speed, instructions, language } = job;
  const request = {
    ...{ text, voice, model, speed },
    ...(instructions === undefined ? {} : { instructions }),
    ...(language === undefined ? {} : { language }),
  };
  let chunkIndex = claim.lastIndex;
  let skipBytes = claim.samples * BYTES_PER_SAMPLE;
  for await (const pcm of atSampleRate(engine.synthesize(request, signal))) {
    const skipped = Math.min(skipBytes, pcm.byteLength);
    skipBytes -= skipped;
    for (let start = skipped; start < pcm.byteLength; start += ENTRY_BYTES) {
      const part = pcm.subarray(start, start + ENTRY_BYTES);
      await producer.append(
        { type: 'audio-delta', phraseIndex: job.phraseIndex, chunkIndex, pcm: part },
        { samples: part.byteLength / BYTES_PER_SAMPLE, signal },
      );
      progress.appended += 1;
      chunkIndex += 1;
    }
  }
}

/** All audio at the one rate; whole samples only. */
async function* atSampleRate(chunks: AsyncIterable<PcmChunk>): AsyncGenerator<Uint8Array> {
  let resampler: ReturnType<typeof createResampler> | undefined;
  for await (const { pcm, sampleRateHz } of chunks) {
    resampler ??= createResampler(sampleRateHz, SAMPLE_RATE_HZ);
    yield resampler.push(pcm);
  }
  if (resampler) yield resampler.end();
}
