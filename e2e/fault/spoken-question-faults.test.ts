import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  DEFAULT_TRANSCRIPT,
  type Script,
  type ScriptedTranscript,
} from '@antiphon/testing/openai-server/script';
import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { hum, recordingOf } from '../src/recording.ts';
import { readSpokenStream } from '../src/spoken-stream.ts';
import { type AppProcess, type Stack, startStack } from '../src/stack.ts';

/** Spoken questions over a scripted model, voice and ears, so that it is known who hears what when. */
let model: OpenAIServer;
/** One for each stt-worker. */
let ears: OpenAIServer[];
let stack: Stack;
let earWorkers: AppProcess[];
let openai: OpenAI;
let redis: Redis;

const LISTENING = '/audio/transcriptions';
const SPOKEN = {
  modalities: ['text', 'audio'] as ('text' | 'audio')[],
  audio: { voice: 'alloy', format: 'wav' } as OpenAI.ChatCompletionAudioParam,
};

beforeAll(async () => {
  model = await startOpenAIServer({ tokens: ['Yes,', ' I', ' do.'] });
  ears = await Promise.all([startOpenAIServer(), startOpenAIServer()]);
  stack = await startStack({
    apps: ['gateway', 'llm-worker', 'tts-worker'],
    environment: {
      ...{ AI_SERVICE: 'openai', TTS_SERVICE: 'openai', STT_SERVICE: 'openai' },
      OPENAI_BASE_URL: model.baseUrl,
      LLM_OPENAI_MODELS: 'scripted',
      TTS_OPENAI_MODELS: 'scripted-voice',
      TTS_OPENAI_VOICES: 'alloy',
      STT_OPENAI_MODELS: 'scripted-ear',
    },
    models: ['scripted', 'scripted-voice'],
  });
  earWorkers = ears.map(({ baseUrl }) =>
    stack.start('stt-worker', { OPENAI_BASE_URL: baseUrl, CONCURRENCY: '1' }),
  );
  for (const worker of earWorkers)
    await until(() => worker.output().includes('"ready"'), { timeoutMs: 10_000 });
  await stack.untilModel('scripted-ear');
  openai = new OpenAI({ baseURL: stack.baseUrl, apiKey: 'unused', maxRetries: 0 });
  redis = new Redis(stack.redis.url);
}, 60_000);
afterEach(async () => {
  await until(async () => (await leftovers()).length === 0, { what: 'no job, no recording' });
  for (const server of [model, ...ears]) {
    await until(() => server.activeRequests() === 0, { what: 'no engine call' });
    server.resetScripts();
  }
});
afterAll(async () => {
  redis?.disconnect();
  await stack?.close();
  for (const server of [model, ...(ears ?? [])]) await server?.close();
});

/** Jobs in any queue, and recordings in the blob store. */
async function leftovers(): Promise<string[]> {
  const keys = await redis.keys('bull:*');
  const jobs = keys.filter((key) => /:s[0-9a-f]{32}(?:-t?\d+)?$/.test(key));
  return [...jobs, ...(await readdir(join(stack.dataDirectory, 'blobs')))];
}

let level = 0;
/** A recording that nobody has heard yet. */
function newRecording() {
  level += 1;
  return recordingOf(hum(0.5, level));
}

const script = (change: Script) => {
  for (const ear of ears) ear.script(change);
};
const transcriptOf = (text: string): ScriptedTranscript => ({
  ...DEFAULT_TRANSCRIPT,
  ...{ text, words: [], segments: [{ text, start: 0, end: 2 }] },
});
/** Times at which the ears were asked. */
const heardCount = () => ears.reduce((sum, ear) => sum + ear.requestsTo(LISTENING).length, 0);
const listeningCount = () => ears.reduce((sum, ear) => sum + ear.activeRequests(), 0);
/** What the model was told last, and how often it was asked at all. */
const modelCalls = () => model.requestsTo('/chat/completions');
const told = () => (modelCalls().at(-1)?.body as { messages: object[] } | undefined)?.messages;

const question = (...content: object[]) => ({ messages: [{ role: 'user', content }] });
const ask = (body: object) =>
  readSpokenStream(stack.baseUrl, { body: { model: 'scripted', ...body } });
