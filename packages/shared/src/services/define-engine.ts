import type { z } from 'zod';
import { withoutEmpty } from './variables.ts';

/** What an engine is told besides its own variables. */
export interface EngineContext {
  /** Jobs this worker runs at once. */
  concurrency: number;
  /** For things an operator should know; never texts or keys. */
  warn: (message: string) => void;
}

/** A warm engine, ready to be announced. */
export type EngineFactory<Config, Service> = (
  config: Config,
  context: EngineContext,
) => Promise<Service>;

/**
 * One engine: how it is described in the README's table, which environment variables it reads,
 * and how it is made. `create` resolves when the engine is warm; it throws an Error that names
 * the missing program, file or variable and what to do when it cannot be.
 */
export interface EngineDefinition<Schema extends z.ZodType, Service> {
  description: string;
  /** Jobs one worker of this engine runs at once unless `CONCURRENCY` says otherwise. */
  defaultConcurrency: number;
  /**
   * Lines of batches among them unless `BATCH_CONCURRENCY` says otherwise; left out: all of them.
   * Few for a server that may have one place: what it queues, people wait behind.
   */
  defaultBatchConcurrency?: number;
  /** The environment variables of this engine; only the chosen engine's are read. */
  config: Schema;
  create: EngineFactory<z.output<Schema>, Service>;
}

/** An engine whose own variables are no longer visible in its type: what registries hold. */
export interface Engine<Service> {
  description: string;
  defaultConcurrency: number;
  defaultBatchConcurrency?: number;
  config: z.ZodType;
  /**
   * Parses the variables, of which an empty one counts as unset, and makes the engine; throws
   * ZodError or what `create` throws.
   */
  createFrom: (environment: NodeJS.ProcessEnv, context: EngineContext) => Promise<Service>;
}

export function defineEngine<Schema extends z.ZodType, Service>(
  definition: EngineDefinition<Schema, Service>,
): Engine<Service> {
  const { config, create, ...described } = definition;
  return {
    ...described,
    config,
    createFrom: async (environment, context) =>
      create(config.parse(withoutEmpty(environment)), context),
  };
}
