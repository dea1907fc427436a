import { setTimeout as delay } from 'node:timers/promises';
import { type BatchRecord, isOver } from '@antiphon/shared/batches/batch-record';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { GatewayContext } from '../gateway-context.ts';
import { describeBatch } from '../openai/batch-object.ts';
import { type ClientConnection, ClientLeft } from '../replies/client-connection.ts';
import { Wake } from './wake.ts';

/** Between two events: a batch of short lines changes more often than anybody reads. */
const PAUSE_MS = 250;
/** A change that was told to nobody is seen after so long. */
const LOOK_MS = 1000;
/** A Redis that is away for so long is an error. */
const REDIS_WAIT_MS = 30_000;

const KEEPALIVE = Buffer.from(': keepalive\n');
const END = Buffer.from('data: [DONE]\n\n');

type FollowContext = Pick<
  GatewayContext,
  'batches' | 'batchSubscriber' | 'config' | 'accepting' | 'logger'
>;

/**
 * Writes the batch as server-sent events until it is over: now, and at each change. Resolves when
 * nothing more is to be written. What fails is told as one error, without `[DONE]`.
 */
export async function followBatch(
  context: FollowContext,
  batch: BatchRecord,
  connection: ClientConnection,
): Promise<void> {
  const wake = new Wake();
  const unsubscribe = context.batchSubscriber.subscribe(batch.id, wake.call);
  try {
    let current = batch;
    let shown = '';
    for (;;) {
      const text = JSON.stringify(describeBatch(current));
      if (text !== shown) await connection.write(Buffer.from(`data: ${text}\n\n`));
      shown = text;
      if (isOver(current.status)) return connection.end(END);
      current = await nextLook(context, current, { connection, wake });
    }
  } catch (error) {
    endByError(context, error, connection);
  } finally {
    unsubscribe();
  }
}

/** The batch when it may have changed, or after a while. */
async function nextLook(
  { batches, config, accepting }: FollowContext,
  batch: BatchRecord,
  { connection, wake }: { connection: ClientConnection; wake: Wake },
): Promise<BatchRecord> {
  const { left } = connection;
  const { KEEPALIVE_MS: keepaliveMs } = config;
  const sinceMs = performance.now();
  for (;;) {
    await delay(PAUSE_MS, undefined, { signal: left }).catch(() => undefined);
    await wake.wait(LOOK_MS - PAUSE_MS, left);
    left.throwIfAborted();
    if (!accepting()) throw new VoiceError('server_shutting_down', { retryAfterSeconds: 1 });
    if (keepaliveMs > 0 && performance.now() - connection.wroteAtMs >= keepaliveMs) {
      await connection.write(KEEPALIVE);
    }
    const next = await batches.get(batch.tenantId, batch.id).catch((error: unknown) => {
      if (performance.now() - sinceMs > REDIS_WAIT_MS) throw error;
      return null;
    });
    if (next === undefined) throw new VoiceError('batch_not_found');
    if (next) return next;
  }
}

function endByError({ logger }: FollowContext, error: unknown, connection: ClientConnection): void {
  if (error instanceof ClientLeft || connection.left.aborted) return;
  const failure = VoiceError.from(error);
  logger.info({ err: error }, 'events of a batch broke off');
  if (failure.code === 'write_stall_timeout') return connection.destroy();
  connection.end(Buffer.from(`data: ${JSON.stringify(failure.toBody())}\n\n`));
}