const answered = { done: true, errors: [], broken: false, finishReasons: ['stop'] };

async function openStream(): Promise<{ id: string; stage: string }> {
  return until(async () => {
    const { data } = (await (await fetch(`${stack.baseUrl}/streams`)).json()) as {
      data: { id: string; stage: string }[];
    };
    return data[0];
  });
}

describe('two recordings of one message', () => {
  it('are heard at the same time, and read in their order however long each takes', async () => {
    const [slow, fast] = [newRecording(), newRecording()];
    const bytesOf = ({ input_audio: { data } }: typeof slow) => Buffer.from(data, 'base64');
    const isOf = (recording: typeof slow): Script => ({
      when: ({ files }) => files['file']?.[0]?.bytes.equals(bytesOf(recording)) === true,
    });
    script({ ...isOf(slow), transcript: transcriptOf('the first'), headerDelayMs: 600 });
    script({ ...isOf(fast), transcript: transcriptOf('the second'), headerDelayMs: 300 });
    const text = { type: 'text', text: 'and' };
    const answer = ask(question(slow, text, fast));
    await until(() => listeningCount() === 2, { what: 'both are heard at the same time' });
    expect(await answer).toMatchObject({ ...answered, transcript: 'Yes, I do.' });
    expect(told()).toStrictEqual([{ role: 'user', content: 'the first\nand\nthe second' }]);
  });

  it('that are the same one are heard once', async () => {
    const before = heardCount();
    const recording = newRecording();
    script({ transcript: transcriptOf('again') });
    expect(await ask(question(recording, recording))).toMatchObject(answered);
    expect(heardCount()).toBe(before + 1);
    expect(told()).toStrictEqual([{ role: 'user', content: 'again\nagain' }]);
  });
});

describe('the next turn', () => {
  it('tells the model what was heard and said before, and hears nothing again', async () => {
    const recording = newRecording();
    script({ transcript: transcriptOf('Do you hear me?') });
    const first = await ask(question(recording));
    const before = heardCount();
    const next = await ask({
      messages: [
        ...question(recording).messages,
        { role: 'assistant', audio: { id: first.audioIds[0] } },
        { role: 'user', content: 'Good.' },
      ],
    });
    expect(next).toMatchObject(answered);
    expect(heardCount()).toBe(before);
    expect(told()).toStrictEqual([
      { role: 'user', content: 'Do you hear me?' },
      { role: 'assistant', content: 'Yes, I do.' },
      { role: 'user', content: 'Good.' },
    ]);
  });

  it.each([false, true])('of tools that the SDK runs; stream: %s', async (stream) => {
    const toolCalls = [{ id: 'call_1', name: 'look_up', arguments: '{"city":"Bremen"}' }];
    model.script({ path: '/chat/completions', tokens: ['It rains.'] });
    model.script({ path: '/chat/completions', tokens: ['One moment.'], toolCalls, times: 1 });
    script({ transcript: transcriptOf('How is the weather?') });
    const before = heardCount();
    const asked: object[] = [];
    const tools = [
      {
        type: 'function' as const,
        function: {
          ...{ name: 'look_up', description: 'The weather of a city', parameters: {} },
          parse: (text: string) => JSON.parse(text) as object,
          function: (argument: object) => {
            asked.push(argument);
            return 'rain';
          },
        },
      },
    ];
    const messages = question(newRecording()).messages as OpenAI.ChatCompletionMessageParam[];
    const body = { model: 'scripted', ...SPOKEN, messages, tools };
    const { completions } = openai.chat;
    const runner = stream
      ? completions.runTools({ ...body, stream, audio: { ...SPOKEN.audio, format: 'pcm16' } })
      : completions.runTools(body);
    const { choices } = await runner.finalChatCompletion();
    expect(choices[0]?.message.audio?.transcript).toBe('It rains.');
    expect(asked).toStrictEqual([{ city: 'Bremen' }]);
    expect(heardCount()).toBe(before + 1);
    expect(told()).toMatchObject([
      { role: 'user', content: 'How is the weather?' },
      { role: 'assistant', content: 'One moment.', tool_calls: [{ id: 'call_1' }] },
      { role: 'tool', content: 'rain', tool_call_id: 'call_1' },
    ]);
    expect(told()?.[1]).not.toHaveProperty('audio');
  });
});

