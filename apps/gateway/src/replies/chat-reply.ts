import { concatenate } from '@antiphon/shared/audio/pcm';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { StreamEntry } from '@antiphon/shared/streams/stream-event';
import type { GatewayContext } from '../gateway-context.ts';
import { DeliveryCount, type OpenedStream, readStream } from './open-stream.ts';
import { EventStreamResponse, type ResponseOptions, startResponse } from './stream-response.ts';

/** The bytes of a batch, one array; undefined when it has no text. */
function textOf(entries: StreamEntry[]): Uint8Array | undefined {
  const parts = entries.flatMap(({ event }) => (event.type === 'text-delta' ? [event.bytes] : []));
  return parts.length === 0 ? undefined : concatenate(parts);
}

const sizeOf = (entries: StreamEntry[]): number =>
  entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);

/** `stream: true`: the frames as they come, then `[DONE]`. */
export async function replyChatStream(
  context: GatewayContext,
  opened: OpenedStream,
  response: ResponseOptions,
): Promise<void> {
  const { STATUS_HOLD_MS: statusHoldMs, KEEPALIVE_MS: keepaliveMs } = context.config;
  const events = new EventStreamResponse({ ...response, statusHoldMs, keepaliveMs });
  const delivered = new DeliveryCount(context, opened.streamId);
  try {
    for await (const entries of readStream(opened)) {
      const frames = textOf(entries);
      if (frames) await events.write(frames);
      await delivered.add(entries.at(-1)?.seq ?? 0, sizeOf(entries));
    }
    events.end('data: [DONE]\n\n');
  } catch (error) {
    events.fail(error);
  }
}

/** `stream: false`: one JSON body. It is sent when it is whole, so that every error has its status. */
export async function replyChatCompletion(
  context: GatewayContext,
  opened: OpenedStream,
  response: ResponseOptions,
): Promise<void> {
  const body = await collectBody(context, opened);
  startResponse(response, {
    'content-type': 'application/json',
    'content-length': String(body.length),
  });
  await response.connection.write(body);
  response.connection.end();
}

/** A whole answer that is read again as events: one of them has all of it. */
export async function replyChatEvent(
  context: GatewayContext,
  opened: OpenedStream,
  response: ResponseOptions,
): Promise<void> {
  const { STATUS_HOLD_MS: statusHoldMs, KEEPALIVE_MS: keepaliveMs } = context.config;
  const events = new EventStreamResponse({ ...response, statusHoldMs, keepaliveMs });
  try {
    const json = Buffer.from(await collectBody(context, opened)).toString();
    // JSON has line feeds between its tokens only; in an event they would be lines of their own.
    await events.write(Buffer.from(`data: ${json.trim().replaceAll(/[\r\n]+/g, ' ')}\n\n`));
    events.end('data: [DONE]\n\n');
  } catch (error) {
    events.fail(error);
  }
}

/** Throws the stream's error; `upstream_protocol` when it has no text at all. */
async function collectBody(context: GatewayContext, opened: OpenedStream): Promise<Uint8Array> {
  const delivered = new DeliveryCount(context, opened.streamId);
  const parts: Uint8Array[] = [];
  for await (const entries of readStream(opened)) {
    const part = textOf(entries);
    if (part) parts.push(part);
    await delivered.add(entries.at(-1)?.seq ?? 0, sizeOf(entries));
  }
  const body = concatenate(parts);
  if (body.length === 0) throw new VoiceError('upstream_protocol');
  return body;
}
