import type { AudioEncoder } from '@antiphon/shared/audio/audio-encoder';
import { BYTES_PER_SAMPLE } from '@antiphon/shared/audio/audio-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { releasePhrases } from '@antiphon/shared/queue/phrase-release';
import type { StreamEntry } from '@antiphon/shared/streams/stream-event';
import type { GatewayContext } from '../gateway-context.ts';
import { ClientLeft } from './client-connection.ts';
import { DeliveryCount, type OpenedStream, readStream } from './open-stream.ts';
import { type OrderedChunk, PhraseOrder } from './phrase-order.ts';
import { EventStreamResponse, type ResponseOptions, startResponse } from './stream-response.ts';

export interface SpeechReplyOptions {
  encoder: AudioEncoder;
  phraseCount: number;
  /** Characters of the input: the usage of a text-to-speech answer. */
  inputCharacters: number;
}

/** Base64 fragments are joined by clients: each is a multiple of 6 bytes but for the last. */
const FRAGMENT_BYTES = 6;

/** The stream's audio in order, through the one encoder; empty arrays are left out. */
async function* encodedAudio(
  context: GatewayContext,
  opened: OpenedStream,
  { encoder, phraseCount }: SpeechReplyOptions,
): AsyncGenerator<Uint8Array> {
  const order = new PhraseOrder();
  const delivered = new DeliveryCount(context, opened.streamId);
  let claimed = 0;
  const release = () => {
    if (claimed < phraseCount) releaseNext(context, opened.streamId);
  };
  opened.watched.onSecond = release;
  for await (const entries of readStream(opened)) {
    claimed = opened.watched.producers.size;
    const seq = entries.at(-1)?.seq ?? 0;
    for (const entry of entries) {
      throwPhraseError(entry);
      order.add(entry);
    }
    for (const chunk of order.take()) {
      const pcm = chunk.pcm ?? (await readAgain(opened, chunk));
      const bytes = await encoder.encode(pcm);
      if (bytes.length > 0) yield bytes;
      const upTo = Math.min(seq, (order.firstWaitingSeq ?? seq + 1) - 1);
      await delivered.add(upTo, chunk.sizeBytes, pcm.byteLength / BYTES_PER_SAMPLE);
    }
    if (claimed < phraseCount) {
      await delivered.tell(); // what was sent decides how far ahead synthesis may run
      release();
    }
  }
  const rest = await encoder.end();
  if (rest.length > 0) yield rest;
}

function releaseNext({ log, jobs, logger }: GatewayContext, streamId: string): void {
  releasePhrases(log, jobs, streamId).catch((error: unknown) => {
    logger.warn({ err: error, streamId }, 'release'); // the next second tries again
  });
}

/** `/v1/audio/speech` never leaves a phrase out. */
function throwPhraseError({ event }: StreamEntry): void {
  if (event.type === 'phrase-error') throw VoiceError.deserialize(event.error);
}

async function readAgain({ reader }: OpenedStream, { seq }: OrderedChunk): Promise<Uint8Array> {
  const [entry] = await reader.readAgain(seq, 1);
  if (entry?.seq !== seq || entry.event.type !== 'audio-delta') {
    throw new VoiceError('internal_error', { cause: `entry ${seq} left the log too early` });
  }
  return entry.event.pcm;
}

/** The audio itself. Headers go out with the first bytes; a later failure cuts the socket. */
export async function replySpeech(
  context: GatewayContext,
  opened: OpenedStream,
  response: ResponseOptions,
  options: SpeechReplyOptions,
): Promise<void> {
  const { connection } = response;
  try {
    for await (const bytes of encodedAudio(context, opened, options)) {
      if (!connection.started) {
        startResponse(response, { 'content-type': options.encoder.contentType });
      }
      await connection.write(bytes);
    }
    if (!connection.started) throw new VoiceError('engine_failed', { cause: 'no audio at all' });
    connection.end();
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
  let waiting: Buffer = Buffer.alloc(0);
  const frame = (data: object) => `data: ${JSON.stringify(data)}\n\n`;
  const delta = (bytes: Buffer) =>
    frame({ type: 'speech.audio.delta', audio: bytes.toString('base64') });
  try {
    for await (const bytes of encodedAudio(context, opened, options)) {
      waiting = Buffer.concat([waiting, bytes]);
      const length = waiting.length - (waiting.length % FRAGMENT_BYTES);
      if (length === 0) continue;
      await events.write(Buffer.from(delta(waiting.subarray(0, length))));
      waiting = waiting.subarray(length);
    }
    const { inputCharacters } = options;
    const usage = {
      input_tokens: inputCharacters,
      output_tokens: 0,
      total_tokens: inputCharacters,
    };
    const last = waiting.length > 0 ? delta(waiting) : '';
    events.end(last + frame({ type: 'speech.audio.done', usage }));
  } catch (error) {
    events.fail(error);
  }
}
