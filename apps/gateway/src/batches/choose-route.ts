import type { BatchRecord, BatchRoute } from '@antiphon/shared/batches/batch-record';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { GatewayContext } from '../gateway-context.ts';
import type { Route } from '../models/worker-directory.ts';
import { STAGE_OF } from './line-plan.ts';

/**
 * Where all lines of a batch go. Chosen with the first one and kept: a worker that is away for a
 * moment must neither fail the rest of a book nor hand it to another engine's voice. Undefined
 * while nobody is known who could do them.
 */
export async function chooseRoute(
  { batches, directory }: Pick<GatewayContext, 'batches' | 'directory'>,
  batch: BatchRecord,
): Promise<BatchRoute | undefined> {
  if (batch.route) return batch.route;
  const found = await directory
    .remembered(STAGE_OF[batch.endpoint], batch.model || undefined)
    .then((route) => route && lineRoute(route), refusal);
  return found && batches.choose(batch.id, found);
}

function lineRoute({ model, worker }: Route): BatchRoute {
  const { engine, voices, maxPhraseCharacters } = worker;
  const ids = Array.isArray(voices) ? voices.map(({ id }) => ({ id })) : voices;
  return { engine, model, voices: ids, maxPhraseCharacters };
}

/** No worker has the model: every line says so. */
function refusal(error: unknown): BatchRoute {
  if (!(error instanceof VoiceError) || error.code !== 'model_not_found') throw error;
  return { error: error.serialize() };
}
