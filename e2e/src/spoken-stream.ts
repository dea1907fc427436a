import { dataOf, eventsIn } from '@antiphon/testing/events-in';

/** What one streamed answer with sound was, frame by frame, however it ended. */
export interface SpokenTranscript {
  status: number;
  streamId: string;
  /** What was said, as text. */
  transcript: string;
  /** What was shown and not said. */
  content: string;
  /** `audio.id` and `expires_at`, as often as they came. */
  audioIds: string[];
  expiries: number[];
  fragments: string[];
  /** `performance.now()` at the first sound. */
  firstSoundAtMs: number | undefined;
  finishReasons: string[];
  phraseErrors: { index: number; code: string }[];
  usage: { completion_tokens_details: { audio_tokens: number } } | undefined;
  done: boolean;
  /** Errors sent as frames, or as the whole answer. */
  errors: { code: string | null; message: string }[];
  /** The socket broke. */
  broken: boolean;
}

interface ChunkFrame {
  choices?: {
    delta: {
      content?: string | null;
      audio?: { id?: string; transcript?: string; data?: string; expires_at?: number };
    };
    finish_reason?: string | null;
  }[];
  usage?: SpokenTranscript['usage'] | null;
  phrase_error?: { index: number; code: string };
  error?: { code: string | null; message: string };
}

export interface SpokenStreamOptions {
  prompt?: string;
  body?: Record<string, unknown>;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** After each frame. */
  onFrame?: (answer: SpokenTranscript) => void;
}

/** The body of a chat whose answer is streamed with sound. */
export const spokenChat = (prompt: string, body: Record<string, unknown> = {}) => ({
  stream: true,
  modalities: ['text', 'audio'],
  audio: { voice: 'alloy', format: 'pcm16' },
  messages: [{ role: 'user', content: prompt }],
  ...body,
});

/** The sound so far: s16le mono, 24 kHz. */
export const soundOf = ({ fragments }: SpokenTranscript): Buffer =>
  Buffer.from(fragments.join(''), 'base64');

/** Reads a streamed answer by hand: SDKs hide how a stream ended. */
export async function readSpokenStream(
  baseUrl: string,
  { prompt = 'go', body, headers, signal, onFrame }: SpokenStreamOptions = {},
): Promise<SpokenTranscript> {
  const answer: SpokenTranscript = {
    ...{ status: 0, streamId: '', transcript: '', content: '', done: false, broken: false },
    ...{ audioIds: [], expiries: [], fragments: [], finishReasons: [], phraseErrors: [] },
    ...{ errors: [], usage: undefined, firstSoundAtMs: undefined },
  };
  try {
    const response = await fetch(`${baseUrl}/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(spokenChat(prompt, body)),
      signal: signal ?? null,
    });
    answer.status = response.status;
    answer.streamId = response.headers.get('x-stream-id') ?? '';
    if (response.status !== 200) {
      answer.errors.push(((await response.json()) as Required<ChunkFrame>).error);
      return answer;
    }
    for await (const frame of eventsIn(response.body)) {
      readFrame(frame, answer);
      onFrame?.(answer);
    }
  } catch {
    answer.broken = true;
  }
  return answer;
}

function readFrame(frame: string, answer: SpokenTranscript): void {
  const data = dataOf(frame);
  if (data === undefined) return; // a comment
  if (data === '[DONE]') {
    answer.done = true;
    return;
  }
  const { choices, error, usage, phrase_error: phraseError } = JSON.parse(data) as ChunkFrame;
  if (error) answer.errors.push(error);
  if (phraseError) answer.phraseErrors.push(phraseError);
  answer.usage = usage ?? answer.usage;
  if (choices?.[0]) readChoice(choices[0], answer);
}

function readChoice(
  { delta, finish_reason: finishReason }: NonNullable<ChunkFrame['choices']>[number],
  answer: SpokenTranscript,
): void {
  if (finishReason) answer.finishReasons.push(finishReason);
  answer.content += delta.content ?? '';
  const { id, transcript, data, expires_at: expiresAt } = delta.audio ?? {};
  if (id !== undefined) answer.audioIds.push(id);
  if (expiresAt !== undefined) answer.expiries.push(expiresAt);
  answer.transcript += transcript ?? '';
  if (data === undefined) return;
  answer.firstSoundAtMs ??= performance.now();
  answer.fragments.push(data);
}
