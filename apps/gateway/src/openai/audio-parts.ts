import { detectUploadFormat, UPLOAD_MAGIC_BYTES } from '@antiphon/shared/audio/upload-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { TRANSCRIPT_PART } from '@antiphon/shared/jobs/job-catalog';
import type { UploadFormat } from '@antiphon/shared/services/stt-service';
import { z } from 'zod';
import { decodeBase64, hashOf } from './base64-audio.ts';
import { messageFault } from './message-fault.ts';

/** A recording in a message of the user. */
export interface AudioPart {
  messageIndex: number;
  /** In the message's `content`. */
  partIndex: number;
  /** What an error calls it: `messages[0].content[1].input_audio.data`. */
  param: string;
  bytes: Buffer;
  /** Of `bytes`, as hex. */
  sha256: string;
  /** By the bytes, whatever the client calls it. */
  format: UploadFormat;
  sizeBytes: number;
}

type Message = Record<string, unknown>;

/** Most recordings of a conversation; those of earlier turns cost no more than their hash. */
export const MAX_AUDIO_PARTS = 256;

/** OpenAI takes the first two; the others are an extension. */
const FORMAT_NAMES = ['wav', 'mp3', 'flac', 'ogg', 'opus', 'm4a', 'mp4', 'webm', 'aac'] as const;

/** A part of type `input_audio`. */
export const audioPartSchema = z.looseObject({
  input_audio: z.looseObject({ data: z.string().min(1), format: z.enum(FORMAT_NAMES) }),
});

/**
 * The recordings among the messages, in order (contract, section 1.1). `maxBytes`: of one of them,
 * decoded. Throws `missing_required_parameter`, `invalid_type`, `invalid_value`,
 * `invalid_file_format` or `request_too_large`, with the part at fault as `param`.
 */
export async function extractAudioParts(
  messages: readonly Message[],
  maxBytes: number,
): Promise<AudioPart[]> {
  const places = findAudioParts(messages);
  const parts: AudioPart[] = [];
  for (const place of places) {
    const bytes = decodeBase64(place, maxBytes);
    const format = detectUploadFormat(bytes.subarray(0, UPLOAD_MAGIC_BYTES));
    const { messageIndex, partIndex, param } = place;
    if (!format) throw new VoiceError('invalid_file_format', { param });
    const sha256 = await hashOf(bytes);
    parts.push({ messageIndex, partIndex, param, bytes, sha256, format, sizeBytes: bytes.length });
  }
  return parts;
}

/**
 * The messages with a placeholder for each recording, where the llm-worker puts its transcript; the
 * same array when there is none.
 */
export function replaceAudioParts(
  messages: Message[],
  parts: readonly AudioPart[],
  keyOf: (part: AudioPart) => string,
): Message[] {
  if (parts.length === 0) return messages;
  const replaced = [...messages];
  for (const part of parts) {
    const message = replaced[part.messageIndex];
    const content = [...partsOf(message)];
    content[part.partIndex] = { type: TRANSCRIPT_PART, key: keyOf(part) };
    replaced[part.messageIndex] = { ...message, content };
  }
  return replaced;
}

/** Where a recording stands, as it was sent. */
export interface AudioPlace {
  messageIndex: number;
  partIndex: number;
  /** `messages[0].content[1].input_audio.data` */
  param: string;
  data: string;
}

/**
 * Where the recordings are, in order: nothing of them is decoded. Throws `missing_required_parameter`,
 * `invalid_type` or `invalid_value`, with the part at fault as `param`.
 */
export function findAudioParts(messages: readonly Message[]): AudioPlace[] {
  const places: AudioPlace[] = [];
  for (const [messageIndex, message] of messages.entries()) {
    for (const [partIndex, part] of partsOf(message).entries()) {
      const { type } = Object(part) as { type?: unknown };
      const param = `messages[${messageIndex}].content[${partIndex}]`;
      // A client's own placeholder would fetch a transcript by its key.
      if (type === TRANSCRIPT_PART) throw unknownType(type, param);
      if (type !== 'input_audio') continue;
      if (message['role'] !== 'user')
        throw unknownType(type, param, 'Only messages of the user have one.');
      const data = dataOf(messages, messageIndex, partIndex);
      places.push({ messageIndex, partIndex, param: `${param}.input_audio.data`, data });
    }
  }
  if (places.length > MAX_AUDIO_PARTS) {
    throw new VoiceError('invalid_value', {
      param: 'messages',
      message: `Invalid 'messages': too many recordings. Expected at most ${MAX_AUDIO_PARTS}, but got ${places.length} instead. Send the text of the older ones.`,
    });
  }
  return places;
}

const unknownType = (type: string, param: string, why = ''): VoiceError =>
  new VoiceError('invalid_value', {
    param: `${param}.type`,
    message: `Invalid value: '${type}' is no type of a part here. ${why}`.trimEnd(),
  });

function dataOf(messages: readonly Message[], messageIndex: number, partIndex: number): string {
  const parsed = audioPartSchema.safeParse(partsOf(messages[messageIndex])[partIndex]);
  if (parsed.success) return parsed.data.input_audio.data;
  throw messageFault(parsed.error, messages, [messageIndex, 'content', partIndex]);
}

function partsOf(message: Message | undefined): unknown[] {
  const content = message?.['content'];
  return Array.isArray(content) ? content : [];
}
