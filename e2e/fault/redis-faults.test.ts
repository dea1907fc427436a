import { expectUnbroken, violations } from '@antiphon/testing/invariant';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { DEADLINES, FaultStack, STREAM_MS, measured, within } from './fault-stack.ts';
import type { SeenAnswer } from './seen-answer.ts';

let faults: FaultStack;

beforeAll(async () => {
  faults = await FaultStack.start({ llmWorkers: 2, proxied: true });
}, 60_000);
afterEach(() => faults.untilAtRest());
afterAll(() => faults?.close());

/** So many streams, all of which flow by now. */
async function flowing(count: number): Promise<{ answers: Promise<SeenAnswer[]> }> {
  const begun = new Set<SeenAnswer>();
  const ended: string[] = [];
  const one = async () => {
    const answer = await faults.chat({ onOutput: (seen) => begun.add(seen) });
    ended.push(`${answer.status} ${answer.ends.join()}`);
    return answer;
  };
  const answers = Promise.all(Array.from({ length: count }, one));
  const isOver = () => begun.size === count || ended.length > 0;
  await until(isOver, { what: 'all streams flow', timeoutMs: 15_000 });
  expect(ended).toEqual([]);
  return { answers };
}
const doneCount = (answers: SeenAnswer[]) =>
  answers.filter(({ ends }) => ends.includes('done')).length;
function expectKept(answers: SeenAnswer[], tokenCount: number): void {
  for (const answer of answers)
    expectUnbroken(violations(answer, { tokenCount, maxMs: STREAM_MS }));
}
const longestPauseMs = (answers: SeenAnswer[]) =>
  Math.round(Math.max(...answers.map((answer) => answer.longestPauseMs)));
const codesOf = (answers: SeenAnswer[]) => [
  ...new Set(answers.flatMap(({ errorCodes }) => errorCodes)),
];
/** Waits so long, in steps: the time itself is the fault. */
async function last(ms: number): Promise<void> {
  const endMs = performance.now() + ms;
  await until(() => performance.now() > endMs, { timeoutMs: ms });
}

it('F04 subscribers cut five times under 20 streams: no hole, and nobody waits long', async () => {
  faults.scriptAll({ tokens: 200 });
  const { answers } = await flowing(20);
  for (let count = 0; count < 5; count += 1) {
    await last(600);
    await faults.redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  }
  const seen = await answers;
  expectKept(seen, 200);
  expect(doneCount(seen)).toBe(20);
  measured('F04', `20 of 20 done, longest pause ${longestPauseMs(seen)} ms`);
  expect(longestPauseMs(seen)).toBeLessThan(within(2000));
});

it('F05 every connection to Redis reset each second for 20 s: no hole, no double', async () => {
  faults.scriptAll({ tokens: 100 });
  const answers: Promise<SeenAnswer>[] = [];
  for (let second = 0; second < 20; second += 1) {
    for (let count = 0; count < 5; count += 1) {
      answers.push(faults.chat());
      await last(200);
    }
    for (const { proxy } of faults.members) proxy?.resetAll();
  }
  const seen = await Promise.all(answers);
  expectKept(seen, 100);
  const begun = seen.filter(({ status }) => status === 200);
  measured(
    'F05',
    `${doneCount(seen)} of ${seen.length} done, ${begun.length} begun; others ${codesOf(seen).join(', ')}`,
  );
  expect(doneCount(seen)).toBeGreaterThanOrEqual(seen.length * 0.95);
});

it('F05 the half-open subscriber of a gateway is noticed, and nothing is lost', async () => {
  faults.scriptAll({ tokens: 300 });
  const { answers } = await flowing(10);
  faults.gateway.proxy?.setMode({ type: 'half-open' });
  await last(3000);
  faults.gateway.proxy?.setMode({ type: 'pass' });
  const seen = await answers;
  expectKept(seen, 300);
  measured('F05', `half-open 3 s: ${doneCount(seen)} of 10 done, pause ${longestPauseMs(seen)} ms`);
  expect(longestPauseMs(seen)).toBeLessThan(within(3000 + 5000));
  expect(longestPauseMs(seen)).toBeGreaterThan(1000); // or there was no fault
});

it('F05b every connection to Redis dies without a word: all is well again within 5 s', async () => {
  expect((await faults.chat()).ends).toContain('done');
  for (const { proxy } of faults.members) proxy?.loseAll();
  const lostAtMs = performance.now();
  await until(async () => (await faults.chat()).ends.includes('done'));
  measured('F05b', `an answer ${Math.round(performance.now() - lostAtMs)} ms after`);
});

