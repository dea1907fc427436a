import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { STAGES, type Stage } from '@antiphon/shared/jobs/job-catalog';
import type { KnownWorker } from '@antiphon/shared/queue/worker-registry';
import type { Handler } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import type { WorkerDirectory } from '../models/worker-directory.ts';

interface Model {
  id: string;
  object: 'model';
  created: number;
  owned_by: string;
}

/** All models of live workers, aliases included, each once. */
function listModels(directory: WorkerDirectory, stages: readonly Stage[] = STAGES): Model[] {
  const models = new Map<string, Model>();
  const add = (id: string, { startedAtSeconds, engine }: KnownWorker) => {
    if (models.has(id)) return;
    models.set(id, { id, object: 'model', created: startedAtSeconds, owned_by: engine });
  };
  for (const stage of stages) {
    const workers = directory.workersOf(stage).filter(({ live }) => live);
    for (const worker of workers) for (const id of worker.models) add(id, worker);
    for (const [alias, model] of directory.aliases) {
      const worker = workers.find(({ models: known }) => known.includes(model));
      if (worker) add(alias, worker);
    }
  }
  return [...models.values()];
}

/** `GET /v1/models`. */
export const modelList =
  ({ directory }: GatewayContext): Handler<GatewayEnv> =>
  (c) =>
    c.json({ object: 'list', data: listModels(directory) });

/** `GET /v1/models/{id}`; SDKs send a slash in the id as %2F. */
export const modelById =
  ({ directory }: GatewayContext): Handler<GatewayEnv> =>
  (c) => {
    const id = c.req.param('id');
    const model = listModels(directory).find((known) => known.id === id);
    if (!model) {
      throw new VoiceError('model_not_found', {
        param: 'model',
        message: `The model \`${id}\` does not exist or you do not have access to it.`,
      });
    }
    return c.json(model);
  };

/** `GET /v1/audio/models`: what speaks, as Open WebUI asks. */
export const audioModelList =
  ({ directory }: GatewayContext): Handler<GatewayEnv> =>
  (c) => {
    const data = listModels(directory, ['tts']);
    return c.json({ object: 'list', data, models: data.map(({ id }) => ({ id, name: id })) });
  };

/** `GET /v1/audio/voices[?model=]`: the union of what clients of local servers read. */
export const voiceList =
  ({ directory }: GatewayContext): Handler<GatewayEnv> =>
  (c) => {
    const asked = c.req.query('model');
    const model = asked === undefined ? undefined : (directory.aliases.get(asked) ?? asked);
    const voices = directory
      .workersOf('tts')
      .filter(({ live, models }) => live && (model === undefined || models.includes(model)))
      .flatMap((worker) => (Array.isArray(worker.voices) ? worker.voices : []));
    const byId = new Map<string, (typeof voices)[number]>();
    // Of two engines' voices of one name, the one that would be used is shown: it comes first.
    for (const voice of voices) if (!byId.has(voice.id)) byId.set(voice.id, voice);
    const unique = [...byId.values()];
    return c.json({
      object: 'list',
      data: unique.map((voice) => ({ object: 'audio.voice', ...voice })),
      voices: unique.map(({ id, name }) => ({ id, name })),
    });
  };
