import { createReadStream } from 'node:fs';
import { VoiceError } from '../errors/voice-error.ts';
import type { RecordedAudio, UploadFormat } from '../services/stt-service.ts';
import { BYTES_PER_SAMPLE } from './audio-format.ts';
import { decodeWithFfmpeg } from './ffmpeg-decoder.ts';
import { concatenate, createResampler, SampleAligner, samplesToBytes } from './pcm.ts';
import { readWav } from './wav.ts';

export interface RecordedAudioOptions {
  /** The upload, as it lies on disk. */
  path: string;
  /** From `detectUploadFormat`. */
  format: UploadFormat;
  sizeBytes: number;
  maxSeconds: number;
  /** 0.1 unless told: OpenAI's limit. */
  minSeconds?: number;
  /** `ffmpeg` unless told. */
  ffmpegPath?: string;
  /** How long ffmpeg may keep the consumer waiting in all; 60 s unless told, in the background 600 s. */
  timeoutMs?: number;
  /** Nobody waits for it: its decoder gives way to all else. */
  background?: boolean;
}

const TIMEOUT_MS = 60_000;
const BACKGROUND_TIMEOUT_MS = 600_000;
/** What encoders add at the ends: a file of exactly the limit is not over it. */
const TOLERANCE_SECONDS = 0.1;

/**
 * An upload that can be decoded as often as needed, at any rate. `pcm` yields whole samples, and
 * nothing before the minimum is reached. WAV is read here; all else, and WAV with other codecs, by ffmpeg.
 */
export function openRecordedAudio(options: RecordedAudioOptions): RecordedAudio {
  const { path, format, sizeBytes } = options;
  return {
    format,
    sizeBytes,
    bytes: () => createReadStream(path),
    pcm: (sampleRateHz, signal) =>
      withinLimits(decode(options, sampleRateHz, signal), options, sampleRateHz),
  };
}

async function* decode(
  options: RecordedAudioOptions,
  sampleRateHz: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  signal.throwIfAborted();
  const { path, format, maxSeconds, ffmpegPath = 'ffmpeg', background = false } = options;
  const { timeoutMs = background ? BACKGROUND_TIMEOUT_MS : TIMEOUT_MS } = options;
  if (format === 'wav') {
    const wav = await readWav(createReadStream(path));
    if (wav.kind === 'invalid') throw new VoiceError('invalid_file_format', { param: 'file' });
    if (wav.kind === 'samples') {
      const resampler = createResampler(wav.sampleRateHz, sampleRateHz);
      for await (const pcm of wav.pcm) {
        signal.throwIfAborted();
        yield resampler.push(pcm);
      }
      yield resampler.end();
      return;
    }
  }
  yield* decodeWithFfmpeg(
    { path, format, sampleRateHz, maxSeconds, timeoutMs, ffmpegPath, background },
    signal,
  );
}

/** Refuses what is too short or too long, and hands on whole samples. */
async function* withinLimits(
  pcm: AsyncIterable<Uint8Array>,
  { minSeconds = 0.1, maxSeconds }: RecordedAudioOptions,
  sampleRateHz: number,
): AsyncGenerator<Uint8Array> {
  const minSamples = Math.floor(minSeconds * sampleRateHz);
  const maxSamples = (maxSeconds + TOLERANCE_SECONDS) * sampleRateHz;
  const aligner = new SampleAligner();
  let held: Uint8Array[] = [];
  let samples = 0;
  for await (const piece of pcm) {
    const whole = samplesToBytes(aligner.align(piece));
    samples += whole.length / BYTES_PER_SAMPLE;
    if (samples > maxSamples) {
      throw new VoiceError('audio_too_long', {
        message: `The audio is longer than this server accepts: ${maxSeconds} seconds at most.`,
        param: 'file',
      });
    }
    held.push(whole);
    if (samples >= minSamples && samples > 0) {
      const ready = concatenate(held);
      held = [];
      if (ready.length > 0) yield ready;
    }
  }
  if (samples < minSamples || samples === 0)
    throw new VoiceError('audio_too_short', { param: 'file' });
}
