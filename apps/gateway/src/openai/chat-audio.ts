import { AUDIO_FORMATS, type AudioFormat } from '@antiphon/shared/audio/audio-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { z } from 'zod';

/** Chat's names of the formats (contract, section 1.1): `pcm16` is what speech calls `pcm`. */
const CHAT_FORMATS = ['wav', 'aac', 'mp3', 'flac', 'opus', 'pcm16'] as const;
/** OpenAI streams pcm16 only; the other two can be cut anywhere as well. */
const STREAMED_FORMATS: readonly string[] = ['pcm16', 'mp3', 'opus'];

/** `speed` and `instructions` are what `/v1/audio/speech` calls them: an extension. */
export const chatAudioSchema = z.looseObject({
  voice: z.union([z.string(), z.looseObject({ id: z.string().min(1) })]).nullish(),
  format: z.enum(CHAT_FORMATS).nullish(),
  speed: z.number().min(0.25).max(4).nullish(),
  instructions: z.string().max(4096).nullish(),
});

/** How an answer is to be spoken. */
export interface ChatAudio {
  voice: string | { id: string };
  format: AudioFormat;
  speed: number;
  instructions: string | undefined;
}

interface AskedAudio {
  audio?: z.output<typeof chatAudioSchema> | null | undefined;
  n?: number | null | undefined;
  logprobs?: boolean | null | undefined;
}

/** Throws the contract's 400s for an answer with sound. */
export function parseChatAudio({ audio, n, logprobs }: AskedAudio, stream: boolean): ChatAudio {
  const { voice, format, speed, instructions } = audio ?? {};
  if (!audio) throw missing('audio');
  if (!voice) throw missing('audio.voice');
  if (!format) throw missing('audio.format');
  if (stream && !STREAMED_FORMATS.includes(format)) {
    throw new VoiceError('unsupported_value', {
      param: 'audio.format',
      message: `Unsupported value: 'audio.format' does not support '${format}' when stream=true. Supported values are: ${STREAMED_FORMATS.map((name) => `'${name}'`).join(', ')}.`,
    });
  }
  if ((n ?? 1) > 1) {
    throw new VoiceError('unsupported_value', {
      param: 'n',
      message: `Unsupported value: 'n' does not support ${n} with audio output: one answer is spoken. Send one request per answer.`,
    });
  }
  if (logprobs === true) {
    throw new VoiceError('unsupported_parameter', {
      param: 'logprobs',
      message: "Unsupported parameter: 'logprobs' is not supported with audio output.",
    });
  }
  return {
    voice: typeof voice === 'string' ? voice : { id: voice.id },
    format: AUDIO_FORMATS.find((name) => name === format) ?? 'pcm',
    speed: speed ?? 1,
    instructions: instructions ?? undefined,
  };
}

const missing = (param: string): VoiceError =>
  new VoiceError('missing_required_parameter', {
    param,
    message: `Missing required parameter: '${param}'.`,
  });
