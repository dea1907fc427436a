import { setTimeout as delay } from 'node:timers/promises';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { KeyClaim, TenantKey } from '@antiphon/shared/streams/idempotency';
import type { Context } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import { replyAnswer } from '../replies/answer.ts';
import { ClientConnection, ClientLeft } from '../replies/client-connection.ts';
import { followStream } from '../replies/follow-stream.ts';
import { type KeptAnswer, findKept } from '../streams/kept-answer.ts';
import type { Resume } from '../streams/resume-request.ts';
import { answerOpened } from '../streams/answer-by-stream.ts';

/** Life of a key whose stream is not open yet, unless whoever claimed it renews it: a slow store takes long. */
const CLAIM_MS = 10_000;
const RENEW_MS = 3000;
const LOOK_AGAIN_MS = 20;

/**
 * Has `answer` run once for all requests with the same `Idempotency-Key`: the others join its
 * stream, or get the same answer again as long as its log lives. A request that fails before its
 * jobs are queued frees the key, and so does an end that is worth another try (`retryable` in the
 * catalog, which clients are told by `x-should-retry`). Throws `idempotency_key_reused`.
 */
export async function answerOnce(
  c: Context<GatewayEnv>,
  context: GatewayContext,
  resume: Resume | undefined,
  answer: () => Promise<Response>,
): Promise<Response> {
  if (!resume?.idempotency) return answer();
  const { key, bodyHash } = resume.idempotency;
  const of = { tenantId: c.get('tenantId'), key };
  const { WRITE_STALL_TIMEOUT_MS: writeStallMs } = context.config;
  const connection = new ClientConnection(c.env.outgoing, { writeStallMs });
  const earlier = await findEarlier(context, of, {
    wanted: { streamId: resume.streamId, bodyHash },
    left: connection.left,
  });
  if (earlier) return replay(c, context, connection, earlier);
  const stopRenewing = keepRenewed(context, of, resume);
  try {
    return await answer();
  } catch (error) {
    if (!resume.isOpen) await free(context, of, resume.streamId);
    throw error;
  } finally {
    stopRenewing();
  }
}

/** Until its stream is open: then its keeper holds it. Returns the way to stop that. */
function keepRenewed({ idempotency, logger }: GatewayContext, of: TenantKey, resume: Resume) {
  const { streamId } = resume;
  const timer = setInterval(() => {
    if (resume.isOpen) return clearInterval(timer);
    idempotency.renew(of, streamId, CLAIM_MS).catch((error: unknown) => {
      logger.warn({ err: error, streamId }, 'idempotency key not renewed'); // the next one tries again
    });
  }, RENEW_MS);
  return () => clearInterval(timer);
}

type EarlierAnswer = KeptAnswer & { streamId: string };

/** Undefined when the key is the caller's now. */
async function findEarlier(
  context: GatewayContext,
  of: TenantKey,
  { wanted, left }: { wanted: KeyClaim; left: AbortSignal },
): Promise<EarlierAnswer | undefined> {
  const { idempotency } = context;
  for (;;) {
    const claim = await idempotency.claim(of, wanted, CLAIM_MS);
    const { streamId } = claim;
    if (streamId === wanted.streamId) return undefined;
    if (claim.bodyHash !== wanted.bodyHash) throw new VoiceError('idempotency_key_reused');
    const found = await findKept(context, of.tenantId, streamId).catch(unknownYet);
    const isOver = found
      ? await isWorthAnotherTry(context, streamId, found)
      : claim.isOpen === true; // it has expired
    if (isOver) await idempotency.free(of, streamId);
    else if (found) return { ...found, streamId };
    else await delay(LOOK_AGAIN_MS); // its request is on its way
    if (left.aborted) throw new ClientLeft();
  }
}

function unknownYet(error: unknown): undefined {
  if (error instanceof VoiceError && error.code === 'stream_not_found') return undefined;
  throw error;
}

async function isWorthAnotherTry(
  { log }: GatewayContext,
  streamId: string,
  { status, seq }: KeptAnswer,
): Promise<boolean> {
  if (status !== 'error') return false;
  const { entries } = await log.read(streamId, seq, 1);
  const event = entries.at(-1)?.event;
  return event?.type === 'stream-error' && VoiceError.deserialize(event.error).definition.retryable;
}

async function replay(
  c: Context<GatewayEnv>,
  context: GatewayContext,
  connection: ClientConnection,
  { streamId, kept }: EarlierAnswer,
): Promise<Response> {
  const opened = await followStream(context, streamId, { connection, kept, follower: 'again' });
  c.header('idempotent-replayed', 'true');
  return answerOpened(c, { context, opened, connection }, (response) => {
    const target = { tenantId: c.get('tenantId'), opened };
    return replyAnswer(
      context,
      { ...target, response: { ...response, replayed: true } },
      kept.answer,
    );
  });
}

async function free(context: GatewayContext, of: TenantKey, streamId: string): Promise<void> {
  await context.idempotency.free(of, streamId).catch((error: unknown) => {
    context.logger.warn({ err: error, streamId }, 'idempotency key not freed'); // it is found stale
  });
}
