import type { RecordedRequest } from '@antiphon/testing/openai-server/recorded-request';
import { expectUnbroken, violations } from '@antiphon/testing/invariant';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { DEADLINES, FaultStack, type Member, STREAM_MS, measured, within } from './fault-stack.ts';
import { PROMPT_CANARY, type SeenAnswer } from './seen-answer.ts';

let faults: FaultStack;

beforeAll(async () => {
  faults = await FaultStack.start({
    llmWorkers: 2,
    // That a job lost its worker, or was given up after two deaths (F18), is found out within about
    // 4 s: it must be seen before a deadline ends the stream.
    environment: { FIRST_EVENT_TIMEOUT_MS: '15000', IDLE_TIMEOUT_MS: '15000' },
  });
}, 60_000);
afterEach(() => faults.untilAtRest());
afterAll(() => faults?.close());

const expectKept = (answer: SeenAnswer, tokenCount: number) =>
  expectUnbroken(violations(answer, { tokenCount, maxMs: STREAM_MS }));

/** Kills a worker and starts it again. */
async function kill(victim: Member): Promise<void> {
  await faults.end(victim, 'SIGKILL');
  const again = faults.restart(victim);
  faults.llm[faults.llm.indexOf(victim)] = again;
  await faults.untilReady(again);
}

/** A question that scripts can tell from others. */
const about = (subject: string) => ({
  messages: [{ role: 'user', content: `${PROMPT_CANARY} ${subject}` }],
});
const isAbout = (subject: string) => (request: RecordedRequest) =>
  request.rawBody.toString().includes(`${PROMPT_CANARY} ${subject}"`);

it('F01 a worker killed before its first token: another one answers, unseen', async () => {
  faults.scriptAll({ fault: { type: 'no-headers' } });
  const answer = faults.chat();
  const victim = await faults.busy();
  for (const upstream of faults.upstreams) upstream.resetScripts();
  const killedAtMs = performance.now();
  const killed = kill(victim);
  const seen = await answer;
  const tookMs = performance.now() - killedAtMs;
  await killed;
  expectKept(seen, 40);
  expect(seen.ends).toEqual(['done']);
  measured('F01', `answered in full ${Math.round(tookMs)} ms after the kill`);
  expect(tookMs).toBeLessThan(within(6000 + 40 * 20));
});

it('F02 a worker killed in mid-answer: what came, then one error, never a second answer', async () => {
  const calls = faults.calls();
  let killed: Promise<void> | undefined;
  let killedAtMs = 0;
  const seen = await faults.chat({
    onOutput: ({ contents }) => {
      if (contents.length < 20 || killed) return;
      killed = faults.busy().then((victim) => {
        killedAtMs = performance.now();
        return kill(victim);
      });
    },
  });
  const tookMs = performance.now() - killedAtMs;
  await killed;
  expectKept(seen, 40);
  expect(seen.errorCodes).toEqual(['stream_interrupted']);
  expect(seen.contents.length).toBeGreaterThanOrEqual(20);
  expect(faults.calls()).toBe(calls + 1);
  measured('F02', `told ${Math.round(tookMs)} ms after the kill`);
  expect(tookMs).toBeLessThan(within(6000));
});

it('F03 a worker frozen for 6 s in mid-answer: the zombie is fenced, and its call ends', async () => {
  faults.scriptAll({ tokens: 1000 });
  let zombie: Member | undefined;
  const answer = faults.chat({
    onOutput: ({ contents }) => {
      if (contents.length < 20 || zombie) return;
      zombie = faults.llm.find(({ upstream }) => upstream?.activeRequests());
      zombie?.process.child.kill('SIGSTOP');
    },
  });
  const frozen = await until(() => zombie, { what: 'a frozen worker' });
  const call = frozen.upstream?.requests.at(-1);
  const thawAtMs = performance.now() + 6000;
  await until(() => performance.now() > thawAtMs, { timeoutMs: 7000 });
  frozen.process.child.kill('SIGCONT');
  const closedAtMs = await until(() => call?.closedAtMs);
  const seen = await answer;
  expectKept(seen, 1000);
  expect(seen.errorCodes).toEqual(['stream_interrupted']);
  const closedMs = closedAtMs - thawAtMs;
  measured('F03', `the zombie's call ended ${Math.round(closedMs)} ms after it woke`);
  expect(closedMs).toBeLessThan(within(2000));
});

