import type { StreamEvent } from '@antiphon/shared/streams/stream-event';
import type { GatewayContext } from '../gateway-context.ts';
import { formatTranscript, type TranscriptFormatOptions } from '../openai/transcript-format.ts';
import type { Transcript } from '../openai/transcript.ts';
import { type OpenedStream, readStream } from './open-stream.ts';
import { EventStreamResponse, type ResponseOptions, startResponse } from './stream-response.ts';

/** The transcript as it grows; `onSegment` hears the text that each segment adds. */
async function collectTranscript(
  opened: OpenedStream,
  onSegment: (addedText: string) => Promise<void>,
): Promise<Transcript> {
  const transcript: Transcript = { segments: [], words: [], language: '', durationSeconds: 0 };
  for await (const entries of readStream(opened)) {
    for (const { event } of entries) {
      const added = addEvent(transcript, event);
      if (added !== '') await onSegment(added);
    }
  }
  return transcript;
}

function addEvent(transcript: Transcript, event: StreamEvent): string {
  if (event.type === 'transcript-delta') {
    const first = transcript.segments.length === 0;
    transcript.segments.push(event.segment);
    transcript.words.push(...(event.words ?? []));
    return `${first ? '' : ' '}${event.segment.text}`;
  }
  if (event.type === 'transcript-end') {
    transcript.language = event.language;
    transcript.durationSeconds = event.durationSeconds;
  }
  return '';
}

/** The whole transcript in the format asked for. */
export async function replyTranscription(
  opened: OpenedStream,
  response: ResponseOptions,
  options: TranscriptFormatOptions,
): Promise<void> {
  const transcript = await collectTranscript(opened, async () => undefined);
  const { body, contentType } = formatTranscript(transcript, options);
  const bytes = Buffer.from(body);
  startResponse(response, { 'content-type': contentType, 'content-length': String(bytes.length) });
  await response.connection.write(bytes);
  response.connection.end();
}

/** `stream=true`: a delta per segment, then one `transcript.text.done` (contract, section 3). */
export async function replyTranscriptionEvents(
  context: GatewayContext,
  opened: OpenedStream,
  response: ResponseOptions,
): Promise<void> {
  const { STATUS_HOLD_MS: statusHoldMs, KEEPALIVE_MS: keepaliveMs } = context.config;
  const events = new EventStreamResponse({ ...response, statusHoldMs, keepaliveMs });
  const frame = (data: object) => `data: ${JSON.stringify(data)}\n\n`;
  let text = '';
  try {
    await collectTranscript(opened, async (added) => {
      text += added;
      await events.write(Buffer.from(frame({ type: 'transcript.text.delta', delta: added })));
    });
    // No usage: the event's schema knows tokens only, and these engines count none.
    events.end(frame({ type: 'transcript.text.done', text }));
  } catch (error) {
    events.fail(error);
  }
}
