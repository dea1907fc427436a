import { SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import { createResampler, type Resampler } from '@antiphon/shared/audio/pcm';
import { SilenceTrimmer } from '@antiphon/shared/audio/silence-trimmer';
import type { Pause } from '@antiphon/shared/text/pause';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { SpeechJob } from '@antiphon/shared/jobs/job-catalog';
import type { PcmChunk, TTSService } from '@antiphon/shared/services/tts-service';

/** What a phrase of a stream and one of a batch's line have in common. */
export interface PhraseRequest extends Pick<
  SpeechJob,
  'text' | 'pause' | 'voice' | 'model' | 'speed' | 'instructions' | 'language'
> {
  /** Nobody waits for it. */
  background?: boolean;
}

/** The phrase could not be made: a failure of the phrase alone, not of the stream or its storage. */
export class PhraseFailed extends Error {
  readonly error: VoiceError;

  constructor(error: VoiceError) {
    super(error.code, { cause: error });
    this.name = 'PhraseFailed';
    this.error = error;
  }
}

/** The engine that says the text; the second one where the first says that it cannot. Throws PhraseFailed. */
export function engineFor(
  { service, fallback }: { service: TTSService; fallback: TTSService | undefined },
  text: string,
): TTSService {
  const engine = [service, fallback].find((one) => one?.canSpeak(text));
  if (!engine) throw new PhraseFailed(new VoiceError('text_not_speakable', { param: 'input' }));
  return engine;
}

/**
 * One phrase as it goes into the log: s16le mono at `SAMPLE_RATE_HZ`, whole samples, with silence
 * as `phrase.pause` asks (left as the engine gave it where an older job asks for none). The same
 * samples each time from a deterministic engine, whatever its chunks. Throws `signal.reason` once
 * the signal aborted, else PhraseFailed.
 */
export async function* phraseAudio(
  engine: TTSService,
  phrase: PhraseRequest,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const { text, voice, model, speed, instructions, language, pause, background } = phrase;
  const request = {
    ...{ text, voice, model, speed },
    ...(instructions === undefined ? {} : { instructions }),
    ...(language === undefined ? {} : { language }),
    ...(background === undefined ? {} : { background }),
  };
  try {
    const pcm = atSampleRate(engine.synthesize(request, signal));
    yield* pause === undefined ? pcm : withPause(pcm, pause);
  } catch (error) {
    signal.throwIfAborted();
    throw new PhraseFailed(VoiceError.from(error, 'engine_failed'));
  }
}

/** All audio at the one rate; whole samples only. */
async function* atSampleRate(chunks: AsyncIterable<PcmChunk>): AsyncGenerator<Uint8Array> {
  let resampler: Resampler | undefined;
  for await (const { pcm, sampleRateHz } of chunks) {
    resampler ??= createResampler(sampleRateHz, SAMPLE_RATE_HZ);
    yield resampler.push(pcm);
  }
  if (resampler) yield resampler.end();
}

async function* withPause(pcm: AsyncIterable<Uint8Array>, pause: Pause) {
  const trimmer = new SilenceTrimmer(pause);
  for await (const part of pcm) yield trimmer.push(part);
  yield trimmer.end();
}
