import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { ChatJob } from '@antiphon/shared/jobs/job-catalog';
import { JobProducer } from '@antiphon/shared/queue/job-producer';
import { openRedis } from '@antiphon/shared/queue/redis';
import { createLogger } from '@antiphon/shared/runtime/logger';
import { StreamLog } from '@antiphon/shared/streams/stream-log';
import { StreamClosed } from '@antiphon/shared/streams/stream-producer';
import { createPhraseSplitter } from '@antiphon/shared/text/phrase-splitter';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SpokenAnswer } from './spoken-answer.ts';

const QUEUE = 'tts-test';

let server: RedisServer;
let redis: ReturnType<typeof openRedis>;
let log: StreamLog;
let jobs: JobProducer;

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: () => undefined });
  log = new StreamLog(redis);
  jobs = new JobProducer(redis, () => undefined);
});
afterAll(async () => {
  await jobs.close();
  redis.disconnect();
  await server.close();
});

interface OpenOptions {
  audio?: Partial<NonNullable<ChatJob['audio']>>;
  maxLogBytes?: number;
  signOfLifeMs?: number;
}

async function open({ audio = {}, maxLogBytes = 1e7, ...options }: OpenOptions = {}) {
  const streamId = await log.open({
    ...{ tenantId: 'default', gatewayId: 'g1', kind: 'chat', model: 'm', queueName: 'q' },
    ...{ ttlMs: 60_000, logTtlMs: 30_000, maxLogBytes, parallelPhrases: 2, aheadSamples: 1e6 },
    speech: JSON.stringify({
      queueName: QUEUE,
      job: {
        ...{ version: 1, tenantId: 'default', gatewayId: 'g1', model: 'tts-1', voice: 'alloy' },
        ...{ speed: 1.5, onPhraseError: 'skip' },
      },
    }),
  });
  const producer = log.producer(streamId, 'chat', await log.claim(streamId, 'chat', 'w1'));
  const stopped = new AbortController();
  const answer = new SpokenAnswer({
    ...{ streamId, producer, signal: stopped.signal, log, jobs },
    audio: { content: 'code', ...audio },
    logger: createLogger('llm-worker', 'silent'),
    ...options,
  });
  return { streamId, answer, stop: (reason: Error) => stopped.abort(reason) };
}

async function writtenIn(streamId: string) {
  const { entries } = await log.read(streamId, 1, 10_000);
  const events = entries.map(({ event }) => event);
  const deltas = events.flatMap((event) => (event.type === 'message-delta' ? [event.delta] : []));
  return {
    phrases: events.flatMap((event) => (event.type === 'phrase-start' ? [event] : [])),
    deltas,
    content: deltas.map(({ content }) => (typeof content === 'string' ? content : '')).join(''),
    types: events.map(({ type }) => type),
    last: entries.at(-1),
  };
}
const queued = async (streamId: string, phraseIndex: number) => {
  const data = await redis.hget(`bull:${QUEUE}:${streamId}-${phraseIndex}`, 'data');
  return data === null ? undefined : (JSON.parse(data) as object);
};

/** Whole sentences, none of which can be cut or joined to another one. */
const SENTENCES = [
  'The first sentence is spoken at once.',
  'The second sentence comes a little later.',
  'The third sentence has to wait for its turn.',
  'The fourth sentence is the last of them all.',
];
const tokensOf = (text: string) => text.match(/\s*\S+|\s+$/g) ?? [];

async function say(answer: SpokenAnswer, text: string): Promise<void> {
  for (const token of tokensOf(text)) await answer.push(token);
}