describe('while a recording is heard', () => {
  const holdEars = async (body: object = {}, signal?: AbortSignal) => {
    script({ fault: { type: 'no-headers' } });
    const calls = modelCalls().length;
    const options = { body: { model: 'scripted', ...question(newRecording()), ...body } };
    const answer = readSpokenStream(stack.baseUrl, { ...options, ...(signal ? { signal } : {}) });
    await until(() => listeningCount() === 1, { what: 'one that hears' });
    const { id, stage } = await openStream();
    expect(stage).toBe('transcribing');
    return { answer, streamId: id, expectNoAnswer: () => expect(modelCalls().length).toBe(calls) };
  };
  const statusOf = (streamId: string) => redis.hget(`antiphon:{${streamId}}:state`, 'status');

  it('the client leaves: nobody goes on', async () => {
    const client = new AbortController();
    const { answer, streamId, expectNoAnswer } = await holdEars({}, client.signal);
    client.abort();
    expect(await answer).toMatchObject({ broken: true });
    await until(async () => (await statusOf(streamId)) === 'cancelled');
    await until(() => listeningCount() === 0, { what: 'the engine call ended' });
    await until(async () => (await leftovers()).length === 0);
    expectNoAnswer();
  });

  it.each([false, true])('a stop ends it; stream: %s', async (stream) => {
    const whole = { stream, audio: { voice: 'alloy', format: stream ? 'pcm16' : 'wav' } };
    const { answer, streamId, expectNoAnswer } = await holdEars(whole);
    const stopped = await fetch(`${stack.baseUrl}/streams/${streamId}/cancel`, { method: 'POST' });
    expect(await stopped.json()).toMatchObject({ status: 'cancelled', stage: 'ended' });
    const { status, errors, done } = await answer;
    expect(status).toBe(499);
    expect(errors).toMatchObject([{ code: 'stream_cancelled' }]);
    expect(done).toBe(false);
    await until(() => listeningCount() === 0, { what: 'the engine call ended' });
    expectNoAnswer();
  });

  it('one ear fails: one error, and the other call ends', async () => {
    script({ fault: { type: 'no-headers' } });
    ears[0]?.script({ fault: { type: 'status', status: 400, body: { error: { message: 'no' } } } });
    const calls = modelCalls().length;
    const { status, errors } = await ask(question(newRecording(), newRecording()));
    expect(status).toBe(400);
    expect(errors).toMatchObject([{ code: 'upstream_rejected' }]);
    await until(() => listeningCount() === 0, { what: 'no engine call' });
    expect(modelCalls().length).toBe(calls);
  });

  it('its worker is killed: another one hears it, and the client sees nothing of it', async () => {
    const { answer, streamId } = await holdEars();
    const victim = ears.findIndex((ear) => ear.activeRequests() > 0);
    for (const ear of ears) ear.resetScripts();
    script({ transcript: transcriptOf('Do you still hear me?') });
    await earWorkers[victim]?.stop('SIGKILL');
    expect(await answer).toMatchObject({ ...answered, transcript: 'Yes, I do.' });
    expect(told()).toStrictEqual([{ role: 'user', content: 'Do you still hear me?' }]);
    expect(ears[1 - victim]?.requestsTo(LISTENING).length).toBeGreaterThan(0);
    const entries = await redis.xrange(`antiphon:{${streamId}}:log`, '-', '+');
    expect(entries.map(([id]) => id)).toEqual(entries.map((_, index) => `${index + 1}-0`));
    const ends = entries.flatMap(([id, [, flag]]) => (flag === '!' ? [id] : []));
    expect(ends).toEqual([entries.at(-1)?.[0]]);
    expect(entries.filter(([, fields]) => fields[3]?.includes('"partIndex":0'))).toHaveLength(1);
    expect(await statusOf(streamId)).toBe('done');
  }, 60_000);
});