it.each([
  ['gateway', () => faults.gateway],
  ['llm-worker', () => faults.llm[0]],
])('F06 a blackhole of 8 s before the %s: streams go on or end by one error', async (name, of) => {
  faults.scriptAll({ tokens: 300 });
  const { answers } = await flowing(10);
  const { proxy } = of() ?? {};
  proxy?.setMode({ type: 'blackhole' });
  await last(8000);
  proxy?.setMode({ type: 'pass' });
  const openedAtMs = performance.now();
  const seen = await answers;
  expectKept(seen, 300);
  const afterMs = Math.round(performance.now() - openedAtMs);
  expect(longestPauseMs(seen)).toBeLessThan(within(DEADLINES.IDLE_TIMEOUT_MS + 2000));
  measured(
    'F06',
    `${name}: ${doneCount(seen)} of 10 done, others ${codesOf(seen).join(', ') || 'none'}; longest silence ${longestPauseMs(seen)} ms; over ${afterMs} ms after it opened`,
  );
  await until(async () => (await faults.chat()).ends.includes('done'), { timeoutMs: 6000 });
});

it.each([3000, 15_000])('F09 Redis killed and back after %i ms, under 20 streams', async (ms) => {
  faults.scriptAll({ tokens: 200 });
  const { answers } = await flowing(20);
  await faults.stack.redis.kill();
  const killedAtMs = performance.now();
  const meanwhile = [];
  while (performance.now() - killedAtMs < ms) {
    const refused = await faults.chat();
    meanwhile.push(refused);
    await last(Math.min(500, ms / 6));
  }
  for (const { status, durationMs } of meanwhile) {
    expect(status).toBe(503);
    expect(durationMs).toBeLessThan(within(1000));
  }
  await faults.stack.redis.restart();
  const upAtMs = performance.now();
  faults.scriptAll({ tokens: 200, tokenDelayMs: 0 });
  await until(async () => (await faults.chat()).ends.includes('done'), { timeoutMs: 10_000 });
  const firstMs = Math.round(performance.now() - upAtMs);
  const seen = await answers;
  expectKept(seen, 200);
  const slowest = Math.max(...meanwhile.map(({ durationMs }) => durationMs));
  measured(
    'F09',
    `${ms} ms away: ${doneCount(seen)} of 20 done, others ${codesOf(seen).join(', ') || 'none'}; ` +
      `${meanwhile.length} refused within ${Math.round(slowest)} ms; next answer whole after ${firstMs} ms`,
  );
  expect(firstMs).toBeLessThan(within(5000));
});

it('F10 no memory left in Redis for 5 s: one error each, 503 for new ones, then all is well', async () => {
  faults.scriptAll({ tokens: 200 });
  const { answers } = await flowing(5);
  await faults.redis.config('SET', 'maxmemory', '1');
  const refused = await faults.chat();
  await last(5000);
  await faults.redis.config('SET', 'maxmemory', '0');
  const resetAtMs = performance.now();
  faults.scriptAll({ tokens: 200, tokenDelayMs: 0 });
  await until(async () => (await faults.chat()).ends.includes('done'), { timeoutMs: 10_000 });
  const backMs = performance.now() - resetAtMs;
  const seen = await answers;
  expect(refused.status).toBe(503);
  expectKept(seen, 200);
  expect(codesOf(seen)).not.toContain('internal_error');
  measured(
    'F10',
    `${doneCount(seen)} of 5 done, others ${codesOf(seen).join(', ') || 'none'}; well after ${Math.round(backMs)} ms`,
  );
  expect(backMs).toBeLessThan(within(5000));
});

it('F11 all keys gone in mid-stream: one error each, and the next request works', async () => {
  faults.scriptAll({ tokens: 300 });
  const { answers } = await flowing(5);
  const flushedAtMs = performance.now();
  await faults.redis.flushall();
  const seen = await answers;
  const tookMs = Math.round(performance.now() - flushedAtMs);
  expectKept(seen, 300);
  for (const { ends } of seen) expect(ends).toEqual([expect.stringMatching(/^error:/)]);
  measured('F11', `five errors (${codesOf(seen).join(', ')}) within ${tookMs} ms`);
  expect(tookMs).toBeLessThan(within(DEADLINES.IDLE_TIMEOUT_MS + 2000));
  const next = await until(
    async () => {
      const answer = await faults.chat();
      return answer.ends.includes('done') ? answer : undefined;
    },
    { timeoutMs: 6000 },
  );
  expect(seen.map(({ streamId }) => streamId)).not.toContain(next.streamId);
});
