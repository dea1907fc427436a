import { BYTES_PER_SAMPLE } from '@antiphon/shared/audio/audio-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { releasePhrases } from '@antiphon/shared/queue/phrase-release';
import type { StreamEvent } from '@antiphon/shared/streams/stream-event';
import type { GatewayContext } from '../gateway-context.ts';
import { DeliveryCount, type OpenedStream, readStream } from './open-stream.ts';
import { type OrderedChunk, PhraseOrder } from './phrase-order.ts';

/** What a stream with phrases gives its reply. */
export type SoundPart =
  /** s16le mono at `SAMPLE_RATE_HZ`; phrases in order, whatever order they were made in. */
  | { type: 'pcm'; pcm: Uint8Array }
  /** Everything else as it comes, ahead of its sound. */
  | { type: 'event'; event: Exclude<StreamEvent, { type: 'audio-delta' | 'audio-end' }> };

/**
 * A stream's events and its sound in order. What was yielded counts as sent to the client when the
 * next part is asked for; that number decides how far ahead synthesis may run. `phraseCount`:
 * phrases known from the start; those of a chat are counted as they are cut.
 */
export async function* readSound(
  context: GatewayContext,
  opened: OpenedStream,
  phraseCount = 0,
): AsyncGenerator<SoundPart> {
  const { streamId, watched } = opened;
  const order = new PhraseOrder();
  const delivered = new DeliveryCount(context, streamId);
  let cutCount = phraseCount;
  const release = () => {
    if (phrasesClaimed(watched.producers) < cutCount) releaseNext(context, streamId);
  };
  watched.onSecond = release;
  for await (const entries of readStream(opened)) {
    const seq = entries.at(-1)?.seq ?? 0;
    let hasSound = false;
    for (const entry of entries) {
      const { event } = entry;
      order.add(entry);
      if (event.type === 'audio-delta' || event.type === 'audio-end') continue;
      if (event.type === 'phrase-start') cutCount += 1;
      yield { type: 'event', event };
    }
    for (const chunk of order.take()) {
      const pcm = chunk.pcm ?? (await readAgain(opened, chunk));
      yield { type: 'pcm', pcm };
      hasSound = true;
      const upTo = Math.min(seq, (order.firstWaitingSeq ?? seq + 1) - 1);
      await delivered.add(upTo, chunk.sizeBytes, pcm.byteLength / BYTES_PER_SAMPLE);
    }
    if (hasSound && phrasesClaimed(watched.producers) < cutCount) {
      await delivered.tell();
      release();
    }
  }
}

function phrasesClaimed(producers: ReadonlyMap<string, unknown>): number {
  let count = 0;
  for (const name of producers.keys()) if (name.startsWith('phrase-')) count += 1;
  return count;
}

function releaseNext({ log, jobs, logger }: GatewayContext, streamId: string): void {
  releasePhrases(log, jobs, streamId).catch((error: unknown) => {
    logger.warn({ err: error, streamId }, 'release'); // the next second tries again
  });
}

async function readAgain({ reader }: OpenedStream, { seq }: OrderedChunk): Promise<Uint8Array> {
  const [entry] = await reader.readAgain(seq, 1);
  if (entry?.seq !== seq || entry.event.type !== 'audio-delta') {
    throw new VoiceError('internal_error', { cause: `entry ${seq} left the log too early` });
  }
  return entry.event.pcm;
}
