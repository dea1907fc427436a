import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import {
  type ResumeStack,
  SPOKEN,
  TEXT,
  chatResumable,
  eventsOf,
  readEvents,
  startGateway,
  startResumeStack,
  statusOf,
  streamIdOf,
} from '../src/resumed-stream.ts';

let resume: ResumeStack;

beforeAll(async () => {
  resume = await startResumeStack();
}, 60_000);
afterEach(() => resume.untilAtRest());
afterAll(() => resume?.close());

it('a gateway is killed: its client comes back to the other one and misses nothing', async () => {
  resume.upstream.script({ tokens: 300, tokenDelayMs: 20 });
  const doomed = await startGateway(resume.stack);
  const begun = await chatResumable(doomed.url);
  const streamId = streamIdOf(begun);
  const reading = readEvents(begun);
  await until(
    async () => Number(await resume.redis.hget(`antiphon:{${streamId}}:state`, 'seq')) > 20,
  );
  await doomed.process.stop('SIGKILL');
  const had = await reading;
  expect(had.length).toBeGreaterThan(0);
  const rest = await readEvents(await eventsOf(resume.otherUrl, streamId, had.length));
  expect([...had, ...rest]).toEqual(await readEvents(await eventsOf(resume.otherUrl, streamId)));
  expect(rest.at(-1)).toBe('data: [DONE]');
  expect(resume.upstream.requestsTo('/chat/completions').at(-1)?.abortedAtMs).toBeUndefined();
}, 60_000);

it('a gateway is killed: a stream in the background is kept by another one, and spoken to its end', async () => {
  resume.upstream.script({ tokens: TEXT.match(/\s*\S+/g) ?? [], tokenDelayMs: 700 });
  const doomed = await startGateway(resume.stack);
  const begun = await chatResumable(doomed.url, { ...SPOKEN, background: true });
  const streamId = streamIdOf(begun);
  await readEvents(begun, 1);
  await doomed.process.stop('SIGKILL');
  await until(async () => (await statusOf(resume.redis, streamId)) !== 'open', {
    timeoutMs: 30_000,
  });
  expect(await statusOf(resume.redis, streamId)).toBe('done');
  const events = await readEvents(await eventsOf(resume.otherUrl, streamId));
  expect(events.at(-1)).toBe('data: [DONE]');
}, 90_000);
