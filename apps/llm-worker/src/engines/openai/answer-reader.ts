import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { ChatEvent } from '@antiphon/shared/services/ai-service';
import { BodyReader, readWholeBody } from '@antiphon/shared/services/upstream-body';
import { messageIn, scrubSecrets } from '@antiphon/shared/services/upstream-error';
import { upstreamBody } from '@antiphon/shared/services/upstream-fetch';
import { choicesIn, parseObject, toFinishReason, usageIn } from './completion-json.ts';
import { FrameInspector } from './frame-inspector.ts';
import { FrameSplitter } from './frame-splitter.ts';

export interface AnswerOptions {
  signal: AbortSignal;
  idleTimeoutMs: number;
  choiceCount: number;
  /** To be kept out of messages. */
  apiKey: string | undefined;
}

/** OpenAI's longest frame is a few KiB; one 10 MB line would block a client's SDK for 3.5 s. */
const MAX_LINE_BYTES = 1024 * 1024;
/** Parsed as a whole, on the event loop: 16 MiB take 40 to 120 ms. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
const ANSWER_PIECE_BYTES = 64 * 1024;
/** After `[DONE]`: time for the end of the body, without which the connection cannot be used again. */
const LINGER_MS = 1000;

/**
 * Frames of a streamed answer, as many as each read of the socket held, then `finish`.
 *
 * The hot path of the product. Measured with one token of 300 bytes per read: cutting 0.1 µs and
 * inspecting 0.4 µs, where `JSON.parse` alone takes 1.1 µs. Socket, HTTP parser and fetch stream
 * cost 20 to 25 µs around it, so that what is saved per read (generators, timers, promises) counts
 * for more than what is saved per byte. A flood, hundreds of tokens per read, costs 3 µs per token.
 */
export async function* readStreamedAnswer(
  respond: () => Promise<Response>,
  options: AnswerOptions,
): AsyncGenerator<ChatEvent> {
  const { signal, idleTimeoutMs, choiceCount, apiKey } = options;
  const response = await respond();
  await refuseOtherTypes(response, options);
  const splitter = new FrameSplitter(MAX_LINE_BYTES);
  const inspector = new FrameInspector(choiceCount, apiKey);
  const overdue = new AbortController();
  const readSignal = AbortSignal.any([signal, overdue.signal]);
  const body = new BodyReader(response, { signal: readSignal, idleTimeoutMs });
  let lingering: NodeJS.Timeout | undefined;
  try {
    for (let read = await body.read(); read !== undefined; read = await body.read()) {
      if (lingering !== undefined) continue;
      const block = splitter.push(asBuffer(read));
      const { byteCount, error } = inspector.inspect(block);
      if (byteCount > 0) yield { type: 'chunk-frames', frames: block.subarray(0, byteCount) };
      const failure = error ?? splitter.failure;
      if (failure !== undefined) throw failure;
      if (splitter.done) lingering = setTimeout(() => overdue.abort(), LINGER_MS);
    }
  } catch (thrown) {
    signal.throwIfAborted();
    // Nothing that happens to the connection after `[DONE]` takes the answer back.
    if (lingering === undefined) throw thrown;
  } finally {
    clearTimeout(lingering);
    body.close();
  }
  yield { type: 'finish', ...inspector.finish() };
}

/** The whole JSON answer in pieces, once it proved to be one, then `finish`. */
export async function* readWholeAnswer(
  respond: () => Promise<Response>,
  { signal, idleTimeoutMs, choiceCount, apiKey }: AnswerOptions,
): AsyncGenerator<ChatEvent> {
  const response = await respond();
  const limits = { idleTimeoutMs, patientStart: true, maxBytes: MAX_ANSWER_BYTES };
  const bytes = await readWholeBody(response, { signal, ...limits });
  const answer = parseObject(bytes.toString());
  throwErrorIn(answer, apiKey);
  const finished = choicesIn(answer).filter(({ finishReason }) => finishReason !== undefined);
  const first = finished.find(({ index }) => index === 0)?.finishReason;
  if (first === undefined || finished.length < choiceCount) {
    const message = 'The upstream server of this engine answered without a finish reason.';
    throw new VoiceError('upstream_protocol', { message });
  }
  for (let at = 0; at < bytes.byteLength; at += ANSWER_PIECE_BYTES) {
    yield { type: 'completion-bytes', bytes: bytes.subarray(at, at + ANSWER_PIECE_BYTES) };
  }
  const usage = usageIn(answer);
  yield {
    type: 'finish',
    finishReason: toFinishReason(first),
    ...(usage === undefined ? {} : { usage }),
  };
}

/** A JSON or HTML answer to a streaming request; a server that names no type is believed. */
async function refuseOtherTypes(
  response: Response,
  { signal, idleTimeoutMs, apiKey }: AnswerOptions,
): Promise<void> {
  const type = response.headers.get('content-type')?.split(';')[0]?.trim() ?? '';
  if (type !== 'text/html' && !type.endsWith('json')) return;
  if (type.endsWith('json')) {
    const limits = { signal, idleTimeoutMs, maxBytes: MAX_LINE_BYTES };
    throwErrorIn(parseObject((await readWholeBody(response, limits)).toString()), apiKey);
  } else {
    upstreamBody(response)?.destroy();
  }
  const message = `The upstream server of this engine answered a streaming request with ${type}.`;
  throw new VoiceError('upstream_protocol', { message });
}

function throwErrorIn(answer: Record<string, unknown>, apiKey: string | undefined): void {
  if (answer['error'] === undefined || answer['error'] === null) return;
  const { message } = messageIn(answer);
  throw new VoiceError('upstream_error', message ? { message: scrubSecrets(message, apiKey) } : {});
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
