import { SPOKEN_SENTENCES } from '@antiphon/testing/spoken-sentences';
import { until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readSpokenStream, soundOf } from '../src/spoken-stream.ts';
import { type AppProcess, type Stack, startStack } from '../src/stack.ts';

/** The embedded voice says the same again, to the sample: another worker goes on where one died. */
let stack: Stack;
let redis: Redis;
let ttsWorkers: (AppProcess & { workerId: string })[];

/** Long sentences, so that most of the time a phrase is being made: 220 letters at most, 10 s each. */
const LONG = Array.from(
  { length: 12 },
  (_, index) =>
    `In the chapter with the number ${index} ${SPOKEN_SENTENCES.slice(0, 2)
      .map(({ sentence }) => sentence.toLowerCase().replace('.', ''))
      .join(' and ')} as everybody says.`,
).join(' ');

beforeAll(async () => {
  stack = await startStack({
    apps: ['gateway', 'llm-worker'],
    environment: { LLM_DEMO_TOKENS_PER_SECOND: '0', 'tts-worker:CONCURRENCY': '1' },
    models: ['demo'],
  });
  redis = new Redis(stack.redis.url);
  ttsWorkers = [await startTtsWorker(), await startTtsWorker()];
  await stack.untilModel('tts-1');
}, 60_000);
afterAll(async () => {
  redis?.disconnect();
  await stack?.close();
});

/** One by one: so it is known which process has which id. */
async function startTtsWorker(): Promise<(typeof ttsWorkers)[number]> {
  const others = new Set(await redis.keys('antiphon:worker:*'));
  const started = stack.start('tts-worker');
  const key = await until(
    async () => (await redis.keys('antiphon:worker:*')).find((one) => !others.has(one)),
    { timeoutMs: 10_000, what: 'the tts-worker' },
  );
  return { ...started, workerId: key.replace('antiphon:worker:', '') };
}

/** The last phrase that was claimed and has no end yet, and whose it is. */
async function phraseInMaking(streamId: string) {
  const rows = await redis.xrevrange(`antiphon:{${streamId}}:log`, '+', '-');
  for (const [, fields] of rows) {
    const event = fields.join(' ');
    const phrase = /"producer":"(phrase-\d+)"/.exec(event)?.[1];
    const workerId = /"workerId":"([^"]+)"/.exec(event)?.[1];
    if (phrase === undefined || workerId === undefined) continue;
    const done = await redis.hexists(`antiphon:{${streamId}}:state`, `${phrase}:done`);
    return done === 1 ? undefined : { phrase, workerId };
  }
  return undefined;
}

/** Stops a worker where it stands until one is met that has begun a phrase; that one dies. */
const killSpeaker = (streamId: string): Promise<string> =>
  until(
    async () => {
      const found = await phraseInMaking(streamId);
      const speaker = ttsWorkers.find(({ workerId }) => workerId === found?.workerId);
      if (!found || !speaker) return undefined;
      process.kill(speaker.pid, 'SIGSTOP');
      const still = await phraseInMaking(streamId);
      if (still?.phrase !== found.phrase) {
        process.kill(speaker.pid, 'SIGCONT');
        return undefined;
      }
      await speaker.stop('SIGKILL');
      return found.phrase;
    },
    { intervalMs: 1, what: 'a phrase to be in the making' },
  );

it('a tts-worker killed while it makes a phrase leaves no trace in the answer', async () => {
  const prompt = `say: ${LONG}`;
  const undisturbed = await readSpokenStream(stack.baseUrl, { prompt });
  expect(undisturbed).toMatchObject({ done: true, errors: [] });
  let killing: Promise<string> | undefined;
  const answer = await readSpokenStream(stack.baseUrl, {
    prompt,
    onFrame: ({ fragments, streamId }) => {
      if (fragments.length > 0) killing ??= killSpeaker(streamId);
    },
  });
  const phrase = await killing;
  const state = `antiphon:{${answer.streamId}}:state`;
  // It was claimed a second time, and the stream has its one end.
  expect(await redis.hmget(state, `${phrase}:epoch`, 'status')).toEqual(['2', 'done']);
  expect(answer).toMatchObject({ done: true, errors: [], phraseErrors: [] });
  expect(answer.finishReasons).toEqual(['stop']);
  expect(answer.transcript).toBe(undisturbed.transcript);
  const [disturbed, expected] = [soundOf(answer), soundOf(undisturbed)];
  expect(disturbed.length).toBe(expected.length);
  expect(disturbed.equals(expected)).toBe(true);
}, 90_000);