describe('a phrase', () => {
  it('is laid into the stream with its pause, as it was cut', async () => {
    const { streamId, answer } = await open();
    const text = `${SENTENCES.slice(0, 2).join(' ')}\n\n${SENTENCES.slice(2).join(' ')}`;
    await say(answer, text);
    await answer.flush();
    const splitter = createPhraseSplitter();
    const cut = [...splitter.push(text), ...splitter.end()];
    expect(cut).toHaveLength(4);
    const state = (await log.state(streamId)) ?? {};
    const laid = cut.map(({ index }) => JSON.parse(state[`text:${index}`] ?? '{}') as object);
    expect(laid).toStrictEqual(cut.map(({ text: words, pause }) => ({ text: words, pause })));
    expect(state['waiting']).toBe('4');
    const { phrases } = await writtenIn(streamId);
    expect(phrases.map(({ text: words, before }) => ({ words, before }))).toStrictEqual(
      cut.map(({ text: words, before }) => ({ words, before })),
    );
    expect(phrases.map(({ phraseIndex }) => phraseIndex)).toStrictEqual([0, 1, 2, 3]);
  });

  it('goes straight to the tts queue, as many as may run at once', async () => {
    const { streamId, answer } = await open();
    await say(answer, SENTENCES.join(' '));
    await answer.flush();
    const job = await until(() => queued(streamId, 1));
    expect(job).toStrictEqual({
      ...{ version: 1, streamId, tenantId: 'default', gatewayId: 'g1', model: 'tts-1' },
      ...{ voice: 'alloy', speed: 1.5, onPhraseError: 'skip' },
      ...{ phraseIndex: 1, text: SENTENCES[1], pause: 'sentence' },
    });
    expect(await queued(streamId, 0)).toMatchObject({ text: SENTENCES[0] });
    expect(await queued(streamId, 2)).toBeUndefined();
    expect((await log.state(streamId))?.['released']).toBe('2');
  });

  it('is there while the model goes on writing', async () => {
    const { streamId, answer } = await open();
    await say(answer, `${SENTENCES[0]} The`);
    await until(() => queued(streamId, 0));
    expect((await writtenIn(streamId)).phrases).toMatchObject([{ text: SENTENCES[0] }]);
    await answer.flush();
  });

  it('stays under the engine’s own limit', async () => {
    const { streamId, answer } = await open({ audio: { maxPhraseCharacters: 30 } });
    await say(answer, SENTENCES.join(' '));
    await answer.flush();
    const { phrases } = await writtenIn(streamId);
    expect(phrases.length).toBeGreaterThan(4);
    for (const { text } of phrases) expect(text.length).toBeLessThanOrEqual(30);
  });

  it('the first one tells when the model began, and no other does', async () => {
    const { streamId, answer } = await open();
    await say(answer, SENTENCES.join(' '));
    await answer.flush();
    const { phrases } = await writtenIn(streamId);
    expect(phrases[0]?.firstTokenMs).toBeGreaterThan(0);
    for (const phrase of phrases.slice(1)) expect('firstTokenMs' in phrase).toBe(false);
  });
});

