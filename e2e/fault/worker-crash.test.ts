import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { until } from '@antiphon/testing/until';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { expectedTokens, readChatStream } from '../src/chat-stream.ts';
import { type AppProcess, type Stack, startStack } from '../src/stack.ts';

let upstreams: OpenAIServer[];
let stack: Stack;
let workers: AppProcess[];

/** Two workers, each with an upstream of its own: so it is known who answers. */
beforeEach(async () => {
  upstreams = [
    await startOpenAIServer({ tokens: 40, tokenDelayMs: 20 }),
    await startOpenAIServer({ tokens: 40, tokenDelayMs: 20 }),
  ];
  stack = await startStack({
    apps: ['gateway'],
    environment: { AI_SERVICE: 'openai', LLM_OPENAI_MODELS: 'scripted' },
    models: [],
  });
  workers = upstreams.map(({ baseUrl }) => stack.start('llm-worker', { OPENAI_BASE_URL: baseUrl }));
  for (const worker of workers)
    await until(() => worker.output().includes('"ready"'), { timeoutMs: 10_000 });
  await stack.untilModel('scripted');
}, 60_000);
afterEach(async () => {
  await stack?.close();
  for (const upstream of upstreams ?? []) await upstream.close();
});

/** Index of the worker that runs the one job there is. */
async function busyWorker(): Promise<number> {
  return until(() => {
    const index = upstreams.findIndex((upstream) => upstream.activeRequests() > 0);
    return index < 0 ? undefined : index + 1;
  }).then((position) => position - 1);
}

it('heals a worker killed before its first event unseen', async () => {
  for (const upstream of upstreams) {
    upstream.script({ path: '/chat/completions', fault: { type: 'no-headers' } });
  }
  const answer = readChatStream(stack.baseUrl);
  const victim = await busyWorker();
  for (const upstream of upstreams) upstream.resetScripts();
  await workers[victim]?.stop('SIGKILL');
  expect(await answer).toMatchObject({
    done: true,
    errors: [],
    finishReasons: ['stop'],
    broken: false,
  });
  expect((await answer).contents.join('').trim()).toBe(expectedTokens(40));
}, 60_000);

it('ends a stream whose worker died in the middle by one error, never by a second answer', async () => {
  for (const upstream of upstreams) upstream.script({ tokens: 400, tokenDelayMs: 20 });
  let killed: Promise<unknown> | undefined;
  const answer = await readChatStream(stack.baseUrl, {
    onContent: (_content, { contents }) => {
      if (contents.length < 20 || killed) return;
      killed = busyWorker().then((victim) => workers[victim]?.stop('SIGKILL'));
    },
  });
  await killed;
  expect(answer).toMatchObject({ done: false, finishReasons: [], broken: false });
  expect(answer.errors.map(({ code }) => code)).toEqual(['stream_interrupted']);
  const text = answer.contents.join('').trim();
  expect(text).toBe(expectedTokens(answer.contents.length));
  const calls = upstreams.flatMap((upstream) => upstream.requestsTo('/chat/completions'));
  expect(calls).toHaveLength(1);
}, 60_000);

it('hands the jobs of a worker that is told to stop to nobody: they end first', async () => {
  for (const upstream of upstreams) upstream.script({ tokens: 60, tokenDelayMs: 20 });
  let stopped: Promise<number | null | undefined> | undefined;
  const answer = await readChatStream(stack.baseUrl, {
    onContent: (_content, { contents }) => {
      if (contents.length < 5 || stopped) return;
      stopped = busyWorker().then((index) => workers[index]?.stop('SIGTERM'));
    },
  });
  expect(answer).toMatchObject({ done: true, errors: [] });
  expect(await stopped).toBe(0);
}, 60_000);
