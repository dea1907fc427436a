import type { Deadlines } from '@antiphon/shared/jobs/job-catalog';
import { addToLogContext } from '@antiphon/shared/runtime/log-context';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type { Context } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import { ClientConnection, ClientLeft } from '../replies/client-connection.ts';
import { type OpenStreamOptions, type OpenedStream, openStream } from '../replies/open-stream.ts';
import type { ResponseOptions } from '../replies/stream-response.ts';

/** The deadlines by configuration; `Infinity` where a kind of job has none. */
export function configuredDeadlines({ config }: GatewayContext): Deadlines {
  return {
    queueMs: config.QUEUE_TIMEOUT_MS,
    firstEventMs: config.FIRST_EVENT_TIMEOUT_MS,
    idleMs: config.IDLE_TIMEOUT_MS,
    totalMs: config.TOTAL_TIMEOUT_MS,
  };
}

export type StreamRequest = Omit<OpenStreamOptions, 'tenantId' | 'connection'>;

/** Opens a stream, has it answered, and closes it: what all three endpoints do alike. */
export async function answerByStream(
  c: Context<GatewayEnv>,
  context: GatewayContext,
  request: StreamRequest,
  reply: (opened: OpenedStream, response: ResponseOptions) => Promise<void>,
): Promise<Response> {
  const { logger, config } = context;
  const connection = new ClientConnection(c.env.outgoing, {
    writeStallMs: config.WRITE_STALL_TIMEOUT_MS,
  });
  const tenantId = c.get('tenantId');
  const opened = await openStream(context, { ...request, tenantId, connection });
  try {
    const { streamId } = opened;
    addToLogContext({ streamId });
    const received = { requestId: c.get('requestId'), receivedAtMs: c.get('receivedAtMs') };
    await reply(opened, { connection, ...received, streamId, logger });
  } catch (error) {
    if (!(error instanceof ClientLeft) && !connection.left.aborted) {
      c.header('x-stream-id', opened.streamId);
      throw error;
    }
  } finally {
    await opened.close();
  }
  return RESPONSE_ALREADY_SENT;
}