describe('what is shown', () => {
  const code = '```js\nconst answer = 42;\n```\n';
  const text = `${SENTENCES[0]}\n\n${code}\n${SENTENCES[1]}`;
  const spokenOf = async (streamId: string) =>
    (await writtenIn(streamId)).phrases.map((phrase) => phrase.text).join(' ');

  it('by default: code, and it is not said', async () => {
    const { streamId, answer } = await open();
    await say(answer, text);
    await answer.flush();
    expect(await spokenOf(streamId)).toBe(`${SENTENCES[0]} ${SENTENCES[1]}`);
    const { content } = await writtenIn(streamId);
    expect(content.trim()).toBe(code.trim());
  });

  it('full: everything, as it was written', async () => {
    const { streamId, answer } = await open({ audio: { content: 'full' } });
    await say(answer, text);
    await answer.flush();
    expect((await writtenIn(streamId)).content).toBe(text);
    expect(await spokenOf(streamId)).toBe(`${SENTENCES[0]} ${SENTENCES[1]}`);
  });

  it('none: nothing but what is no text', async () => {
    const { streamId, answer } = await open({ audio: { content: 'none' } });
    await say(answer, text);
    await answer.show({ refusal: 'No.' });
    await answer.flush();
    expect((await writtenIn(streamId)).deltas).toStrictEqual([{ refusal: 'No.' }]);
  });

  it('what is not text keeps its place among the phrases', async () => {
    const { streamId, answer } = await open();
    const calls = [{ tool_calls: [{ index: 0, id: 'c' }] }, { tool_calls: [{ index: 0 }] }];
    await say(answer, `${SENTENCES[0]} And`);
    for (const call of calls) await answer.show(call);
    await say(answer, ' then there is a second one.');
    await answer.flush();
    const { types, deltas } = await writtenIn(streamId);
    expect(types).toEqual([
      ...['job-claim', 'phrase-start', 'message-delta', 'message-delta', 'phrase-start'],
    ]);
    expect(deltas).toStrictEqual(calls);
  });

  it('joins texts that wait, and nothing else', async () => {
    const { streamId, answer } = await open();
    for (const content of ['a', 'b', 'c', 'd']) await answer.show({ content });
    await answer.show({ content: 'e', reasoning: 'x' });
    await answer.show({ content: 'f' });
    await answer.flush();
    const { deltas } = await writtenIn(streamId);
    // The first one was on its way when the others came.
    expect(deltas).toStrictEqual([
      ...[{ content: 'a' }, { content: 'bcd' }, { content: 'e', reasoning: 'x' }, { content: 'f' }],
    ]);
  });
});

describe('text of which nothing is said', () => {
  it('and nothing shown: the stream is told that it comes', async () => {
    const { streamId, answer } = await open({ audio: { content: 'none' }, signOfLifeMs: 50 });
    await answer.push('```ts\n');
    await until(async () => {
      await answer.push('const a = 1;\n');
      return (await writtenIn(streamId)).deltas.length >= 2;
    });
    await answer.flush();
    const { deltas, phrases } = await writtenIn(streamId);
    expect(deltas.every((delta) => Object.keys(delta).length === 0)).toBe(true);
    expect(phrases).toEqual([]);
  });

  it.each(['🙂 🎉', '---\n'])('%j is shown: it would be lost', async (text) => {
    const { streamId, answer } = await open();
    await answer.push(text);
    await answer.flush();
    await answer.end('stop', undefined);
    const { deltas, last } = await writtenIn(streamId);
    expect(deltas).toEqual([{ content: text }]);
    expect(last).toMatchObject({ terminal: true, event: { type: 'text-end', phraseCount: 0 } });
  });

  it('is shown once', async () => {
    const { streamId, answer } = await open();
    await answer.push('```ts\nconst a = 1;\n```\n');
    await answer.flush();
    await answer.end('stop', undefined);
    expect((await writtenIn(streamId)).content.match(/const/g)).toHaveLength(1);
  });
});

describe('the end', () => {
  const usage = { promptTokens: 1, completionTokens: 2, totalTokens: 3 };

  it('tells all that the model wrote, and how many phrases there are', async () => {
    const { streamId, answer } = await open();
    const text = SENTENCES.slice(0, 2).join('  ');
    await say(answer, text);
    await answer.flush();
    await answer.end('length', usage);
    const { last } = await writtenIn(streamId);
    expect(last).toMatchObject({
      terminal: false, // its phrases are not spoken yet
      event: { type: 'text-end', finishReason: 'length', usage, phraseCount: 2, answer: text },
    });
    expect(await log.state(streamId)).toMatchObject({ status: 'open', phraseCount: '2' });
  });

  it('of an answer without a word is the stream’s', async () => {
    const { streamId, answer } = await open();
    await answer.show({ tool_calls: [] });
    await answer.flush();
    await answer.end('tool_calls', undefined);
    const { last } = await writtenIn(streamId);
    expect(last?.terminal).toBe(true);
    expect(last?.event).toStrictEqual({
      ...{ type: 'text-end', finishReason: 'tool_calls', phraseCount: 0, answer: '' },
    });
    expect((await log.state(streamId))?.['status']).toBe('done');
  });
});

