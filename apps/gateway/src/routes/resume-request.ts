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

/** Undefined for an ordinary request. Throws `invalid_value`. */
export function readResume(c: Context<GatewayEnv>, background = false): Resume | undefined {
  const asked = c.req.header('x-stream-resume') ?? '0';
  if (asked !== '0' && asked !== '1') {
    throw new VoiceError('invalid_value', {
      param: 'x-stream-resume',
      message: `Invalid header 'x-stream-resume': '${asked.slice(0, 50)}'. Expected '1'.`,
    });
  }
  if (asked === '0' && !background) return undefined;
  return { streamId: createStreamId(), background, isKept: false };
}

/** The context in which the stream's jobs are made: it is its own gateway, whichever keeps it. */
export const leasedContext = (
  context: GatewayContext,
  resume: Resume | undefined,
): GatewayContext => (resume ? { ...context, gatewayId: resume.streamId } : context);
