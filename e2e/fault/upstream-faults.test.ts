import type { Fault } from '@antiphon/testing/openai-server/script';
import { expectUnbroken, violations } from '@antiphon/testing/invariant';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { DEADLINES, FaultStack, STREAM_MS, measured, within } from './fault-stack.ts';
import type { SeenAnswer } from './seen-answer.ts';

const SECRET = 'sk-canary-upstream-key';

let faults: FaultStack;

beforeAll(async () => {
  faults = await FaultStack.start({ environment: { 'llm-worker:OPENAI_API_KEY': SECRET } });
}, 60_000);
afterEach(() => faults.untilAtRest());
afterAll(() => faults?.close());

function expectKept(answer: SeenAnswer, tokenCount: number): void {
  expectUnbroken(violations(answer, { tokenCount, maxMs: STREAM_MS }));
}

it('F14 an upstream that falls silent: upstream_timeout behind what came', async () => {
  faults.scriptAll({ fault: { type: 'silence', afterTokens: 10 } });
  const seen = await faults.chat();
  expectKept(seen, 40);
  expect(seen.errorCodes).toEqual(['upstream_timeout']);
  expect(seen.contents).toHaveLength(10);
  measured('F14', `told ${Math.round(seen.longestPauseMs)} ms after the last token`);
  expect(seen.longestPauseMs).toBeLessThan(within(DEADLINES.UPSTREAM_IDLE_TIMEOUT_MS + 3000));
});

it.each<[string, Fault, number]>([
  ['a role and no token', { type: 'silence' }, 200],
  ['no headers', { type: 'no-headers' }, 504],
])('F14 an upstream that sends %s: one error in time', async (what, fault, status) => {
  faults.scriptAll({ fault });
  const seen = await faults.chat();
  expectKept(seen, 40);
  expect(seen).toMatchObject({ status, contents: [] });
  expect(seen.errorCodes).toEqual(['upstream_timeout']);
  measured('F14', `${what}: told after ${Math.round(seen.durationMs)} ms`);
  expect(seen.durationMs).toBeLessThan(within(DEADLINES.UPSTREAM_IDLE_TIMEOUT_MS + 3000));
});

it.each<[string, Fault, number]>([
  ['is reset', { type: 'cut', by: 'rst', afterTokens: 10 }, 10],
  ['is cut', { type: 'cut', by: 'fin', afterTokens: 10 }, 10],
  ['ends too early', { type: 'early-end', afterTokens: 10 }, 10],
  ['has no finish reason', { type: 'no-finish-reason' }, 40],
  ['tells an error', { type: 'error-frame', afterTokens: 10 }, 10],
  ['is HTML', { type: 'html' }, 0],
  ['is no JSON', { type: 'garbage' }, 0],
  ['is one line of 40 MB', { type: 'long-line', bytes: 40 * 1024 * 1024 }, 0],
])('F15 an answer that %s: one error, what came is kept', async (_what, fault, kept) => {
  faults.scriptAll({ fault });
  const others = Array.from({ length: 3 }, () => faults.chat({ body: { user: 'other' } }));
  const seen = await faults.chat();
  for (const answer of [seen, ...(await Promise.all(others))]) {
    expectKept(answer, 40);
    expect(answer.contents.join('').split(' ').filter(Boolean)).toHaveLength(kept);
    expect(answer.errorCodes).toEqual([
      expect.stringMatching(/^upstream_(protocol|error|unavailable)$/),
    ]);
  }
});

it('F15 while lines of 40 MB are refused, another stream flows on', async () => {
  faults.scriptAll({ tokens: 150 });
  const flowing = faults.chat();
  await faults.busy();
  faults.scriptAll({ fault: { type: 'long-line', bytes: 40 * 1024 * 1024 } });
  await Promise.all(Array.from({ length: 5 }, () => faults.chat()));
  const seen = await flowing;
  expectKept(seen, 150);
  expect(seen.ends).toEqual(['done']);
  measured(
    'F15',
    `longest pause beside five lines of 40 MB: ${Math.round(seen.longestPauseMs)} ms`,
  );
  expect(seen.longestPauseMs).toBeLessThan(within(500));
});

it('F16 429 with a long Retry-After comes back soon, with a Retry-After', async () => {
  const calls = faults.calls();
  faults.scriptAll({
    fault: { type: 'status', status: 429, headers: { 'retry-after': '600' }, body: {} },
  });
  const seen = await faults.chat();
  expectKept(seen, 40);
  expect(seen).toMatchObject({ status: 429, errorCodes: ['rate_limit_exceeded'] });
  expect(Number(seen.retryAfter)).toBeGreaterThan(0);
  expect(Number(seen.retryAfter)).toBeLessThanOrEqual(60);
  expect(faults.calls() - calls).toBeLessThanOrEqual(3);
  expect(seen.durationMs).toBeLessThan(within(10_000));
});

it('F16 500, 500, then an answer: nobody sees it', async () => {
  const calls = faults.calls();
  faults.scriptAll({ times: 2, fault: { type: 'status', status: 500, body: 'oops' } });
  const seen = await faults.chat();
  expectKept(seen, 40);
  expect(seen.ends).toEqual(['done']);
  expect(faults.calls() - calls).toBe(3);
});

it('F16 401 is told without the key or the upstream’s words, and asked once', async () => {
  const calls = faults.calls();
  const words = `Incorrect API key provided: ${SECRET}`;
  faults.scriptAll({ fault: { type: 'status', status: 401, body: { error: { message: words } } } });
  const seen = await faults.chat();
  expectKept(seen, 40);
  expect(seen).toMatchObject({ status: 502, errorCodes: ['upstream_auth'] });
  expect(seen.body).not.toMatch(/canary|Incorrect/);
  expect(faults.calls() - calls).toBe(1);
  for (const { output } of faults.stack.processes) expect(output()).not.toContain(SECRET);
});

it('F16 a stop while an upstream is waited for ends at once', async () => {
  faults.scriptAll({ fault: { type: 'status', status: 500, body: 'oops' } });
  const calls = faults.calls();
  const answer = faults.chat();
  await until(() => faults.calls() > calls, { intervalMs: 1 });
  const stoppedAtMs = performance.now();
  await fetch(`${faults.baseUrl}/streams/cancel`, { method: 'POST' });
  const seen = await answer;
  expect(seen.errorCodes).toEqual(['stream_cancelled']);
  expect(performance.now() - stoppedAtMs).toBeLessThan(within(500));
  expect(faults.calls() - calls).toBeLessThanOrEqual(2);
});
