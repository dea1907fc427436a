import { Readable } from 'node:stream';
import { BYTES_PER_SAMPLE, SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import { lineFileId } from '@antiphon/shared/batches/batch-key';
import { isBusy } from '@antiphon/shared/batches/line-fault';
import type { LineContext, LineHandler } from '@antiphon/shared/batches/line-handler';
import { createBlobId } from '@antiphon/shared/files/file-record';
import type { PhraseText } from '@antiphon/shared/jobs/job-catalog';
import type { TTSService } from '@antiphon/shared/services/tts-service';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';
import { engineFor, PhraseFailed } from '../phrase-audio.ts';
import type { PhraseCache } from '../phrase-cache.ts';
import { speakWithRetry } from '../phrase-retry.ts';
import { encodeSound } from './encode-sound.ts';
import type { EncoderPool } from './encoder-pool.ts';

export interface SpeechLineOptions {
  service: TTSService;
  /** Speaks what the first engine says it cannot. */
  fallback: TTSService | undefined;
  /** Left out: every phrase is synthesized. */
  cache?: PhraseCache | undefined;
  encoders: EncoderPool;
  /** Where the sound goes. */
  fileBlobs: BlobStore;
}

/**
 * Speaks one line: phrase by phrase, each with a turn of its own, → 24 kHz → silence trimmed → the
 * line's format → its file. Throws a VoiceError: the engine's, the encoder's, `storage_full`.
 */
export function createSpeechLineHandler(options: SpeechLineOptions): LineHandler<'speech'> {
  return async (context) => {
    const { batchId, line, tenantId, model, work } = context.job;
    const { format, voice, expiresAtSeconds } = work;
    const fileId = lineFileId(batchId, line);
    const progress = { pcmBytes: 0 };
    const sound = encodeSound(linePcm(options, context, progress), format, options.encoders);
    const blobId = createBlobId(fileId);
    const { sizeBytes: bytes } = await options.fileBlobs.put(
      Readable.from(sound, { objectMode: false }),
      blobId,
    );
    const samples = progress.pcmBytes / BYTES_PER_SAMPLE;
    const durationMs = Math.round((samples * 1000) / SAMPLE_RATE_HZ);
    return {
      result: { type: 'speech', model, voice, format, fileId, bytes, durationMs },
      file: {
        ...{ id: fileId, blobId, tenantId, bytes, purpose: 'batch_output', expiresAtSeconds },
        // As in the faults of an input file, lines count from 1 here.
        filename: `line-${line + 1}.${format}`,
        createdAtSeconds: Math.floor(Date.now() / 1000),
      },
    };
  };
}

async function* linePcm(
  options: SpeechLineOptions,
  context: LineContext<'speech'>,
  progress: { pcmBytes: number },
): AsyncGenerator<Uint8Array> {
  for (const phrase of context.job.work.phrases) {
    for (const part of await phrasePcm(options, context, phrase)) {
      progress.pcmBytes += part.byteLength;
      if (part.byteLength > 0) yield part;
    }
  }
}

/** A whole phrase, so that its turn does not wait for encoder and disk. */
async function phrasePcm(
  options: SpeechLineOptions,
  { job, signal, takeTurn }: LineContext<'speech'>,
  { text, pause }: PhraseText,
): Promise<Uint8Array[]> {
  const { tenantId, model, work } = job;
  const { voice, speed, instructions, language } = work;
  const phrase = {
    ...{ text, pause, voice, model, speed, instructions, language, tenantId },
    background: true,
  };
  try {
    const engine = engineFor(options, text);
    const cached = await options.cache?.look(engine, phrase);
    if (cached?.found) return [cached.found];
    const release = await takeTurn();
    const parts = await speakWithRetry({
      ...{ engine, phrase, cached, signal },
      take: (pcm) => Array.fromAsync(pcm),
      // Then the line waits, which is tried again itself.
      mayRepeat: (error) => !isBusy(error),
    }).finally(release);
    await cached?.keep();
    return parts;
  } catch (error) {
    throw error instanceof PhraseFailed ? error.error : error;
  }
}
