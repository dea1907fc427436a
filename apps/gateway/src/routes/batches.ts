import { createBatchId } from '@antiphon/shared/batches/batch-key';
import type { BatchRecord, NewBatch } from '@antiphon/shared/batches/batch-record';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { FILE_LIFE_SECONDS } from '@antiphon/shared/files/file-record';
import type { Context, Handler } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import { describeBatch } from '../openai/batch-object.ts';
import { batchListQuery, batchRequestSchema, windowSeconds } from '../openai/batch-request.ts';
import { parseBody, readJsonBody } from '../openai/json-body.ts';
import { tooManyBatches } from '../tenants/limit-reached.ts';
import { fileNotFound } from '../files/find-file.ts';
import { readIdempotencyKey } from '../streams/resume-request.ts';

const MAX_BODY_BYTES = 65_536;
/** The same `Idempotency-Key` is the same batch for so long. */
const KEY_LIFE_MS = 86_400_000;

type BatchContext = Pick<GatewayContext, 'batches' | 'config' | 'files' | 'idempotency'>;

/** `POST /v1/batches`. The file is read later: what is wrong with it is told by the batch. */
export const batchCreate =
  (context: BatchContext): Handler<GatewayEnv> =>
  async (c) => {
    const { batches, config } = context;
    const sent = await readJsonBody(c, MAX_BODY_BYTES);
    const request = parseBody(batchRequestSchema, sent.value);
    const tenantId = c.get('tenantId');
    await checkInput(context, tenantId, request.input_file_id);
    const id = await chooseId(c, context, sent.text);
    const batch: NewBatch = {
      ...{ id, tenantId, endpoint: request.endpoint, inputFileId: request.input_file_id },
      completionWindow: request.completion_window,
      windowSeconds: windowSeconds(request.completion_window),
      ...(request.metadata ? { metadata: request.metadata } : {}),
      outputLifeSeconds: request.output_expires_after?.seconds ?? FILE_LIFE_SECONDS,
      requestId: c.get('requestId'),
    };
    const { MAX_OPEN_BATCHES: mostOpen } = config;
    if ((await batches.create(batch, mostOpen)) === 'many') throw tooManyBatches(mostOpen);
    return c.json(describeBatch(await findBatch(batches, tenantId, id)));
  };

/** `GET /v1/batches`: the caller's key's, the newest first, by page. */
export const batchList =
  ({ batches }: BatchContext): Handler<GatewayEnv> =>
  async (c) => {
    const query = parseBody(batchListQuery, c.req.query());
    const page = await batches.list(c.get('tenantId'), query);
    if (!page) throw batchNotFound(query.after ?? '', 'after');
    const data = page.batches.map((batch) => describeBatch(batch));
    return c.json({
      ...{ object: 'list', data },
      ...{ first_id: data.at(0)?.id ?? null, last_id: data.at(-1)?.id ?? null },
      has_more: page.hasMore,
    });
  };

/** `GET /v1/batches/{id}`. */
export const batchById =
  ({ batches }: BatchContext): Handler<GatewayEnv, '/:id'> =>
  async (c) =>
    c.json(describeBatch(await findBatch(batches, c.get('tenantId'), c.req.param('id'))));

/** `POST /v1/batches/{id}/cancel`. Its body, if any, is not looked at. */
export const batchCancel =
  ({ batches }: BatchContext): Handler<GatewayEnv, '/:id'> =>
  async (c) => {
    const id = c.req.param('id');
    const status = await batches.cancel(c.get('tenantId'), id);
    if (status === 'gone') throw batchNotFound(id);
    if (status !== 'cancelling' && status !== 'cancelled') {
      throw new VoiceError('batch_not_cancellable', {
        message: `Cannot cancel a batch with status '${status}'.`,
      });
    }
    return c.json(describeBatch(await findBatch(batches, c.get('tenantId'), id)));
  };

/** Throws `batch_not_found` for unknown and foreign ones alike. */
export async function findBatch(
  batches: GatewayContext['batches'],
  tenantId: string,
  batchId: string,
): Promise<BatchRecord> {
  const batch = await batches.get(tenantId, batchId);
  if (!batch) throw batchNotFound(batchId);
  return batch;
}

async function checkInput(
  { files }: BatchContext,
  tenantId: string,
  fileId: string,
): Promise<void> {
  const file = await files.get(tenantId, fileId);
  if (!file) throw fileNotFound(fileId, 'input_file_id');
  if (file.purpose === 'batch') return;
  throw new VoiceError('invalid_value', {
    param: 'input_file_id',
    message: `Invalid 'input_file_id': the purpose of the file ${fileId} is '${file.purpose}'. Expected 'batch'.`,
  });
}

/** A new one, or the one that the request's `Idempotency-Key` stands for, made or still to be made. */
async function chooseId(
  c: Context<GatewayEnv>,
  { idempotency }: BatchContext,
  content: string,
): Promise<string> {
  const wanted = createBatchId();
  const sent = readIdempotencyKey(c, content);
  if (!sent) return wanted;
  const { key, bodyHash } = sent;
  const claim = { streamId: wanted, bodyHash };
  const found = await idempotency.claim({ tenantId: c.get('tenantId'), key }, claim, KEY_LIFE_MS);
  if (found.bodyHash !== bodyHash) throw new VoiceError('idempotency_key_reused');
  return found.streamId;
}

const batchNotFound = (batchId: string, param = 'id'): VoiceError =>
  new VoiceError('batch_not_found', {
    param,
    message: `No such Batch object: ${batchId.slice(0, 100)}`,
  });
