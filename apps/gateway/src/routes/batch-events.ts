import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type { Handler } from 'hono';
import { followBatch } from '../batches/follow-batch.ts';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import { ClientConnection } from '../replies/client-connection.ts';
import { findBatch } from './batches.ts';

/** `GET /v1/batches/{id}/events`: the batch object, now and with each change, to its end. */
export const batchEvents =
  (context: GatewayContext): Handler<GatewayEnv, '/:id'> =>
  async (c) => {
    const { batches, config } = context;
    const batch = await findBatch(batches, c.get('tenantId'), c.req.param('id'));
    const writeStallMs = config.WRITE_STALL_TIMEOUT_MS;
    const connection = new ClientConnection(c.env.outgoing, { writeStallMs });
    connection.start(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
      'x-content-type-options': 'nosniff',
      'x-request-id': c.get('requestId'),
    });
    await followBatch(context, batch, connection);
    return RESPONSE_ALREADY_SENT;
  };