describe('a model that pauses', () => {
  it('behind a whole sentence: it is spoken, once', async () => {
    const { streamId, answer } = await open();
    await say(answer, SENTENCES[0] ?? '');
    await until(async () => (await writtenIn(streamId)).phrases.length === 1);
    await say(answer, ` ${SENTENCES[1]}`);
    await until(async () => (await writtenIn(streamId)).phrases.length === 2);
    await say(answer, ` ${SENTENCES[2]}`);
    await answer.flush();
    const { phrases } = await writtenIn(streamId);
    expect(phrases.map(({ text }) => text)).toEqual(SENTENCES.slice(0, 3));
    expect(phrases.map(({ before }) => before)).toEqual(['', ' ', ' ']);
  });

  it('within a sentence: it waits for its end', async () => {
    const [half, whole] = [await open(), await open()];
    await half.answer.push('This sentence is not yet');
    await whole.answer.push(SENTENCES[0] ?? '');
    // The other one is spoken because it is idle; this one has been idle for longer.
    await until(async () => (await writtenIn(whole.streamId)).phrases.length === 1);
    expect((await writtenIn(half.streamId)).phrases).toEqual([]);
    await half.answer.push(' at its end.');
    await half.answer.flush();
    const { phrases } = await writtenIn(half.streamId);
    expect(phrases.map(({ text }) => text)).toEqual(['This sentence is not yet at its end.']);
    await whole.answer.flush();
  });
});

describe('a stream that takes no more', () => {
  it('is told at the next push, and at flush', async () => {
    const { streamId, answer } = await open();
    await log.finish(streamId, new VoiceError('stream_cancelled'));
    await answer.push(`${SENTENCES[0]} ${SENTENCES[1]} And`);
    const pushing = until(async () => {
      await answer.push(' more');
      return false;
    });
    await expect(pushing).rejects.toThrow(StreamClosed);
    await expect(answer.flush()).rejects.toThrow(StreamClosed);
    expect(await queued(streamId, 0)).toBeUndefined();
  });

  it('for one entry: none follows it', async () => {
    const { streamId, answer } = await open();
    const refused = async () => /errorstat_OOM:count=\d+/.exec(await redis.info('errorstats'))?.[0];
    const before = await refused();
    await redis.config('SET', 'maxmemory', '1');
    await answer.push(`${SENTENCES[0]} ${SENTENCES[1]} ${SENTENCES[2]} And`);
    await until(async () => (await refused()) !== before, { what: 'an entry is refused' });
    await redis.config('SET', 'maxmemory', '0');
    await expect(answer.flush()).rejects.toMatchObject({ code: 'storage_full' });
    expect((await writtenIn(streamId)).phrases).toEqual([]);
    expect((await log.state(streamId))?.['waiting']).toBeUndefined();
  });

  it('because it was stopped: nothing more is laid into it', async () => {
    const { streamId, answer, stop } = await open();
    await say(answer, `${SENTENCES[0]} And`);
    await until(async () => (await writtenIn(streamId)).phrases.length === 1);
    stop(new VoiceError('stream_cancelled'));
    await expect(answer.flush()).rejects.toMatchObject({ code: 'stream_cancelled' });
    expect((await writtenIn(streamId)).phrases).toHaveLength(1);
    expect((await log.state(streamId))?.['waiting']).toBe('1');
  });

  it('for now: the engine is held back until there is room', async () => {
    const { answer, stop } = await open({ maxLogBytes: 2000 });
    let shown = 0;
    const showing = (async () => {
      for (; shown < 1000; shown += 1) await answer.show({ tool_calls: [{ index: shown }] });
    })().catch((error: unknown) => error);
    await until(() => shown >= 64);
    stop(new VoiceError('stream_cancelled'));
    expect(await showing).toMatchObject({ code: 'stream_cancelled' });
    expect(shown).toBeLessThan(200);
  });
});
