import { createReadStream } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeToPcm } from '@antiphon/testing/decode-audio';
import { until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import OpenAI, { toFile } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Stack, startStack } from './stack.ts';

/** The official SDK with only `baseURL` changed, against the embedded engines. */
let stack: Stack;
let openai: OpenAI;
let directory: string;

const SENTENCE = 'The quick brown fox jumps over the lazy dog.';
const KEY_WORDS = ['quick', 'brown', 'fox', 'lazy', 'dog'];
const FORMATS = {
  mp3: 'audio/mpeg',
  opus: 'audio/ogg',
  aac: 'audio/aac',
  flac: 'audio/flac',
  wav: 'audio/wav',
  pcm: 'audio/pcm',
} as const;
const SAMPLE_RATE_HZ = 24_000;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'antiphon-sdk-'));
  stack = await startStack({
    apps: ['gateway', 'llm-worker', 'tts-worker', 'stt-worker'],
    environment: { LLM_DEMO_TOKENS_PER_SECOND: '0' },
    models: ['demo', 'tts-1', 'whisper-1'],
  });
  openai = new OpenAI({ baseURL: stack.baseUrl, apiKey: 'unused', maxRetries: 0 });
}, 60_000);
afterAll(async () => {
  await stack?.close();
  await rm(directory, { recursive: true, force: true });
});

const speak = (options: Partial<OpenAI.Audio.SpeechCreateParams> = {}) =>
  openai.audio.speech.create({ model: 'tts-1', voice: 'alloy', input: SENTENCE, ...options });

