import { randomBytes } from 'node:crypto';

/** The braces keep a stream's keys in one slot of a Redis cluster. */
export const stateKey = (streamId: string): string => `antiphon:{${streamId}}:state`;
export const logKey = (streamId: string): string => `antiphon:{${streamId}}:log`;
export const streamChannel = (streamId: string): string => `antiphon:{${streamId}}`;

/** There while somebody reads a stream that may be resumed, and for `RESUME_GRACE_MS` after that. */
export const presenceKey = (streamId: string): string => `antiphon:{${streamId}}:presence`;
/** Sorted set: streams that go on without their client, by when their keeper was last seen (ms, Redis' clock). */
export const KEPT_STREAMS_KEY = 'antiphon:kept';

/** `hash`: of what the client sent as `Idempotency-Key`. */
export const idempotencyKey = (tenantId: string, hash: string): string =>
  `antiphon:idempotency:${tenantId}:${hash}`;

/** Ids of a tenant's open streams. */
export const tenantStreamsKey = (tenantId: string): string => `antiphon:tenant:${tenantId}:streams`;

export const CONTROL_CHANNEL = 'antiphon:control';

export const gatewayKey = (gatewayId: string): string => `antiphon:gateway:${gatewayId}`;
export const workerKey = (workerId: string): string => `antiphon:worker:${workerId}`;
/** Sorted set of worker ids by when they were last seen, in ms of Redis' clock. */
export const WORKERS_KEY = 'antiphon:workers';

/**
 * 128 random bits as hex with a letter in front: also the BullMQ job id, which may hold no `:`
 * and must not look like an integer.
 */
export function createStreamId(): string {
  return `s${randomBytes(16).toString('hex')}`;
}
