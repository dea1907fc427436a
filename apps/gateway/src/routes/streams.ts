import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { queuePosition } from '@antiphon/shared/queue/queue-counts';
import type { Handler } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import { STREAM_FIELDS, type StreamObject, describeStream } from '../openai/stream-object.ts';
import { stopAllStreams, stopStream, throwUnavailable } from '../streams/stop-streams.ts';

/** `GET /v1/streams`: what the caller's key has open, oldest first. */
export const streamList =
  ({ tenantStreams }: GatewayContext): Handler<GatewayEnv> =>
  async (c) => {
    const open = await tenantStreams.list(c.get('tenantId'), STREAM_FIELDS).catch(throwUnavailable);
    const data = open.map(({ streamId, state }) => describeStream(streamId, state));
    return c.json({ object: 'list', data });
  };

/** `GET /v1/streams/{id}`: open, or ended less than `LOG_TTL_MS` ago. */
export const streamById =
  ({ tenantStreams, queueRedis }: GatewayContext): Handler<GatewayEnv, '/:id'> =>
  async (c) => {
    const streamId = c.req.param('id');
    const state = await tenantStreams
      .state(c.get('tenantId'), streamId, STREAM_FIELDS)
      .catch(throwUnavailable);
    if (!state) throw new VoiceError('stream_not_found');
    c.header('x-stream-id', streamId);
    const described = describeStream(streamId, state);
    if (described.stage !== 'queued') return c.json(described);
    const { queueName, jobId } = firstJob(described, state);
    const position = await queuePosition(queueRedis, queueName, jobId).catch(throwUnavailable);
    return c.json({
      ...described,
      ...(position === undefined ? {} : { queue_position: position }),
    });
  };

/** What is taken first of a stream that waits: of a chat with recordings the first of those. */
function firstJob(
  { id, kind }: StreamObject,
  { queueName = '', recordingsQueueName }: Record<string, string>,
): { queueName: string; jobId: string } {
  if (recordingsQueueName !== undefined) {
    return { queueName: recordingsQueueName, jobId: `${id}-t0` };
  }
  return { queueName, jobId: kind === 'speech' ? `${id}-0` : id };
}

/** `POST /v1/streams/{id}/cancel`. Never 409, which SDKs would send again. */
export const streamCancel =
  (context: GatewayContext): Handler<GatewayEnv, '/:id'> =>
  async (c) => {
    const stopped = await stopStream(context, c.get('tenantId'), c.req.param('id'));
    c.header('x-stream-id', stopped.id);
    return c.json(stopped);
  };

/** `POST /v1/streams/cancel`: all that the caller's key has open. */
export const streamCancelAll =
  (context: GatewayContext): Handler<GatewayEnv> =>
  async (c) =>
    c.json({ object: 'list', data: await stopAllStreams(context, c.get('tenantId')) });

/** `POST /api/stop/{stream_id}`. */
export const stopOne =
  (context: GatewayContext): Handler<GatewayEnv, '/:id'> =>
  async (c) => {
    const { id } = await stopStream(context, c.get('tenantId'), c.req.param('id'));
    c.header('x-stream-id', id);
    return c.json({ status: 'stopped', stream_id: id });
  };

/** `POST /api/stop_all`. */
export const stopAll =
  (context: GatewayContext): Handler<GatewayEnv> =>
  async (c) => {
    const stopped = await stopAllStreams(context, c.get('tenantId'));
    const streamIds = stopped.map(({ id }) => id);
    return c.json({ status: 'stopped', count: streamIds.length, stream_ids: streamIds });
  };