describe('chat', () => {
  const messages = [{ role: 'user' as const, content: 'What is 12 times 7?' }];

  it('answers whole', async () => {
    const completion = await openai.chat.completions.create({ model: 'gpt-4o-mini', messages });
    expect(completion.choices[0]?.message.content).toMatch(/84/);
    expect(completion.choices[0]?.finish_reason).toBe('stop');
    expect(completion.usage?.total_tokens).toBeGreaterThan(0);
    expect(completion.object).toBe('chat.completion');
  });

  it('answers as a stream, with usage when asked', async () => {
    const stream = await openai.chat.completions.create({
      model: 'gpt-4o-mini',
      messages,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    const finishReasons: string[] = [];
    let usage: OpenAI.CompletionUsage | null | undefined;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      const finishReason = chunk.choices[0]?.finish_reason;
      if (finishReason) finishReasons.push(finishReason);
      usage = chunk.usage ?? usage;
    }
    expect(text).toMatch(/84/);
    expect(finishReasons).toEqual(['stop']);
    expect(usage?.total_tokens).toBeGreaterThan(0);
  });

  it("is understood by the SDK's stream helper", async () => {
    const runner = openai.chat.completions.stream({ model: 'demo', messages });
    expect(await runner.finalContent()).toMatch(/84/);
    expect((await runner.finalMessage()).role).toBe('assistant');
  });

  it('uses the default when no model is named, and refuses an unknown one', async () => {
    const body = { messages } as OpenAI.ChatCompletionCreateParamsNonStreaming;
    expect((await openai.chat.completions.create(body)).model).toBe('demo');
    await expect(
      openai.chat.completions.create({ model: 'gpt-nope', messages }),
    ).rejects.toMatchObject({ status: 404, code: 'model_not_found', param: 'model' });
  });
});

describe('speech', () => {
  it('has the same length in all six formats, and the right content type', async () => {
    const seconds: Record<string, number> = {};
    for (const [format, contentType] of Object.entries(FORMATS)) {
      const response = await speak({ response_format: format as keyof typeof FORMATS });
      expect(response.headers.get('content-type')).toBe(contentType);
      const bytes = Buffer.from(await response.arrayBuffer());
      const samples =
        format === 'pcm'
          ? bytes.length / 2
          : (await decodeToPcm(bytes, { sampleRateHz: SAMPLE_RATE_HZ })).length;
      seconds[format] = samples / SAMPLE_RATE_HZ;
    }
    expect(seconds['pcm']).toBeGreaterThan(1.5);
    for (const length of Object.values(seconds)) {
      expect(Math.abs(length - (seconds['pcm'] ?? 0))).toBeLessThan(0.1);
    }
  }, 60_000);

  it('is mp3 when no format is asked for', async () => {
    const response = await speak();
    expect(response.headers.get('content-type')).toBe('audio/mpeg');
    expect(response.headers.get('x-stream-id')).toMatch(/^s[0-9a-f]{32}$/);
  });

  it('is faster at speed 2', async () => {
    const length = async (speed: number) =>
      (await (await speak({ response_format: 'pcm', speed })).arrayBuffer()).byteLength;
    const ratio = (await length(1)) / (await length(2));
    expect(ratio).toBeGreaterThan(1.6);
    expect(ratio).toBeLessThan(2.4);
  });

  it('sends its first bytes before the last phrase is synthesized', async () => {
    const input = Array.from({ length: 60 }, (_, index) => `${SENTENCE} Number ${index}.`).join(
      ' ',
    );
    const response = await speak({ input, response_format: 'pcm' });
    const reader = response.body?.getReader();
    const first = await reader?.read();
    expect(first?.value?.length).toBeGreaterThan(0);
    const synthesized = await synthesizedSeconds(response.headers.get('x-stream-id') ?? '');
    expect(synthesized).toBeLessThan(60);
    await reader?.cancel();
  }, 30_000);

  it('sends base64 fragments as events, which join to the same audio', async () => {
    const plain = Buffer.from(await (await speak({ response_format: 'pcm' })).arrayBuffer());
    const response = await speak({ response_format: 'pcm', stream_format: 'sse' });
    const frames = (await response.text()).trim().split('\n\n');
    const events = frames.map((frame) => JSON.parse(frame.replace(/^data: /, '')));
    expect(events.at(-1)).toMatchObject({ type: 'speech.audio.done' });
    const deltas = events.slice(0, -1);
    for (const { audio } of deltas.slice(0, -1)) expect(audio).not.toMatch(/=/);
    const joined = Buffer.from(deltas.map(({ audio }) => audio).join(''), 'base64');
    expect(joined.equals(plain)).toBe(true);
  });

  it('says which voices it knows', async () => {
    await expect(speak({ voice: 'nobody' })).rejects.toMatchObject({
      status: 400,
      param: 'voice',
      message: expect.stringContaining("'alloy'"),
    });
  });
});

/** Audio a stream has had made so far, from its state in Redis. */
async function synthesizedSeconds(streamId: string): Promise<number> {
  const redis = new Redis(stack.redis.url);
  const produced = await redis.hget(`antiphon:{${streamId}}:state`, 'produced');
  redis.disconnect();
  return Number(produced) / SAMPLE_RATE_HZ;
}

describe('transcription of that very speech', () => {
  let spoken: Buffer;
  beforeAll(async () => {
    spoken = Buffer.from(await (await speak({ response_format: 'wav' })).arrayBuffer());
  });
  const hear = (
    file: OpenAI.Audio.TranscriptionCreateParams['file'],
    options: Partial<OpenAI.Audio.TranscriptionCreateParamsNonStreaming> = {},
  ) => openai.audio.transcriptions.create({ model: 'whisper-1', file, ...options, stream: false });
  const expectKeyWords = (text: string) => {
    for (const word of KEY_WORDS) expect(text.toLowerCase()).toContain(word);
  };

  it('hears it from a Buffer', async () => {
    expectKeyWords((await hear(await toFile(spoken, 'speech.wav'))).text);
  });

  it('hears it from a read stream, which has no length', async () => {
    const path = join(directory, 'speech.wav');
    await writeFile(path, spoken);
    expectKeyWords((await hear(createReadStream(path))).text);
  });

  it('hears it from a File', async () => {
    expectKeyWords((await hear(new File([new Uint8Array(spoken)], 'speech.wav'))).text);
  });

  it('hears every format that it speaks', async () => {
    for (const format of ['mp3', 'opus', 'aac', 'flac'] as const) {
      const audio = Buffer.from(await (await speak({ response_format: format })).arrayBuffer());
      expectKeyWords((await hear(await toFile(audio, `speech.${format}`))).text);
    }
  }, 60_000);

  it('gives segments and words with their times', async () => {
    const transcript = await openai.audio.transcriptions.create({
      model: 'whisper-1',
      file: await toFile(spoken, 'speech.wav'),
      response_format: 'verbose_json',
      timestamp_granularities: ['word', 'segment'],
    });
    expectKeyWords(transcript.text);
    expect(transcript.language).toBe('english');
    expect(transcript.duration).toBeGreaterThan(1.5);
    const words = transcript.words ?? [];
    expect(words.map(({ word }) => word.toLowerCase())).toContain('fox');
    for (const [index, { start, end }] of words.entries()) {
      expect(end).toBeGreaterThanOrEqual(start);
      expect(start).toBeGreaterThanOrEqual(words[index - 1]?.start ?? 0);
      expect(end).toBeLessThanOrEqual(transcript.duration + 0.1);
    }
    expect(transcript.segments?.[0]?.text.toLowerCase()).toContain('fox');
  });

  it('gives srt, vtt and text as strings', async () => {
    const file = () => toFile(spoken, 'speech.wav');
    const as = async (format: 'srt' | 'vtt' | 'text') =>
      (await hear(await file(), { response_format: format })) as unknown as string;
    expect(await as('srt')).toMatch(/^1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\n.*fox/i);
    expect(await as('vtt')).toMatch(/^WEBVTT\n\n00:00:0\d\.\d{3} --> /);
    expect(await as('text')).toMatch(/fox.*\n$/i);
  });

  it('streams events that end by one done', async () => {
    const stream = await openai.audio.transcriptions.create({
      model: 'whisper-1',
      file: await toFile(spoken, 'speech.wav'),
      stream: true,
    });
    let deltas = '';
    const done: string[] = [];
    for await (const event of stream) {
      if (event.type === 'transcript.text.delta') deltas += event.delta;
      if (event.type === 'transcript.text.done') done.push(event.text);
    }
    expect(done).toEqual([deltas]);
    expectKeyWords(deltas);
  });

  it('translates English into English', async () => {
    const translation = await openai.audio.translations.create({
      model: 'whisper-1',
      file: await toFile(spoken, 'speech.wav'),
    });
    expectKeyWords(translation.text);
  });

  it('says that it knows only English', async () => {
    await expect(hear(await toFile(spoken, 'a.wav'), { language: 'de' })).rejects.toMatchObject({
      status: 400,
      param: 'language',
    });
  });

  it('leaves no upload behind', async () => {
    const uploads = () => readdir(join(stack.dataDirectory, 'blobs'));
    await until(async () => (await uploads()).length === 0);
    expect(await uploads()).toEqual([]);
  });
});

describe('lists', () => {
  it('lists models and finds one by its name', async () => {
    const ids = (await openai.models.list()).data.map(({ id }) => id);
    expect(ids).toEqual(expect.arrayContaining(['demo', 'flite', 'tts-1', 'whisper-1']));
    expect(await openai.models.retrieve('tts-1')).toMatchObject({ object: 'model' });
  });
});
