import type { Engine } from '../services/define-engine.ts';
import { ConfigError } from './load-config.ts';
import type { Logger } from './logger.ts';

/** A warm engine, and what its worker is told of it. */
interface CreatedEngine<Service> {
  service: Service;
  /** Its place among the engines of its stage, from 0. */
  engineRank: number;
  concurrency: number;
  /** Of lines of batches, within `concurrency`. */
  batchConcurrency: number;
}

/**
 * Makes the chosen engine from its own variables. Throws ConfigError for an unknown name (with the
 * known ones), ZodError for its variables, and what the engine throws when it cannot be warmed.
 */
export async function createEngine<Service>(
  engines: Record<string, Engine<Service>>,
  { name, variable }: { name: string; variable: string },
  environment: NodeJS.ProcessEnv,
  {
    CONCURRENCY,
    BATCH_CONCURRENCY,
    logger,
  }: { CONCURRENCY: number; BATCH_CONCURRENCY?: number; logger: Logger },
): Promise<CreatedEngine<Service>> {
  const engine = Object.hasOwn(engines, name) ? engines[name] : undefined;
  if (!engine) {
    throw new ConfigError([
      `${variable}: unknown engine '${name}'; known: ${Object.keys(engines).join(', ')}`,
    ]);
  }
  const concurrency = CONCURRENCY || engine.defaultConcurrency;
  const batchConcurrency = BATCH_CONCURRENCY || engine.defaultBatchConcurrency || concurrency;
  const warn = (message: string) => logger.warn(message);
  const service = await engine.createFrom(environment, { concurrency, warn });
  const engineRank = Object.keys(engines).indexOf(name);
  return { service, engineRank, concurrency, batchConcurrency };
}
