import { expectUnbroken, violations } from '@antiphon/testing/invariant';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { DEADLINES, FaultStack, STREAM_MS, measured, within } from './fault-stack.ts';
import type { SeenAnswer } from './seen-answer.ts';

let faults: FaultStack;

beforeAll(async () => {
  faults = await FaultStack.start();
}, 60_000);
afterEach(() => faults.untilAtRest());
afterAll(() => faults?.close());

function expectKept(answer: SeenAnswer, tokenCount: number, mayBreak = false): void {
  expectUnbroken(violations(answer, { tokenCount, maxMs: STREAM_MS, mayBreak }));
}
const callsRunning = () =>
  faults.upstreams.reduce((sum, upstream) => sum + upstream.activeRequests(), 0);

async function startAgain(): Promise<void> {
  faults.gateway = faults.restart(faults.gateway);
  await faults.untilReady(faults.gateway);
  await faults.stack.untilModel('scripted');
}

it('F07 a gateway killed with ten streams: nobody works for it longer than 15 s', async () => {
  faults.scriptAll({ tokens: 5000 });
  const answers = Array.from({ length: 10 }, () => faults.chat());
  await until(() => callsRunning() === 10);
  const streamIds: string[] = [];
  await until(async () => {
    const response = await fetch(`${faults.baseUrl}/streams`);
    const { data } = (await response.json()) as { data: { id: string }[] };
    streamIds.splice(0, Infinity, ...data.map(({ id }) => id));
    return streamIds.length === 10;
  });
  await faults.end(faults.gateway, 'SIGKILL');
  const killedAtMs = performance.now();
  for (const answer of await Promise.all(answers)) {
    expectKept(answer, 5000, true);
    expect(answer.ends).toEqual(['broken']);
  }
  await startAgain();
  faults.scriptAll({ tokens: 40 });
  const next = await faults.chat();
  expect(next.ends).toEqual(['done']);
  await until(() => callsRunning() === 0, { timeoutMs: 15_000 });
  const tookMs = Math.round(performance.now() - killedAtMs);
  measured('F07', `the last of ten upstream calls ended ${tookMs} ms after the kill`);
  expect(tookMs).toBeLessThan(within(15_000));
  for (const streamId of streamIds) {
    const status = await faults.redis.hget(`antiphon:{${streamId}}:state`, 'status');
    expect(status).toMatch(/^(cancelled|error)$/);
  }
}, 90_000);

it('F20 a gateway told to stop: short answers end well, long ones by one error', async () => {
  faults.scriptAll({ tokens: 5000 });
  const long = faults.chat();
  await until(() => callsRunning() === 1);
  faults.scriptAll({ tokens: 50 });
  const short = faults.chat();
  const idle = await fetch(`${faults.stack.rootUrl}/health/live`); // its connection is kept alive
  await idle.text();
  await until(() => callsRunning() === 2);
  const toldAtMs = performance.now();
  const exit = faults.end(faults.gateway, 'SIGTERM');
  const [shortSeen, longSeen] = await Promise.all([short, long]);
  expectKept(shortSeen, 50);
  expect(shortSeen.ends).toEqual(['done']);
  expectKept(longSeen, 5000);
  expect(longSeen.errorCodes).toEqual(['server_shutting_down']);
  expect(await exit).toBe(0);
  const tookMs = Math.round(performance.now() - toldAtMs);
  measured('F20', `exit 0 after ${tookMs} ms`);
  expect(tookMs).toBeLessThan(within(DEADLINES.SHUTDOWN_DRAIN_MS + 2000));
  await until(() => callsRunning() === 0);
  await startAgain();
}, 60_000);

it('F20 from the first moment on, nobody is sent to a gateway that stops', async () => {
  faults.scriptAll({ tokens: 100 });
  const running = faults.chat();
  await until(() => callsRunning() === 1);
  const exit = faults.end(faults.gateway, 'SIGTERM');
  // Not ready, or not even listening: both take it out of a balancer.
  await until(async () => {
    const response = await fetch(`${faults.stack.rootUrl}/health/ready`, {
      headers: { connection: 'close' },
    }).catch(() => undefined);
    return response?.status !== 200;
  });
  expect((await running).ends).toEqual(['done']);
  expect(await exit).toBe(0);
  await startAgain();
}, 60_000);
