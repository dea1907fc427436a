import { VoiceError } from '../errors/voice-error.ts';
import type { Stage } from '../jobs/job-catalog.ts';
import type { OpenAIUpstream } from './openai-upstream.ts';

interface ModelChoice {
  stage: Stage;
  /** `<STAGE>_OPENAI_MODELS`: what to announce instead of what the server lists. */
  models: string[] | undefined;
  /** Whether a listed name is one of this stage; servers tell their kinds apart only by name. */
  isOfStage: (model: string) => boolean;
}

/**
 * What an `openai` engine announces: the models it was told, else those of the server's list that
 * are of its stage, or all when none looks like it. Throws `upstream_rejected` with the variable to
 * set when the server has no such list, and what `listModels` of the upstream throws.
 */
export async function announcedModels(
  upstream: Pick<OpenAIUpstream, 'listModels'>,
  { stage, models, isOfStage }: ModelChoice,
  signal: AbortSignal,
): Promise<string[]> {
  if (models !== undefined && models.length > 0) return models;
  try {
    const listed = [...new Set(await upstream.listModels(signal))];
    const ofStage = listed.filter((model) => isOfStage(model));
    return ofStage.length > 0 ? ofStage : listed;
  } catch (thrown) {
    if (!(thrown instanceof VoiceError) || thrown.code !== 'upstream_rejected') throw thrown;
    const message = `The upstream server lists no models: ${thrown.message} Set ${stage.toUpperCase()}_OPENAI_MODELS.`;
    throw new VoiceError('upstream_rejected', { message, cause: thrown });
  }
}
