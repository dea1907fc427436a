import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import type { RecordedRequest } from '@antiphon/testing/openai-server/recorded-request';
import { freePort } from '@antiphon/testing/redis';
import { PATIENCE, until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { readSpokenStream, soundOf } from './spoken-stream.ts';
import { type AppProcess, type Stack, startStack } from './stack.ts';
import { isSameTone, toneOf, tonesIn } from './tones.ts';

/** A model and a voice far away: both are scripted, so that it is known what they said and when. */
let upstream: OpenAIServer;
let stack: Stack;
let llmWorker: AppProcess;
let ttsWorker: AppProcess;
/** A second gateway, whose answers end when a phrase fails. */
let strictUrl: string;

/** Whole sentences, none of which can be cut or joined to another one. */
const SENTENCES = [
  'Good morning to all of you.',
  'This sentence is the second one of them.',
  'The third sentence is a little bit longer than that.',
  'Nobody knows what the fourth sentence is about.',
  'The last sentence of this answer is the fifth.',
];
const TOKENS = SENTENCES.join(' ').match(/\s*\S+/g) ?? [];
/** Behind the full stop of the first sentence; only then it is known that it ends there. */
const BOUNDARY_TOKEN = (SENTENCES[0] ?? '').split(' ').length;
const TOKEN_DELAY_MS = 33;
const SPEECH_DELAY_MS = 120;

beforeAll(async () => {
  upstream = await startOpenAIServer({ tokens: TOKENS, usage: 'asked' });
  stack = await startStack({
    apps: ['gateway'],
    environment: {
      ...{ AI_SERVICE: 'openai', TTS_SERVICE: 'openai', OPENAI_BASE_URL: upstream.baseUrl },
      ...{ LLM_OPENAI_MODELS: 'scripted', TTS_OPENAI_MODELS: 'scripted-tts' },
    },
    models: [],
  });
  llmWorker = stack.start('llm-worker');
  ttsWorker = stack.start('tts-worker');
  const port = await freePort();
  stack.start('gateway', { PORT: String(port), ON_PHRASE_ERROR: 'fail' });
  strictUrl = `http://127.0.0.1:${port}/v1`;
  for (const url of [stack.baseUrl, strictUrl]) {
    await until(async () => {
      const response = await fetch(`${url}/models`).catch(() => undefined);
      const models = (await response?.text()) ?? '';
      return ['"scripted"', '"scripted-tts"'].every((model) => models.includes(model));
    });
  }
}, 60_000);
afterEach(() => upstream.resetScripts());
afterAll(async () => {
  await stack?.close();
  await upstream?.close();
});

const pace = () => {
  upstream.script({ path: '/chat/completions', tokenDelayMs: TOKEN_DELAY_MS });
  upstream.script({ path: '/audio/speech', headerDelayMs: SPEECH_DELAY_MS });
};
const inputOf = ({ body }: RecordedRequest) => (body as { input: string }).input;
const asks = (sentence: string | undefined) => (request: RecordedRequest) =>
  inputOf(request) === sentence;
/** Asserts which phrases were heard, in which order: each has a tone of its own. */
function expectTones(pcm: Buffer, sentences: readonly string[]): void {
  const expected = sentences.map(toneOf);
  // By name where they fit, so that a failure shows what was heard instead.
  const heard = tonesIn(pcm).map((tone) => {
    const index = expected.findIndex((one) => isSameTone(one, tone));
    return sentences[index] ?? tone;
  });
  expect(heard).toEqual(sentences);
}
const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;

describe('an answer at 30 tokens a second', () => {
  it('is heard while it is written', async () => {
    pace();
    const delaysMs: number[] = [];
    for (let count = 0; count < 15; count += 1) {
      const before = upstream.requests.length;
      const leave = new AbortController();
      const { firstSoundAtMs = Infinity, finishReasons } = await readSpokenStream(stack.baseUrl, {
        signal: leave.signal,
        onFrame: ({ fragments }) => {
          if (fragments.length > 0) leave.abort();
        },
      });
      const chat = upstream.requests[before];
      expect(chat?.path).toBe('/chat/completions');
      expect(finishReasons).toEqual([]);
      const boundaryMs = chat?.tokenTimesMs[BOUNDARY_TOKEN] ?? Infinity;
      const last = chat?.tokenTimesMs.findLastIndex((timeMs) => timeMs < firstSoundAtMs) ?? 0;
      expect(last).toBeLessThan(TOKENS.length - 1); // the model was still writing
      delaysMs.push(firstSoundAtMs - boundaryMs);
      await until(() => upstream.activeRequests() === 0);
    }
    const p50Ms = median(delaysMs);
    process.stdout.write(
      `boundary to first sound: p50 ${p50Ms.toFixed(1)} ms, most ${Math.max(...delaysMs).toFixed(1)} ms (${SPEECH_DELAY_MS} of it the voice's)\n`,
    );
    expect(Math.min(...delaysMs)).toBeGreaterThanOrEqual(SPEECH_DELAY_MS - 2);
    expect(p50Ms).toBeLessThan(150 * PATIENCE);
  }, 60_000);

  it('is whole and without a gap', async () => {
    pace();
    const answer = await readSpokenStream(stack.baseUrl, {
      body: { stream_options: { include_usage: true } },
    });
    expect(answer).toMatchObject({ finishReasons: ['stop'], done: true, errors: [] });
    expect(answer.transcript).toBe(SENTENCES.join(' '));
    expectTones(soundOf(answer), SENTENCES);
    expect([answer.audioIds.length, answer.expiries.length]).toEqual([1, 1]);
    const seconds = soundOf(answer).length / 48_000;
    expect(answer.usage?.completion_tokens_details.audio_tokens).toBe(Math.ceil(seconds * 20));
    const response = await fetch(`${stack.baseUrl}/streams/${answer.streamId}`);
    const { timings, phrases } = (await response.json()) as {
      timings: Record<string, number>;
      phrases: object;
    };
    expect(timings).toMatchObject({ gapCount: 0, gapMs: 0 });
    expect(timings['synthesisMs']).toBeGreaterThanOrEqual(SPEECH_DELAY_MS - 2);
    expect(phrases).toEqual({ total: 5, spoken: 5, failed: 0, cached: 0 });
  }, 30_000);

  it('plays in order when its second phrase takes ten times as long', async () => {
    pace();
    const [, second, third] = SENTENCES;
    upstream.script({ path: '/audio/speech', when: asks(second), headerDelayMs: 1200 });
    const before = upstream.requests.length;
    const answer = await readSpokenStream(stack.baseUrl);
    expect(answer).toMatchObject({ done: true, errors: [], phraseErrors: [] });
    expectTones(soundOf(answer), SENTENCES);
    const closedAtMs = (sentence: string | undefined) =>
      upstream.requests
        .slice(before)
        .find((request) => request.path === '/audio/speech' && asks(sentence)(request))?.closedAtMs;
    expect(closedAtMs(third)).toBeLessThan(closedAtMs(second) ?? 0);
  }, 30_000);
});

it('of thirty at once nobody hears what another one is told', async () => {
  const prompts = Array.from({ length: 30 }, (_, index) => `question ${index}`);
  const answerTo = (prompt: string) => [
    `Somebody has put the ${prompt} to me.`,
    `This is what I have to say to ${prompt} of yours.`,
    `There is nothing else to say to the ${prompt}.`,
  ];
  for (const prompt of prompts) {
    upstream.script({
      path: '/chat/completions',
      when: ({ body }) => JSON.stringify(body).includes(`"${prompt}"`),
      tokens:
        answerTo(prompt)
          .join(' ')
          .match(/\s*\S+/g) ?? [],
      tokenDelayMs: 20,
    });
  }
  upstream.script({ path: '/audio/speech', headerDelayMs: 50 });
  const answers = await Promise.all(
    prompts.map((prompt) => readSpokenStream(stack.baseUrl, { prompt })),
  );
  for (const [index, answer] of answers.entries()) {
    const expected = answerTo(prompts[index] ?? '');
    expect(answer).toMatchObject({ done: true, errors: [], phraseErrors: [] });
    expect(answer.transcript).toBe(expected.join(' '));
    expectTones(soundOf(answer), expected);
  }
}, 60_000);

describe('a phrase that fails', () => {
  const failing = SENTENCES[1];
  /** The connection breaks where its sound should begin. */
  const cut = (times: number) =>
    upstream.script({
      ...{ path: '/audio/speech', when: asks(failing), times },
      fault: { type: 'cut', by: 'rst' },
    });
  const rest = SENTENCES.filter((sentence) => sentence !== failing);

  it('once is tried again, and nothing is heard of that', async () => {
    cut(1);
    const answer = await readSpokenStream(stack.baseUrl);
    expect(answer).toMatchObject({ done: true, errors: [], phraseErrors: [] });
    expectTones(soundOf(answer), SENTENCES);
  });

  it('a second time is told and skipped', async () => {
    cut(2);
    const before = upstream.requests.length;
    const answer = await readSpokenStream(stack.baseUrl);
    expect(answer).toMatchObject({ done: true, errors: [], finishReasons: ['stop'] });
    expect(answer.phraseErrors).toMatchObject([{ index: 1, code: 'upstream_protocol' }]);
    expect(answer.transcript).toBe(SENTENCES.join(' '));
    expectTones(soundOf(answer), rest);
    const tries = upstream.requests
      .slice(before)
      .filter((request) => request.path === '/audio/speech' && asks(failing)(request));
    expect(tries).toHaveLength(2);
    const response = await fetch(`${stack.baseUrl}/streams/${answer.streamId}`);
    expect(await response.json()).toMatchObject({ phrases: { total: 5, spoken: 4, failed: 1 } });
  });

  it('ends the answer where ON_PHRASE_ERROR is fail, and with it all other calls', async () => {
    cut(2);
    upstream.script({ path: '/audio/speech', when: asks(SENTENCES[2]), headerDelayMs: 10_000 });
    const answer = await readSpokenStream(strictUrl);
    expect(answer).toMatchObject({ done: false, finishReasons: [], phraseErrors: [] });
    expect(answer.errors.map(({ code }) => code)).toEqual(['upstream_protocol']);
    await until(() => upstream.activeRequests() === 0, { timeoutMs: 1000 });
  });
});

it('a client that leaves stops the model and all voices', async () => {
  upstream.script({
    path: '/chat/completions',
    tokens: Array(20).fill(TOKENS).flat(),
    tokenDelayMs: 5,
  });
  upstream.script({ path: '/audio/speech', tokenDelayMs: 50 });
  const leave = new AbortController();
  const answer = await readSpokenStream(stack.baseUrl, {
    signal: leave.signal,
    onFrame: ({ fragments }) => {
      if (fragments.length > 3) leave.abort();
    },
  });
  expect(answer.broken).toBe(true);
  const speaking = upstream
    .requestsTo('/audio/speech')
    .filter(({ closedAtMs }) => closedAtMs === undefined);
  expect(speaking.length).toBeGreaterThan(0);
  await until(() => upstream.activeRequests() === 0, { timeoutMs: 1000, intervalMs: 5 });
  for (const { abortedAtMs } of speaking) expect(abortedAtMs).toBeDefined();
  const response = await fetch(`${stack.baseUrl}/streams/${answer.streamId}`);
  expect(await response.json()).toMatchObject({ status: 'cancelled' });
}, 30_000);

it('a tts-worker killed in mid-phrase, whose voice would say it differently: the rest of it is left out', async () => {
  const [first = '', second = ''] = SENTENCES;
  upstream.script({ path: '/audio/speech', when: asks(second), tokenDelayMs: 150 });
  const heardBytes = (toneOf(first).seconds + 0.25 + 0.5) * 48_000;
  const replace = async () => {
    await ttsWorker.stop('SIGKILL');
    ttsWorker = stack.start('tts-worker');
  };
  let replacing: Promise<void> | undefined;
  const answer = await readSpokenStream(stack.baseUrl, {
    onFrame: (answer) => {
      if (soundOf(answer).length < heardBytes) return;
      replacing ??= replace();
    },
  });
  await replacing;
  expect(answer).toMatchObject({ done: true, errors: [], finishReasons: ['stop'] });
  expect(answer.phraseErrors).toMatchObject([{ index: 1, code: 'stream_interrupted' }]);
  expect(answer.transcript).toBe(SENTENCES.join(' '));
  const [, broken, ...others] = tonesIn(soundOf(answer));
  expect(Math.abs((broken?.hz ?? 0) - toneOf(second).hz)).toBeLessThan(5);
  expect(broken?.seconds).toBeLessThan(toneOf(second).seconds - 0.1);
  expect(others).toHaveLength(3);
}, 60_000);

it('an llm-worker killed in mid-answer: what is cut is heard, then one error', async () => {
  const cut = SENTENCES.slice(0, 4);
  const count = (cut.join(' ').match(/\S+/g) ?? []).length;
  upstream.script({ path: '/chat/completions', fault: { type: 'silence', afterTokens: count } });
  upstream.script({ path: '/audio/speech', headerDelayMs: 1000 });
  const calls = upstream.requestsTo('/chat/completions').length;
  const reading = readSpokenStream(stack.baseUrl);
  // The fourth phrase waits for one of the first three.
  await until(async () => (await openPhrases()) === '4');
  await llmWorker.stop('SIGKILL');
  llmWorker = stack.start('llm-worker'); // takes the job, and sees that it cannot go on
  const answer = await reading;
  expect(answer.errors.map(({ code }) => code)).toEqual(['stream_interrupted']);
  expect(answer).toMatchObject({ done: false, finishReasons: [], broken: false });
  expect(answer.transcript).toBe(cut.join(' '));
  expectTones(soundOf(answer), cut);
  expect(upstream.requestsTo('/chat/completions')).toHaveLength(calls + 1);
}, 60_000);

/** Phrases of the one open stream there is. */
async function openPhrases(): Promise<string | undefined> {
  const response = await fetch(`${stack.baseUrl}/streams`);
  const { data } = (await response.json()) as {
    data: { status: string; phrases?: { total: number } }[];
  };
  const open = data.find(({ status }) => status === 'open');
  return open?.phrases && String(open.phrases.total);
}
