import { expectError } from '@antiphon/testing/error-envelope';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type ScriptedWorker, startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { until } from '@antiphon/testing/until';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { answerChat, hearOneSegment, speakSilence } from '../testing/scripted-handlers.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

let redis: RedisServer;
let gateway: TestGateway;
const workers: Pick<ScriptedWorker<'chat'>, 'close'>[] = [];
beforeAll(async () => {
  redis = await startRedis();
  const redisUrl = redis.url;
  workers.push(
    await startScriptedWorker({
      ...{ redisUrl, kind: 'chat', engine: 'openai', handler: answerChat('hi') },
      announced: { models: ['gpt-4o', 'org/model-7b', 'a b', 'weird?#%'] },
    }),
    await startScriptedWorker({
      ...{ redisUrl, kind: 'speech', engine: 'flite', engineRank: 0, handler: speakSilence },
      announced: {
        models: ['tts-1'],
        voices: [
          { id: 'alloy', name: 'Alloy' },
          { id: 'slt', name: 'Slt', language: 'en-US' },
        ],
      },
    }),
    await startScriptedWorker({
      ...{ redisUrl, kind: 'speech', engine: 'espeak', handler: speakSilence },
      announced: {
        models: ['espeak'],
        voices: [
          { id: 'alloy', name: 'Other alloy' },
          { id: 'de', name: 'German' },
        ],
      },
    }),
    await startScriptedWorker({
      ...{ redisUrl, kind: 'speech', engine: 'remote', handler: speakSilence },
      announced: { models: ['kokoro'], voices: 'any' },
    }),
    await startScriptedWorker({
      ...{ redisUrl, kind: 'transcription', engine: 'openai', handler: hearOneSegment },
      announced: { models: ['whisper-1'], languages: 'any' },
    }),
  );
  gateway = await openTestGateway(redisUrl, {
    MODEL_ALIASES: 'tts-2=tts-1, nowhere=missing, gpt-4o=org/model-7b',
  });
});
afterAll(async () => {
  await gateway.close();
  for (const worker of workers) await worker.close();
  await redis.close();
});

interface List {
  object: string;
  data: { id: string; object: string; created: number; owned_by: string }[];
}
const get = async (path: string) => (await (await fetch(gateway.url + path)).json()) as List;
const ids = ({ data }: List) => data.map(({ id }) => id).sort();

describe('GET /v1/models', () => {
  it('lists each model of live workers once, aliases included', async () => {
    const list = await get('/v1/models');
    expect(list.object).toBe('list');
    expect(ids(list)).toStrictEqual(
      ['gpt-4o', 'org/model-7b', 'a b', 'weird?#%', 'tts-1', 'tts-2', 'espeak', 'kokoro']
        .concat('whisper-1')
        .sort(),
    );
    for (const model of list.data) {
      expect(model).toStrictEqual({
        id: model.id,
        object: 'model',
        created: expect.any(Number),
        owned_by: expect.any(String),
      });
      expect(Math.abs(model.created - Date.now() / 1000)).toBeLessThan(600);
    }
    expect(list.data.find(({ id }) => id === 'tts-2')?.owned_by).toBe('flite');
  });

  it('forgets what no worker offers any more', async () => {
    const passing = await startScriptedWorker({
      redisUrl: redis.url,
      kind: 'chat',
      engine: 'passing',
      announced: { models: ['passing'] },
      handler: answerChat(''),
    });
    await until(async () => ids(await get('/v1/models')).includes('passing'));
    await passing.close();
    await until(async () => !ids(await get('/v1/models')).includes('passing'));
    expect((await fetch(`${gateway.url}/v1/models/passing`)).status).toBe(404);
  });
});

describe('GET /v1/models/{id}', () => {
  it.each([
    ['gpt-4o', 'gpt-4o'],
    ['tts-2', 'tts-2'],
    ['org%2Fmodel-7b', 'org/model-7b'],
    ['org/model-7b', 'org/model-7b'],
    ['a%20b', 'a b'],
    ['weird%3F%23%25', 'weird?#%'],
  ])('%s', async (path, id) => {
    const response = await fetch(`${gateway.url}/v1/models/${path}`);
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ id, object: 'model' });
  });

  it.each([
    ['gpt-5', 'gpt-5'],
    ['org%2Fother', 'org/other'],
    ['missing', 'missing'],
    ['nowhere', 'nowhere'],
    ['%E0%A4%A', '%E0%A4%A'],
    ['__proto__', '__proto__'],
  ])('%s is unknown', async (path, id) => {
    await expectError(await fetch(`${gateway.url}/v1/models/${path}`), {
      status: 404,
      code: 'model_not_found',
      param: 'model',
      message: `The model \`${id}\` does not exist or you do not have access to it.`,
    });
  });
});

describe('what speaks', () => {
  it('GET /v1/audio/models: both shapes that clients read', async () => {
    const list = (await get('/v1/audio/models')) as List & { models: object[] };
    expect(ids(list)).toStrictEqual(['espeak', 'kokoro', 'tts-1', 'tts-2']);
    expect(list.models).toContainEqual({ id: 'tts-1', name: 'tts-1' });
    expect(list.models).toHaveLength(4);
  });

  it('GET /v1/audio/voices: each voice once, both shapes', async () => {
    const list = (await get('/v1/audio/voices')) as List & { voices: object[] };
    expect(list.object).toBe('list');
    expect(ids(list)).toStrictEqual(['alloy', 'de', 'slt']);
    expect(list.data).toContainEqual({
      id: 'slt',
      object: 'audio.voice',
      name: 'Slt',
      language: 'en-US',
    });
    expect(list.voices).toContainEqual({ id: 'de', name: 'German' });
    expect(list.voices).toContainEqual({ id: 'alloy', name: 'Alloy' });
    expect(list.voices).toHaveLength(3);
  });

  it.each([
    ['espeak', ['alloy', 'de']],
    ['tts-1', ['alloy', 'slt']],
    ['tts-2', ['alloy', 'slt']],
    ['kokoro', []],
    ['unknown', []],
  ])('of one model: %s', async (model, expected) => {
    expect(ids(await get(`/v1/audio/voices?model=${model}`))).toStrictEqual(expected);
  });
});
