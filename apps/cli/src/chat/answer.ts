import type { Stream } from 'openai/streaming';
import type {
  ChatCompletionChunk,
  ChatCompletionCreateParamsStreaming,
  ChatCompletionMessageParam,
} from 'openai/resources/chat/completions';
import type { Api } from '../api.ts';
import { BrokenAnswer } from '../api-failure.ts';
import { createBase64Decoder } from './base64-decoder.ts';
import { createShownText } from './shown-text.ts';

/** What an answer is asked for with. */
export interface AnswerRequest {
  model: string | undefined;
  messages: ChatCompletionMessageParam[];
  /** Left out: text only. */
  voice?: string;
}

/** Where an answer goes while it comes. */
export interface AnswerOutlets {
  text: (text: string) => void;
  /** s16le mono, 24 kHz, cut anywhere. The next delta is read when it resolves. */
  sound: (pcm: Uint8Array) => Promise<void>;
}

export interface Answer {
  /** All that was shown: the words and the code, in their order. */
  text: string;
  soundBytes: number;
}

/** How long the server may take to confirm that it stopped. */
const CANCEL_WITHIN_MS = 2000;

/**
 * Streams one answer. Resolves when it is whole, or as far as it came when `signal` was aborted:
 * then the connection is closed, and antiphon is told which stream to stop. Rejects with what the
 * SDK throws, or BrokenAnswer when the stream ended without saying that it is whole.
 */
export async function streamAnswer(
  api: Api,
  request: AnswerRequest,
  outlets: AnswerOutlets,
  signal: AbortSignal,
): Promise<Answer> {
  const { data, response } = await api.client.chat.completions
    .create(requestBody(request), { signal })
    .withResponse();
  const shown = createShownText(outlets.text);
  try {
    const { whole, soundBytes } = await readDeltas(data, { shown, sound: outlets.sound });
    if (!whole && !signal.aborted) throw new BrokenAnswer(brokenBecause(response));
    return { text: shown.text, soundBytes };
  } finally {
    if (signal.aborted) await cancelStream(api, response.headers.get('x-stream-id'));
  }
}

function requestBody({
  model,
  messages,
  voice,
}: AnswerRequest): ChatCompletionCreateParamsStreaming {
  const body = {
    messages,
    stream: true,
    ...(model === undefined ? {} : { model }),
    ...(voice === undefined
      ? {}
      : { modalities: ['text', 'audio'], audio: { voice, format: 'pcm16' } }),
  };
  // The SDK insists on a model, which antiphon and others do without.
  return body as ChatCompletionCreateParamsStreaming;
}

async function readDeltas(
  chunks: Stream<ChatCompletionChunk>,
  { shown, sound }: { shown: ReturnType<typeof createShownText>; sound: AnswerOutlets['sound'] },
): Promise<{ whole: boolean; soundBytes: number }> {
  const decoder = createBase64Decoder();
  let whole = false;
  let soundBytes = 0;
  for await (const chunk of chunks) {
    const choice = chunk.choices[0];
    if (!choice) continue;
    const { content, refusal, audio } = choice.delta;
    shown.content(content ?? refusal ?? '');
    shown.transcript(audio?.transcript ?? '');
    if (audio?.data) {
      const pcm = decoder.decode(audio.data);
      soundBytes += pcm.byteLength;
      await sound(pcm);
    }
    // OpenAI ends a spoken answer with its expiry alone.
    whole ||= Boolean(choice.finish_reason) || audio?.expires_at !== undefined;
  }
  return { whole, soundBytes };
}

function brokenBecause({ headers }: Response): string {
  const type = headers.get('content-type') ?? 'nothing';
  return type.startsWith('text/event-stream')
    ? 'the answer broke off before its end'
    : `the server sent ${type} instead of a stream`;
}

/** Closing the connection is enough for every server; antiphon also stops work that is to outlive it. */
async function cancelStream({ client }: Api, streamId: string | null): Promise<void> {
  if (streamId === null) return;
  const signal = AbortSignal.timeout(CANCEL_WITHIN_MS);
  await client
    .post(`/streams/${encodeURIComponent(streamId)}/cancel`, { signal })
    .catch(() => undefined);
}
