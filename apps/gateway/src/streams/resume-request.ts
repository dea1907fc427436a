import { createHash } from 'node:crypto';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { createStreamId } from '@antiphon/shared/streams/stream-key';
import type { Context } from 'hono';
import { z } from 'zod';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import { type JsonBody, parseBody } from '../openai/json-body.ts';

/** How a request asked that its answer may be read again. */
export interface Resume {
  /** Known before it is opened: its jobs name the stream as whose lease keeps them alive. */
  streamId: string;
  /** Goes on to its end without its client. */
  background: boolean;
  /** The request's `Idempotency-Key`, and what it was sent with. */
  idempotency: { key: string; bodyHash: string } | undefined;
  /** It is open, and its jobs are queued. */
  isOpen: boolean;
  /** From now on its keeper frees what its jobs read. */
  isKept: boolean;
}

const backgroundSchema = z.looseObject({ background: z.boolean().nullish() });

/** A body without our own field `background`, which no engine is to see, and what it said. */
export function takeBackground(body: JsonBody): { body: JsonBody; background: boolean } {
  if (!('background' in body.value)) return { body, background: false };
  const { background, ...value } = parseBody(backgroundSchema, body.value);
  return { body: { text: JSON.stringify(value), value }, background: background === true };
}

export interface AskedResume {
  background?: boolean;
  /** All that makes the request what it is, besides its route. */
  content: string;
}

/** Undefined for an ordinary request. Throws `invalid_value`. */
export function readResume(
  c: Context<GatewayEnv>,
  { background = false, content }: AskedResume,
): Resume | undefined {
  const asked = c.req.header('x-stream-resume') ?? '0';
  if (asked !== '0' && asked !== '1') {
    throw new VoiceError('invalid_value', {
      param: 'x-stream-resume',
      message: `Invalid header 'x-stream-resume': '${asked.slice(0, 50)}'. Expected '1'.`,
    });
  }
  const idempotency = readIdempotencyKey(c, content);
  if (asked === '0' && !background && !idempotency) return undefined;
  return { streamId: createStreamId(), background, idempotency, isOpen: false, isKept: false };
}

/** For a route whose answer nobody can have again. Throws `unsupported_parameter` to who relies on it. */
export function refuseResume(c: Context<GatewayEnv>): void {
  const resume = readResume(c, { content: '' });
  if (!resume) return;
  const param = resume.idempotency ? 'Idempotency-Key' : 'x-stream-resume';
  throw new VoiceError('unsupported_parameter', {
    param,
    message: `Unsupported header: '${param}' is not supported here: the answer is played once.`,
  });
}

/** The request's `Idempotency-Key`, for the answer to `content`. Throws `invalid_value`. */
export function readIdempotencyKey(c: Context<GatewayEnv>, content: string): Resume['idempotency'] {
  const key = c.req.header('idempotency-key');
  if (key === undefined) return undefined;
  if (!/^[\x20-\x7e]{1,255}$/.test(key)) {
    throw new VoiceError('invalid_value', {
      param: 'Idempotency-Key',
      message: "Invalid header 'Idempotency-Key': expected 1 to 255 printable ASCII characters.",
    });
  }
  const bodyHash = createHash('sha256').update(`${c.req.path}\n${content}`).digest('hex');
  return { key, bodyHash };
}

/** The context in which the stream's jobs are made: it is its own gateway, whichever keeps it. */
export const leasedContext = (
  context: GatewayContext,
  resume: Resume | undefined,
): GatewayContext => (resume ? { ...context, gatewayId: resume.streamId } : context);
