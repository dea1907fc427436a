import { readdir } from 'node:fs/promises';
import { expectUnbroken, violations } from '@antiphon/testing/invariant';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { DEADLINES, FaultStack, STREAM_MS, measured } from './fault-stack.ts';
import { ASKABLE, collectedMemory } from './process-memory.ts';
import type { SeenAnswer } from './seen-answer.ts';

const STREAMS = 2000;
const CANCELS = 500;
const AT_ONCE = 50;
const MB = 1024 * 1024;

let faults: FaultStack;

beforeAll(async () => {
  faults = await FaultStack.start({ environment: ASKABLE });
}, 60_000);
afterEach(() => faults.untilAtRest());
afterAll(() => faults?.close());

/** Asks so many times, at most `AT_ONCE` at the same time. */
async function askMany(count: number, one: () => Promise<SeenAnswer>): Promise<SeenAnswer[]> {
  const answers: SeenAnswer[] = [];
  let begun = 0;
  const lane = async () => {
    while (begun < count) {
      begun += 1;
      answers.push(await one());
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return answers;
}

const memory = () => Promise.all(faults.members.map(({ process }) => collectedMemory(process)));
const handles = () =>
  Promise.all(
    faults.members.map(async ({ process }) => (await readdir(`/proc/${process.pid}/fd`)).length),
  );

/**
 * Those that stay: no end, or one later than a log's. All but the failed jobs that BullMQ keeps, of
 * which there are 100 at most.
 */
async function stayingKeys(): Promise<string[]> {
  const failed = await faults.redis.zrange('bull:llm-openai:failed', '0', '-1');
  expect(failed.length).toBeLessThanOrEqual(100);
  const kept = new Set(failed.map((id) => `bull:llm-openai:${id}`));
  const keys = (await faults.redis.keys('*')).filter((key) => !kept.has(key));
  const leftMs = await Promise.all(keys.map((key) => faults.redis.pttl(key)));
  // -1: no end; -2: gone by now. Shorter ones come and go by themselves, in queues that rest too.
  return keys.filter(
    (_, index) => leftMs[index] === -1 || (leftMs[index] ?? 0) > DEADLINES.LOG_TTL_MS,
  );
}

/** So many streams, then so many that are stopped, each as promised. Resolves with the first ones' ms. */
async function load(): Promise<number> {
  faults.scriptAll({ tokens: 20, tokenDelayMs: 1 });
  const startedAtMs = performance.now();
  for (const answer of await askMany(STREAMS, () => faults.chat())) {
    expectUnbroken(violations(answer, { tokenCount: 20, maxMs: STREAM_MS }));
    expect(answer.ends).toEqual(['done']);
  }
  const streamsMs = performance.now() - startedAtMs;
  faults.scriptAll({ tokens: 1000, tokenDelayMs: 10 });
  const stopped = await askMany(CANCELS, () =>
    faults.chat({
      onOutput: ({ contents, streamId }) => {
        if (contents.length === 1)
          void fetch(`${faults.baseUrl}/streams/${streamId}/cancel`, { method: 'POST' });
      },
    }),
  );
  for (const answer of stopped) {
    expectUnbroken(violations(answer, { tokenCount: 1000, maxMs: STREAM_MS }));
    expect(answer.errorCodes).toEqual(['stream_cancelled']);
  }
  await until(async () => (await faults.redis.keys('antiphon:{*')).length === 0, {
    timeoutMs: DEADLINES.LOG_TTL_MS + 5000,
    what: 'the logs expire',
  });
  return streamsMs;
}

it('F22 2,000 streams and 500 stops leave nothing behind', async () => {
  await load(); // what a process takes once and keeps (code, pools, heap) is no leak
  const [keysBefore, memoryBefore, handlesBefore] = [
    await stayingKeys(),
    await memory(),
    await handles(),
  ];
  const streamsMs = await load();
  const keys = await stayingKeys();
  const now = await memory();
  const left = await handles();
  const grown = now.map(({ held }, at) => (held - (memoryBefore[at]?.held ?? 0)) / MB);
  const told = faults.members.map(({ process }, at) => {
    const { held = 0, resident = 0 } = now[at] ?? {};
    return `${process.name} holds ${(held / MB).toFixed(1)} MB (${grown[at]?.toFixed(1)} more) of ${(resident / MB).toFixed(0)} resident`;
  });
  measured(
    'F22',
    `${STREAMS} streams in ${(streamsMs / 1000).toFixed(1)} s and ${CANCELS} stops; Redis ${keysBefore.length} → ${keys.length} keys; ${told.join(', ')}; handles ${handlesBefore.join('/')} → ${left.join('/')}`,
  );
  expect(keys.filter((key) => !keysBefore.includes(key))).toEqual([]);
  for (const megabytes of grown) expect(megabytes).toBeLessThan(5);
  // Idle connections to the upstream are kept for a while: no more than those at once.
  for (const count of left) expect(count).toBeLessThan(AT_ONCE * 2);
});
