import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { Context, Handler } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import { replyAsEvents } from '../replies/answer.ts';
import { ClientConnection } from '../replies/client-connection.ts';
import { followStream } from '../replies/follow-stream.ts';
import { findKept } from '../streams/kept-answer.ts';
import { inReaderPlace } from '../streams/stream-reader-place.ts';
import { answerOpened } from '../streams/answer-by-stream.ts';

/**
 * `GET /v1/streams/{id}/events`: the answer's events from any one on, to its end. They are written
 * again from the log's start, and those that the client has are left out.
 */
export const streamEvents =
  (context: GatewayContext): Handler<GatewayEnv, '/:id'> =>
  async (c) => {
    const tenantId = c.get('tenantId');
    const streamId = c.req.param('id');
    const { kept } = await findKept(context, tenantId, streamId);
    const afterEvent = readAfterEvent(c);
    const writeStallMs = context.config.WRITE_STALL_TIMEOUT_MS;
    const connection = new ClientConnection(c.env.outgoing, { writeStallMs });
    return inReaderPlace(c, context, async () => {
      const opened = await followStream(context, streamId, { connection, kept, follower: 'again' });
      return answerOpened(c, { context, opened, connection }, (response) => {
        const target = { tenantId, opened, response: { ...response, afterEvent } };
        return replyAsEvents(context, target, kept.answer);
      });
    });
  };

/** The last event that the client has. The header wins: browsers send it with the address they began with. */
function readAfterEvent(c: Context<GatewayEnv>): number {
  const given = [
    ['Last-Event-ID', c.req.header('last-event-id')],
    ['starting_after', c.req.query('starting_after')],
  ] as const;
  const [param, text] = given.find(([, value]) => value !== undefined && value !== '') ?? [];
  if (text === undefined) return 0;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new VoiceError('invalid_value', {
    param: param ?? null,
    message: `Invalid '${param}': '${text.slice(0, 50)}'. Expected the id of an event of this stream, a whole number.`,
  });
}
