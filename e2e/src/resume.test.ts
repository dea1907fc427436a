import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  type ResumeStack,
  SPOKEN,
  TEXT,
  TOKENS,
  chatResumable,
  eventsOf,
  postResumable,
  readEvents,
  startResumeStack,
  statusOf,
  streamIdOf,
} from './resumed-stream.ts';

let resume: ResumeStack;
let baseUrl: string;
let otherUrl: string;

beforeAll(async () => {
  resume = await startResumeStack();
  baseUrl = resume.stack.baseUrl;
  otherUrl = resume.otherUrl;
}, 60_000);
afterEach(() => resume.untilAtRest());
afterAll(() => resume?.close());

describe('a client that is cut and comes back to the other gateway', () => {
  it('at every event of a text: what it gets in all is the answer', async () => {
    for (let count = 0; count <= TOKENS; count += 1) {
      const begun = await chatResumable(baseUrl);
      const streamId = streamIdOf(begun);
      const had = await readEvents(begun, count);
      const rest = await readEvents(await eventsOf(otherUrl, streamId, count));
      const whole = await readEvents(await eventsOf(baseUrl, streamId));
      expect([...had, ...rest]).toEqual(whole);
      expect(whole.at(-1)).toBe('data: [DONE]');
      const text = whole.map((event) => /"content":"([^"]*)"/.exec(event)?.[1] ?? '').join('');
      expect(text.trim().split(' ')).toHaveLength(TOKENS);
    }
    expect(resume.upstream.requestsTo('/chat/completions').every((call) => !call.abortedAtMs)).toBe(
      true,
    );
  }, 60_000);

  it('in a spoken answer: the same sound, without a seam', async () => {
    resume.upstream.script({ tokens: TEXT.match(/\s*\S+/g) ?? [] });
    for (const count of [1, 2, 5, 9]) {
      const begun = await chatResumable(baseUrl, SPOKEN);
      const streamId = streamIdOf(begun);
      const had = await readEvents(begun, count);
      const rest = await readEvents(await eventsOf(otherUrl, streamId, had.length));
      const data = [...had, ...rest].map((event) => /"data":"([^"]*)"/.exec(event)?.[1] ?? '');
      const whole = await fetch(`${otherUrl}/streams/${streamId}/audio`);
      const sound = Buffer.from(await whole.arrayBuffer());
      expect(sound.length).toBeGreaterThan(10_000);
      expect(Buffer.from(data.join(''), 'base64').equals(sound)).toBe(true);
      expect(rest.at(-1)).toBe('data: [DONE]');
    }
  }, 60_000);

  it('with a range of speech: slices of the whole', async () => {
    const answer = await postResumable(`${baseUrl}/audio/speech`, {
      ...{ input: TEXT, response_format: 'mp3' },
    });
    const sound = Buffer.from(await answer.arrayBuffer());
    for (let start = 0; start < sound.length; start += Math.ceil(sound.length / 5)) {
      const range = `bytes=${start}-${start + 999}`;
      const url = `${otherUrl}/streams/${streamIdOf(answer)}/audio`;
      const part = await fetch(url, { headers: { range } });
      expect(part.status).toBe(206);
      const bytes = Buffer.from(await part.arrayBuffer());
      expect(bytes.equals(sound.subarray(start, start + 1000))).toBe(true);
    }
  }, 60_000);
});

describe('a client that does not come back', () => {
  it('its stream is stopped behind the grace, and so is its upstream', async () => {
    resume.upstream.script({ tokens: 100_000, tokenDelayMs: 20 });
    const begun = await chatResumable(baseUrl);
    const streamId = streamIdOf(begun);
    await readEvents(begun, 2);
    const call = resume.upstream.requestsTo('/chat/completions').at(-1);
    expect(await statusOf(resume.redis, streamId)).toBe('open');
    await until(async () => (await statusOf(resume.redis, streamId)) === 'cancelled');
    await until(() => call?.abortedAtMs !== undefined);
  }, 60_000);
});

describe('the same Idempotency-Key', () => {
  it('ten at once on two gateways, and later: one call, one answer', async () => {
    const before = resume.upstream.requestsTo('/chat/completions').length;
    const headers = { 'idempotency-key': 'ten at once' };
    const ask = (index: number) =>
      chatResumable(index % 2 === 0 ? baseUrl : otherUrl, {}, { headers });
    const answers = await Promise.all(Array.from({ length: 10 }, (_, index) => ask(index)));
    const bodies = await Promise.all(answers.map((answer) => answer.text()));
    const later = await ask(1);
    expect(new Set([...bodies, await later.text()]).size).toBe(1);
    expect(new Set([...answers, later].map(streamIdOf)).size).toBe(1);
    expect(resume.upstream.requestsTo('/chat/completions')).toHaveLength(before + 1);
    const other = await chatResumable(baseUrl, { temperature: 0.5 }, { headers });
    expect(other.status).toBe(409);
    expect(other.headers.get('x-should-retry')).toBe('false');
  });
});
