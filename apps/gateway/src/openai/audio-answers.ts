import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { SpokenAnswerStore } from '@antiphon/shared/storage/spoken-answer-store';
import { z } from 'zod';
import { messageFault } from './message-fault.ts';

type Message = Record<string, unknown>;

const audioSchema = z.looseObject({ audio: z.looseObject({ id: z.string() }) });

/**
 * The messages with the text of each spoken answer that the client names by its `audio.id`
 * (contract, section 1.4); the same array when there is none. The stored text wins over a
 * `content` beside it: it is all that the model wrote, code included. Throws `invalid_value` for an
 * id that is unknown or expired, `missing_required_parameter`, `invalid_type`, `queue_unavailable`.
 */
export async function resolveAudioAnswers(
  messages: Message[],
  store: SpokenAnswerStore,
  tenantId: string,
): Promise<Message[]> {
  const named = messages.flatMap((message, index) => {
    if (message['role'] !== 'assistant' || (message['audio'] ?? null) === null) return [];
    return [{ index, audioId: audioIdOf(messages, index) }];
  });
  if (named.length === 0) return messages;
  const texts = await store.find(
    tenantId,
    named.map(({ audioId }) => audioId),
  );
  const resolved = [...messages];
  for (const [position, { index, audioId }] of named.entries()) {
    const content = texts[position];
    if (content === undefined) throw unknownAudio(index, audioId);
    const { audio: _audio, ...rest } = messages[index] ?? {};
    resolved[index] = { ...rest, content };
  }
  return resolved;
}

function audioIdOf(messages: readonly Message[], index: number): string {
  const parsed = audioSchema.safeParse(messages[index]);
  if (parsed.success) return parsed.data.audio.id;
  throw messageFault(parsed.error, messages, [index]);
}

function unknownAudio(index: number, audioId: string): VoiceError {
  const param = `messages[${index}].audio.id`;
  return new VoiceError('invalid_value', {
    param,
    message: `Invalid '${param}': the audio '${audioId.slice(0, 100)}' is unknown here or has expired. Send the text of that answer as 'content' instead.`,
  });
}