it('F18 a job that kills its workers ends after two of them; other streams keep the promise', async () => {
  faults.scriptAll({ when: isAbout('poison'), fault: { type: 'no-headers' } });
  let deaths = 0;
  const end = new AbortController();
  const hunt = async () => {
    while (!end.signal.aborted) {
      const victim = await until(
        () =>
          end.signal.aborted ||
          faults.llm.find(({ upstream }) =>
            upstream?.requests.some((one) => !one.closedAtMs && isAbout('poison')(one)),
          ),
        { timeoutMs: 30_000 },
      );
      if (victim === true) return;
      deaths += 1;
      await kill(victim);
    }
  };
  const hunted = hunt();
  const good = Array.from({ length: 20 }, () => faults.chat());
  const poison = await faults.chat({ body: about('poison') });
  end.abort();
  await hunted;
  for (const answer of await Promise.all(good)) expectKept(answer, 40);
  expect(deaths).toBeLessThanOrEqual(2);
  expect(poison.errorCodes).toEqual(['stream_interrupted']);
  measured('F18', `${deaths} workers died; told after ${Math.round(poison.durationMs)} ms`);
  expect(poison.durationMs).toBeLessThan(within(8000));
});

it('F21 a worker told to stop: short answers end well, long ones by one error, others go on', async () => {
  faults.scriptAll({ tokens: 400 });
  faults.scriptAll({ when: isAbout('short'), tokens: 30 });
  const ask = (subject: string) => faults.chat({ body: about(subject) });
  const short = Array.from({ length: 4 }, () => ask('short'));
  const long = Array.from({ length: 6 }, (_, index) => ask(`long ${index}`));
  const active = () =>
    faults.upstreams.reduce((sum, upstream) => sum + upstream.activeRequests(), 0);
  await until(() => active() === 10, { what: 'ten calls' });
  const runs = ({ upstream }: Member, subject: string) =>
    upstream?.requests.some((one) => !one.closedAtMs && isAbout(subject)(one)) === true;
  // All jobs may be one worker's: that one leaves.
  const [leaving, staying] = faults.llm.toSorted(
    (one, other) => Number(runs(other, 'long 0')) - Number(runs(one, 'long 0')),
  ) as [Member, Member];
  const cutOnes = long.map((_, index) => runs(leaving, `long ${index}`));
  expect(cutOnes[0]).toBe(true);
  const saidBefore = staying.process.output().length;
  const toldAtMs = performance.now();
  const exit = faults.end(leaving, 'SIGTERM').then((code) => ({
    code,
    tookMs: performance.now() - toldAtMs,
  }));
  for (const answer of await Promise.all(short)) {
    expectKept(answer, 30);
    expect(answer.ends).toEqual(['done']);
  }
  for (const [index, answer] of (await Promise.all(long)).entries()) {
    expectKept(answer, 400);
    expect(answer.ends).toEqual(cutOnes[index] ? ['error:server_shutting_down'] : ['done']);
  }
  const { code, tookMs } = await exit;
  expect(code).toBe(0);
  measured('F21', `exit ${code} after ${Math.round(tookMs)} ms`);
  expect(tookMs).toBeLessThan(within(DEADLINES.SHUTDOWN_DRAIN_MS + 2000));
  expect(staying.process.output().slice(saidBefore)).not.toContain('stalled');
  const again = faults.restart(leaving);
  faults.llm[faults.llm.indexOf(leaving)] = again;
  await faults.untilReady(again);
}, 60_000);
