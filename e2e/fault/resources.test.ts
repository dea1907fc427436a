import { readdir } from 'node:fs/promises';
import { expectUnbroken, violations } from '@antiphon/testing/invariant';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { DEADLINES, FaultStack, STREAM_MS, measured } from './fault-stack.ts';
import { ASKABLE, collectedMemory, type ProcessMemory } from './process-memory.ts';
import type { SeenAnswer } from './seen-answer.ts';

const STREAMS = 2000;
const CANCELS = 500;
const AT_ONCE = 50;
const MB = 1024 * 1024;
/** What a process may have more than before: five rounds of this load added 0.4 and 8 MB at most. */
const MOST_HELD_BYTES = 5 * MB;
const MOST_RESIDENT_BYTES = 20 * MB;
/** A connection of a pool that is not used is closed within so long. */
const IDLE_SOCKET_MS = 5000;

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

/** How many files and sockets each process has open, when it did not change for a while. */
async function settledHandles(): Promise<number[]> {
  let last: number[] = [];
  let sinceMs = performance.now();
  await until(
    async () => {
      const now = await handles();
      if (now.join() !== last.join()) [last, sinceMs] = [now, performance.now()];
      return performance.now() - sinceMs > IDLE_SOCKET_MS;
    },
    { timeoutMs: 30_000, intervalMs: 100, what: 'no socket comes or goes' },
  );
  return last;
}

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
          void fetch(`${faults.baseUrl}/streams/${streamId}/cancel`, {
            method: 'POST',
            headers: { connection: 'close' }, // one that is kept alive is a handle of the gateway's
          });
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

/** How much each process has more than before. */
async function grownSince(before: ProcessMemory[]): Promise<ProcessMemory[]> {
  return (await memory()).map(({ held, resident }, at) => ({
    held: held - (before[at]?.held ?? 0),
    resident: resident - (before[at]?.resident ?? 0),
  }));
}

it('F22 2,000 streams and 500 stops leave nothing behind', async () => {
  await load(); // what a process takes once and keeps (code, pools, heap) is no leak
  const keysBefore = await stayingKeys();
  const memoryBefore = await memory();
  const handlesBefore = await settledHandles();
  const streamsMs = await load();
  const keys = await stayingKeys();
  let grown: ProcessMemory[] = [];
  // V8 gives pages back when it likes: one look may be too early.
  const isBack = async () => {
    grown = await grownSince(memoryBefore);
    return grown.every(
      ({ held, resident }) => held < MOST_HELD_BYTES && resident < MOST_RESIDENT_BYTES,
    );
  };
  await until(isBack, { intervalMs: 500 }).catch(() => undefined); // told below
  const left = await settledHandles();
  const told = faults.members.map(({ process: { name } }, at) => {
    const { held = 0, resident = 0 } = grown[at] ?? {};
    return `${name} holds ${(held / MB).toFixed(1)} MB more, ${(resident / MB).toFixed(0)} MB more are resident`;
  });
  measured(
    'F22',
    `${STREAMS} streams in ${(streamsMs / 1000).toFixed(1)} s and ${CANCELS} stops; Redis ${keysBefore.length} → ${keys.length} keys; ${told.join(', ')}; handles ${handlesBefore.join('/')} → ${left.join('/')}`,
  );
  expect(keys.filter((key) => !keysBefore.includes(key))).toEqual([]);
  for (const { held, resident } of grown) {
    expect(held).toBeLessThan(MOST_HELD_BYTES);
    expect(resident).toBeLessThan(MOST_RESIDENT_BYTES);
  }
  expect(left).toEqual(handlesBefore);
});
