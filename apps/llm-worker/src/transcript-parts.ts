import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { TRANSCRIPT_PART } from '@antiphon/shared/jobs/job-catalog';
import type { TranscriptStore } from '@antiphon/shared/storage/transcript-store';
import { z } from 'zod';

/**
 * What stands for a recording in which nobody speaks. An empty text part is refused by several
 * servers, and a part left out makes the model answer a question that nobody asked.
 */
export const SILENCE = '[silence]';

const partSchema = z.looseObject({ type: z.string() });
type Part = z.output<typeof partSchema>;

const requestSchema = z.looseObject({
  messages: z.array(z.record(z.string(), z.unknown())),
});

const placeholderSchema = z.object({ type: z.literal(TRANSCRIPT_PART), key: z.string() });

/**
 * The body with what was heard in the place of each recording. A message of nothing but texts then
 * becomes one string, since many local servers take no parts. Throws `internal_error` for a
 * transcript that is gone or another tenant's, and `queue_unavailable`.
 */
export async function insertTranscripts(
  requestJson: string,
  store: TranscriptStore,
  tenantId: string,
): Promise<string> {
  const request = requestSchema.parse(JSON.parse(requestJson));
  const spoken = request.messages.flatMap((message) => {
    const parts = z.array(partSchema).safeParse(message['content']).data ?? [];
    return parts.some(isPlaceholder) ? [{ message, parts }] : [];
  });
  const keys = spoken.flatMap(({ parts }) => parts.filter(isPlaceholder).map((part) => part.key));
  const texts = await readTexts([...new Set(keys)], store, tenantId);
  for (const { message, parts } of spoken) {
    const heard = parts.map((part) =>
      isPlaceholder(part) ? { type: 'text', text: texts.get(part.key) } : part,
    );
    message['content'] = heard.every(isPlainText)
      ? heard.map(({ text }) => text).join('\n')
      : heard;
  }
  return JSON.stringify(request);
}

async function readTexts(
  keys: string[],
  store: TranscriptStore,
  tenantId: string,
): Promise<Map<string, string>> {
  const foreign = keys.find((key) => !store.isKeyOf(tenantId, key));
  if (foreign !== undefined) {
    throw new VoiceError('internal_error', {
      cause: `not a transcript of ${tenantId}: ${foreign}`,
    });
  }
  const found = await store.find(keys);
  return new Map(
    keys.map((key, index) => {
      const transcript = found[index];
      if (!transcript) {
        throw new VoiceError('internal_error', { cause: `the transcript ${key} is gone` });
      }
      return [key, transcript.text.trim() || SILENCE];
    }),
  );
}

const isPlaceholder = (part: Part): part is z.output<typeof placeholderSchema> =>
  placeholderSchema.safeParse(part).success;

/** Without keys of vendors (`cache_control`), which a string could not carry. */
const isPlainText = (part: Part): boolean =>
  part.type === 'text' && typeof part['text'] === 'string' && Object.keys(part).length === 2;
