import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { Deadlines } from '@antiphon/shared/jobs/job-catalog';
import { addToLogContext } from '@antiphon/shared/runtime/log-context';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type { Context } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import type { Answer } from '../replies/answer.ts';
import { ClientConnection, ClientLeft } from '../replies/client-connection.ts';
import { followStream } from '../replies/follow-stream.ts';
import { type OpenStreamOptions, type OpenedStream, openStream } from '../replies/open-stream.ts';
import type { ResponseOptions } from '../replies/stream-response.ts';
import type { Leave } from '../tenants/stream-admission.ts';
import type { Resume } from './resume-request.ts';

/** The deadlines by configuration; `Infinity` where a kind of job has none. */
export function configuredDeadlines({ config }: GatewayContext): Deadlines {
  return {
    queueMs: config.QUEUE_TIMEOUT_MS,
    firstEventMs: config.FIRST_EVENT_TIMEOUT_MS,
    idleMs: config.IDLE_TIMEOUT_MS,
    totalMs: config.TOTAL_TIMEOUT_MS,
  };
}

export interface StreamRequest extends Omit<OpenStreamOptions, 'tenantId' | 'connection'> {
  /** Its client may come back. */
  resume?: Resume | undefined;
  /** What is answered, for whoever reads it again; needed with `resume`. */
  answer?: Answer;
  /** Frees what its jobs read, when the stream is over. */
  release?: () => Promise<void>;
  /** Of the text that it will speak, where that is known: they count against the limit of its key. */
  characters?: number;
  /** Called when nothing refuses it any more, before it is open: starts what costs something. */
  onAdmitted?: () => unknown;
}

/**
 * Opens a stream, has it answered, and closes it: what all three endpoints do alike. Before the
 * answer began throws `rate_limit_exceeded` or `server_is_overloaded` (the tenant's limits, full
 * queues), `queue_unavailable`, `storage_full`, and what `reply` throws; afterwards resolves however
 * it ended, since the client was told by `reply`.
 */
export async function answerByStream(
  c: Context<GatewayEnv>,
  context: GatewayContext,
  request: StreamRequest,
  reply: (opened: OpenedStream, response: ResponseOptions) => Promise<void>,
): Promise<Response> {
  const asker = {
    tenantId: c.get('tenantId'),
    limits: c.get('limits'),
    requestId: c.get('requestId'),
    counted: c.get('counted'),
  };
  const leave = await context.admission.admit(asker, request);
  try {
    request.onAdmitted?.();
    const connection = new ClientConnection(c.env.outgoing, {
      writeStallMs: context.config.WRITE_STALL_TIMEOUT_MS,
    });
    const admitted = { ...request, tenantId: asker.tenantId, connection, leave };
    const opened = await (request.resume
      ? openKept(context, admitted)
      : openBound(context, admitted));
    return await answerOpened(c, { context, opened, connection }, (response) =>
      reply(opened, response),
    );
  } finally {
    leave.settle();
  }
}

interface AdmittedRequest extends StreamRequest {
  tenantId: string;
  connection: ClientConnection;
  leave: Leave;
}

async function openBound(
  context: GatewayContext,
  { leave, ...request }: AdmittedRequest,
): Promise<OpenedStream> {
  const opened = await openStream(context, request);
  leave.bind(opened.streamId);
  return opened;
}

export interface OpenedAnswer {
  context: GatewayContext;
  opened: OpenedStream;
  connection: ClientConnection;
}

/**
 * Has an open stream answered, and closes it. Throws what `reply` throws while its client is there,
 * with the stream's id as a header; a client that left is no error.
 */
export async function answerOpened(
  c: Context<GatewayEnv>,
  { context, opened, connection }: OpenedAnswer,
  reply: (response: ResponseOptions) => Promise<void>,
): Promise<Response> {
  const { logger } = context;
  try {
    const { streamId, follower } = opened;
    addToLogContext({ streamId });
    const received = { requestId: c.get('requestId'), receivedAtMs: c.get('receivedAtMs') };
    const again = follower === 'again';
    await reply({ connection, ...received, streamId, logger, again });
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

/** Its keeper reads beside its client, and goes on when that leaves. */
async function openKept(
  context: GatewayContext,
  { resume, answer, route, deadlines, connection, leave, ...request }: AdmittedRequest,
): Promise<OpenedStream> {
  if (!resume || !answer) throw new VoiceError('internal_error', { cause: 'nothing to keep' });
  const { streamId, background, idempotency } = resume;
  const { tenantId, opening, enqueue, release = async () => undefined } = request;
  const recordingCount = route.recordingCount ?? 0;
  const key = idempotency ? { idempotencyKey: idempotency.key } : {};
  const kept = { answer, route: { ...route, recordingCount }, deadlines, background, ...key };
  resume.isKept = true;
  const arrived = await context.keepers.open(streamId, {
    tenantId,
    opening,
    kept,
    enqueue,
    release,
  });
  resume.isOpen = true;
  // Before its client, who may have left: the stream goes on, and has its place for as long.
  leave.bind(streamId);
  return followStream(context, streamId, { connection, kept, follower: 'first' }).finally(arrived);
}
