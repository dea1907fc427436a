import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineEngine } from '../services/define-engine.ts';
import { createEngine } from './create-engine.ts';

const logger = pino({ level: 'silent' });

describe('the chosen engine', () => {
  const engines = {
    demo: defineEngine({
      description: 'x',
      defaultConcurrency: 7,
      config: z.object({ DEMO_SPEED: z.string().default('slow') }),
      create: async ({ DEMO_SPEED }, { concurrency }) => ({ DEMO_SPEED, concurrency }),
    }),
  };
  const create = (
    name: string,
    environment: NodeJS.ProcessEnv = {},
    { CONCURRENCY = 0, BATCH_CONCURRENCY = 0 } = {},
  ) =>
    createEngine(engines, { name, variable: 'AI_SERVICE' }, environment, {
      ...{ CONCURRENCY, BATCH_CONCURRENCY, logger },
    });

  it('reads its own variables; an empty one counts as left out', async () => {
    expect(await create('demo', { DEMO_SPEED: '' })).toEqual({
      service: { DEMO_SPEED: 'slow', concurrency: 7 },
      ...{ engineRank: 0, concurrency: 7, batchConcurrency: 7 },
    });
    expect(await create('demo', { DEMO_SPEED: 'fast' }, { CONCURRENCY: 3 })).toEqual({
      service: { DEMO_SPEED: 'fast', concurrency: 3 },
      ...{ engineRank: 0, concurrency: 3, batchConcurrency: 3 },
    });
  });

  it.each([
    [0, 2],
    [5, 5],
  ])('takes lines as it says, unless told (%d)', async (BATCH_CONCURRENCY, expected) => {
    const remote = defineEngine({
      ...{ description: 'x', defaultConcurrency: 7, defaultBatchConcurrency: 2 },
      ...{ config: z.object({}), create: async () => 'service' },
    });
    const chosen = { name: 'remote', variable: 'AI_SERVICE' };
    const told = { CONCURRENCY: 0, BATCH_CONCURRENCY, logger };
    expect(await createEngine({ first: remote, remote }, chosen, {}, told)).toEqual({
      ...{ service: 'service', engineRank: 1, concurrency: 7, batchConcurrency: expected },
    });
  });

  it.each(['dmo', 'toString'])('that is unknown (%s) names the known ones', async (name) => {
    await expect(create(name)).rejects.toMatchObject({
      lines: [`AI_SERVICE: unknown engine '${name}'; known: demo`],
    });
  });
});
