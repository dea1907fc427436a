import type { AudioEncoder } from '@antiphon/shared/audio/audio-encoder';
import type { AudioFormat } from '@antiphon/shared/audio/audio-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { GatewayContext } from '../gateway-context.ts';
import { ChunkFrames } from '../openai/chat-chunk.ts';
import { mergeDelta } from '../openai/merged-message.ts';
import { Base64Fragments } from './base64-fragments.ts';
import { largestAnswerBytes } from './largest-answer.ts';
import type { OpenedStream } from './open-stream.ts';
import { SpokenAnswer, type SpokenPart } from './spoken-answer.ts';
import { EventStreamResponse, type ResponseOptions, startResponse } from './stream-response.ts';
import { StreamTimer } from './stream-timer.ts';
import { WholeSound } from './whole-sound.ts';

export interface SpokenChatOptions {
  tenantId: string;
  model: string;
  encoder: AudioEncoder;
  format: AudioFormat;
  includeUsage: boolean;
  /** Length of recordings in the request that were heard in earlier turns. */
  heardSeconds: number;
  /** When the answer was asked for: Unix seconds. */
  createdSeconds: number;
}

/** OpenAI has no place for it: a field of ours in the chunk, so that no phrase is left out in silence. */
const phraseError = ({ phraseIndex, error }: Extract<SpokenPart, { type: 'phrase-error' }>) => ({
  index: phraseIndex,
  code: error.code,
  message: VoiceError.deserialize(error).message,
});

/** `stream: true` with sound: transcript and sound as they come (contract, section 1.3). */
export async function replySpokenChatStream(
  context: GatewayContext,
  opened: OpenedStream,
  response: ResponseOptions,
  options: SpokenChatOptions,
): Promise<void> {
  const { STATUS_HOLD_MS: statusHoldMs, KEEPALIVE_MS: keepaliveMs } = context.config;
  const events = new EventStreamResponse({ ...response, statusHoldMs, keepaliveMs });
  const timer = new StreamTimer(context, opened, response.receivedAtMs);
  const answer = new SpokenAnswer(context, opened, { ...options, timer });
  const { streamId } = opened;
  const frames = new ChunkFrames({ ...options, streamId });
  const writer = new SpokenFrameWriter(frames, answer.audioId);
  try {
    for await (const part of answer.parts()) {
      const frame = writer.write(part);
      if (frame === '') continue;
      events.start(timer.headers());
      await events.write(Buffer.from(frame));
      if (part.type === 'sound') timer.sent(part.samples);
    }
    const last = writer.end();
    const expiry = writer.hasId ? frames.expiry(await answer.keepUntil()) : '';
    const stop = frames.delta({}, answer.finishReason);
    const usage = options.includeUsage ? frames.usage(answer.usage) : '';
    events.end(`${last}${expiry}${stop}${usage}data: [DONE]\n\n`);
    timer.end();
  } catch (error) {
    events.fail(error);
  }
}

/** Parts of an answer as frames. Role and audio id are sent once: both SDKs join what is repeated. */
class SpokenFrameWriter {
  hasId = false;
  readonly #frames: ChunkFrames;
  readonly #audioId: string;
  readonly #fragments = new Base64Fragments();
  #hasRole = false;

  constructor(frames: ChunkFrames, audioId: string) {
    this.#frames = frames;
    this.#audioId = audioId;
  }

  /** `''` when there is nothing to send yet. */
  write(part: SpokenPart): string {
    const frame = this.#frameOf(part);
    return frame === '' ? '' : this.#role() + frame;
  }

  /** The rest of the sound, and the role of an answer without a word. */
  end(): string {
    const data = this.#fragments.end();
    return this.#role() + (data === undefined ? '' : this.#audio({ data }));
  }

  #frameOf(part: SpokenPart): string {
    switch (part.type) {
      case 'transcript':
        return this.#audio({ transcript: part.text });
      case 'sound': {
        const data = this.#fragments.push(part.bytes);
        return data === undefined ? '' : this.#audio({ data });
      }
      case 'shown':
        return this.#frames.delta(part.delta);
      case 'phrase-error':
        return this.#frames.delta({}, null, { phrase_error: phraseError(part) });
    }
  }

  #audio(fields: { transcript?: string; data?: string }): string {
    const id = this.hasId ? {} : { id: this.#audioId };
    this.hasId = true;
    return this.#frames.delta({ audio: { ...id, ...fields } });
  }

  #role(): string {
    if (this.#hasRole) return '';
    this.#hasRole = true;
    return this.#frames.delta({ role: 'assistant', content: '', refusal: null });
  }
}

/**
 * `stream: false` with sound: one JSON body with a whole file (contract, section 1.2). Throws
 * `stream_too_large`: 120 KB of text spoken as pcm were 400 MB here, and 2.4 GB in a body of one piece.
 */
export async function replySpokenChat(
  context: GatewayContext,
  opened: OpenedStream,
  response: ResponseOptions,
  options: SpokenChatOptions,
): Promise<void> {
  const timer = new StreamTimer(context, opened, response.receivedAtMs);
  const answer = new SpokenAnswer(context, opened, { ...options, timer });
  const message: Record<string, unknown> = { role: 'assistant', content: null, refusal: null };
  const sound = new WholeSound(largestAnswerBytes(context.config));
  const phraseErrors: object[] = [];
  for await (const part of answer.parts()) {
    if (part.type === 'sound') sound.add(part.bytes);
    if (part.type === 'shown') mergeDelta(message, part.delta);
    if (part.type === 'phrase-error') phraseErrors.push(phraseError(part));
  }
  const { audioId: id, transcript } = answer;
  // Also where every phrase failed: the words are nowhere else.
  if (transcript !== '') {
    message['audio'] = { id, data: '', expires_at: await answer.keepUntil(), transcript };
  }
  const choice = { index: 0, message, logprobs: null, finish_reason: answer.finishReason };
  const body = JSON.stringify({
    id: `chatcmpl-${opened.streamId}`,
    object: 'chat.completion',
    created: options.createdSeconds,
    model: options.model,
    choices: [choice],
    usage: answer.usage,
    ...(phraseErrors.length > 0 ? { phrase_errors: phraseErrors } : {}),
  });
  timer.sentWhole();
  const bodyBytes = Buffer.byteLength(body) + (transcript === '' ? 0 : sound.base64Bytes);
  startResponse(response, {
    'content-type': 'application/json',
    'content-length': String(bodyBytes),
    ...timer.headers(),
  });
  // The id is the server's own: it stands at no other place with these quotes around it.
  const mark = `{"id":"${id}","data":"`;
  const dataStart = body.indexOf(mark) + mark.length;
  const { connection } = response;
  if (transcript === '') return connection.end(Buffer.from(body));
  await connection.write(Buffer.from(body.slice(0, dataStart)));
  for (const piece of sound.base64(options.format)) await connection.write(piece);
  await connection.write(Buffer.from(body.slice(dataStart)));
  connection.end();
}
