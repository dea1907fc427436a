import type { AudioEncoder } from '@antiphon/shared/audio/audio-encoder';
import { BYTES_PER_SAMPLE } from '@antiphon/shared/audio/audio-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { GatewayContext } from '../gateway-context.ts';
import { ClientLeft } from './client-connection.ts';
import { Base64Fragments } from './base64-fragments.ts';
import type { OpenedStream } from './open-stream.ts';
import { EventStreamResponse, type ResponseOptions, startResponse } from './stream-response.ts';
import { readSound } from './stream-sound.ts';
import { StreamTimer } from './stream-timer.ts';

export interface SpeechReplyOptions {
  encoder: AudioEncoder;
  phraseCount: number;
  /** Characters of the input: the usage of a text-to-speech answer. */
  inputCharacters: number;
}

/** The stream's audio in order, through the one encoder; empty arrays are left out. */
async function* encodedAudio(
  context: GatewayContext,
  opened: OpenedStream,
  { encoder, phraseCount, timer }: SpeechReplyOptions & { timer: StreamTimer },
): AsyncGenerator<Uint8Array> {
  for await (const part of readSound(context, opened, phraseCount)) {
    timer.note(part);
    if (part.type !== 'pcm') continue;
    const bytes = await encoder.encode(part.pcm);
    if (bytes.length > 0) yield bytes;
    timer.sent(part.pcm.byteLength / BYTES_PER_SAMPLE);
    await part.delivered();
  }
  const rest = await encoder.end();
  if (rest.length > 0) yield rest;
}

/** The audio itself. Headers go out with the first bytes; a later failure cuts the socket. */
export async function replySpeech(
  context: GatewayContext,
  opened: OpenedStream,
  response: ResponseOptions,
  options: SpeechReplyOptions,
): Promise<void> {
  const { connection } = response;
  const timer = new StreamTimer(context, opened, response.receivedAtMs);
  try {
    for await (const bytes of encodedAudio(context, opened, { ...options, timer })) {
      if (!connection.started) {
        startResponse(response, {
          'content-type': options.encoder.contentType,
          ...timer.headers(),
        });
      }
      await connection.write(bytes);
    }
    if (!connection.started) throw new VoiceError('engine_failed', { cause: 'no audio at all' });
    connection.end();
    timer.end();
  } catch (error) {
    if (error instanceof ClientLeft || connection.left.aborted) return;
    if (!connection.started) throw error;
    context.logger.info({ err: error, streamId: opened.streamId }, 'speech failed after headers');
    connection.destroy();
  }
}

/** `stream_format: sse`: base64 fragments, then usage (contract, section 2). */
export async function replySpeechEvents(
  context: GatewayContext,
  opened: OpenedStream,
  response: ResponseOptions,
  options: SpeechReplyOptions,
): Promise<void> {
  const { STATUS_HOLD_MS: statusHoldMs, KEEPALIVE_MS: keepaliveMs } = context.config;
  const events = new EventStreamResponse({ ...response, statusHoldMs, keepaliveMs });
  const timer = new StreamTimer(context, opened, response.receivedAtMs);
  const fragments = new Base64Fragments();
  const frame = (data: object) => `data: ${JSON.stringify(data)}\n\n`;
  const delta = (audio: string) => frame({ type: 'speech.audio.delta', audio });
  try {
    for await (const bytes of encodedAudio(context, opened, { ...options, timer })) {
      const fragment = fragments.push(bytes);
      if (fragment === undefined) continue;
      events.start(timer.headers());
      await events.write(Buffer.from(delta(fragment)));
    }
    const { inputCharacters } = options;
    const usage = {
      input_tokens: inputCharacters,
      output_tokens: 0,
      total_tokens: inputCharacters,
    };
    const last = fragments.end();
    const rest = last === undefined ? '' : delta(last);
    events.end(rest + frame({ type: 'speech.audio.done', usage }));
    timer.end();
  } catch (error) {
    events.fail(error);
  }
}
