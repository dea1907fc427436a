import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { speechTemplateSchema } from '@antiphon/shared/queue/phrase-release';
import type { GatewayContext } from '../gateway-context.ts';
import { STREAM_FIELDS, type StreamObject, describeStream } from '../openai/stream-object.ts';

/**
 * Stops a stream of this tenant: its client hears the end first, then every engine call is aborted
 * by the same script's control message. One that has ended already stays what it is. Throws
 * `stream_not_found` for unknown ones and those of other tenants alike, `queue_unavailable`.
 */
export async function stopStream(
  context: GatewayContext,
  tenantId: string,
  streamId: string,
): Promise<StreamObject> {
  const { log, tenantStreams } = context;
  // Sent together: the state is read behind the stop, one round trip for both.
  const [status, state] = await Promise.all([
    log.finish(streamId, new VoiceError('stream_cancelled'), { tenantId }),
    tenantStreams.state(tenantId, streamId, STREAM_FIELDS),
  ]).catch(throwUnavailable);
  if (status === 'gone' || !state) throw new VoiceError('stream_not_found');
  if (status === 'cancelled') void discardJobs(context, streamId);
  return describeStream(streamId, { ...state, status });
}

/** Stops what the tenant has open; resolves with what this call stopped. Throws `queue_unavailable`. */
export async function stopAllStreams(
  context: GatewayContext,
  tenantId: string,
): Promise<StreamObject[]> {
  const { log, tenantStreams } = context;
  const open = await tenantStreams.list(tenantId, STREAM_FIELDS).catch(throwUnavailable);
  const stopped = await Promise.all(
    open.map(async ({ streamId, state }) => {
      const error = new VoiceError('stream_cancelled');
      const status = await log.finish(streamId, error, { tenantId });
      return status === 'cancelled' ? [describeStream(streamId, { ...state, status })] : [];
    }),
  ).catch(throwUnavailable);
  for (const { id } of stopped.flat()) void discardJobs(context, id);
  return stopped.flat();
}

/** For `catch`: Redis is away, or answers nonsense. */
export function throwUnavailable(cause: unknown): never {
  throw VoiceError.from(cause, 'queue_unavailable');
}

/**
 * Takes what nobody has claimed yet out of the queues. Best effort and behind the answer: a worker
 * that gets such a job finds the stream closed.
 */
async function discardJobs({ log, jobs, logger }: GatewayContext, streamId: string): Promise<void> {
  try {
    const state = await log.state(streamId);
    if (!state) return;
    const { queueName = '', kind, speech, released = '0', firstOpen = '0' } = state;
    if (kind !== 'speech') await jobs.discard(queueName, streamId);
    if (speech === undefined) return;
    const template = speechTemplateSchema.parse(JSON.parse(speech));
    for (let index = Number(firstOpen); index < Number(released); index += 1) {
      if (state[`phrase-${index}:epoch`] !== undefined) continue;
      await jobs.discard(template.queueName, `${streamId}-${index}`);
    }
  } catch (error) {
    logger.warn({ err: error, streamId }, 'waiting jobs of a stopped stream');
  }
}
