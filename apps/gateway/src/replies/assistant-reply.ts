import { SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { StreamEvent } from '@antiphon/shared/streams/stream-event';
import type { GatewayContext } from '../gateway-context.ts';
import { DeliveryCount, type OpenedStream, readStream } from './open-stream.ts';
import { PlainTextResponse } from './plain-text-response.ts';
import { StreamPlayback } from './stream-playback.ts';
import type { ResponseOptions } from './stream-response.ts';
import { readSound } from './stream-sound.ts';
import { StreamTimer } from './stream-timer.ts';

/** What of an event the client reads: the model's text, or why it says nothing. */
function textOf(event: StreamEvent): string {
  if (event.type !== 'message-delta') return '';
  const { content, refusal } = event.delta;
  return [content, refusal].filter((text) => typeof text === 'string').join('');
}

/** `AUDIO_PLAYER=none`: the text alone. */
export async function replyAssistantText(
  context: GatewayContext,
  opened: OpenedStream,
  response: ResponseOptions,
): Promise<void> {
  const text = new PlainTextResponse(response);
  const delivered = new DeliveryCount(context, opened.streamId);
  try {
    for await (const entries of readStream(opened)) {
      await text.write(entries.map(({ event }) => textOf(event)).join(''));
      const sizeBytes = entries.reduce((sum, entry) => sum + entry.sizeBytes, 0);
      await delivered.add(entries.at(-1)?.seq ?? 0, sizeBytes);
    }
    text.end();
  } catch (error) {
    text.fail(error);
  }
}

/**
 * The text for the client, the sound for the server's player. The body ends with the text, the
 * stream when its sound was heard. Throws what comes before the first text; `player_failed` is
 * among it only when the player does not even start.
 */
export async function replyAssistant(
  context: GatewayContext,
  opened: OpenedStream,
  response: ResponseOptions,
): Promise<void> {
  const text = new PlainTextResponse(response);
  const timer = new StreamTimer(context, opened, response.receivedAtMs);
  const { streamId } = opened;
  const playback = await context.player.play({ streamId, sampleRateHz: SAMPLE_RATE_HZ });
  const sound = new StreamPlayback({ context, opened, playback, timer });
  try {
    for await (const part of readSound(context, opened)) {
      timer.note(part);
      if (part.type === 'pcm') sound.push(part);
      else if (part.type === 'sound-end') sound.end();
      else await writeText(part.event, text, sound);
    }
  } catch (error) {
    const silent = sound.stop();
    try {
      text.fail(error);
    } finally {
      await silent;
    }
  }
}

async function writeText(
  event: StreamEvent,
  text: PlainTextResponse,
  sound: StreamPlayback,
): Promise<void> {
  if (event.type === 'text-end') text.end();
  // The text broke off: what is cut of it is still spoken.
  else if (event.type === 'stream-error') text.fail(VoiceError.deserialize(event.error));
  else return text.write(textOf(event));
  sound.textEnded();
}
