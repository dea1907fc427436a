import { connect, type Socket } from 'node:net';
import { decodeToPcm } from '@antiphon/testing/decode-audio';
import { SPOKEN_SENTENCES } from '@antiphon/testing/spoken-sentences';
import { PATIENCE, until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import OpenAI, { toFile } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readSpokenStream, soundOf, spokenChat } from './spoken-stream.ts';
import { type Stack, residentBytes, startStack } from './stack.ts';

/** The embedded engines: what is heard is what was said. */
let stack: Stack;
let openai: OpenAI;
let redis: Redis;

const SAMPLE_RATE_HZ = 24_000;
const BYTES_PER_SECOND = SAMPLE_RATE_HZ * 2;
/**
 * One behind the other, code between them: tried in all formats. Behind another sentence other pairs
 * lose words that are heard where they stand alone.
 */
const [FIRST, SECOND] = [SPOKEN_SENTENCES[0], SPOKEN_SENTENCES[9]];
const CODE = '```\nyellow = submarine(elephant)\n```';
const WITH_CODE = `${FIRST.sentence}\n\n${CODE}\n\n${SECOND.sentence}`;
beforeAll(async () => {
  stack = await startStack({
    apps: ['gateway', 'llm-worker', 'tts-worker', 'tts-worker', 'stt-worker'],
    environment: { LLM_DEMO_TOKENS_PER_SECOND: '0', 'tts-worker:CONCURRENCY': '1' },
    models: ['demo', 'tts-1', 'whisper-1'],
  });
  redis = new Redis(stack.redis.url);
  openai = new OpenAI({ baseURL: stack.baseUrl, apiKey: 'unused', maxRetries: 0 });
}, 60_000);
afterAll(async () => {
  redis?.disconnect();
  await stack?.close();
});

const say = (text: string) => [{ role: 'user' as const, content: `say: ${text}` }];
const SPOKEN = {
  ...{ model: 'demo', modalities: ['text', 'audio'] as ('text' | 'audio')[] },
  messages: say(WITH_CODE),
};

async function expectHeard(wav: Buffer): Promise<void> {
  const { text } = await openai.audio.transcriptions.create({
    ...{ model: 'whisper-1', file: await toFile(wav, 'answer.wav') },
  });
  const words = text.toLowerCase().split(/\W+/);
  const keyWords = [...FIRST.keyWords, ...SECOND.keyWords];
  const missing = keyWords.filter((word) => !words.includes(word));
  expect({ text, missing }).toEqual({ text, missing: [] });
  const places = keyWords.map((word) => words.indexOf(word));
  expect(places).toEqual(places.toSorted((one, other) => one - other));
  for (const word of ['yellow', 'submarine', 'elephant']) expect(words).not.toContain(word);
}
function asWav(pcm: Buffer): Buffer {
  const header = Buffer.alloc(44);
  header.write('RIFF', 0);
  header.writeUInt32LE(36 + pcm.length, 4);
  header.write('WAVEfmt ', 8);
  for (const [at, value] of [16, 0x1_0001, SAMPLE_RATE_HZ, BYTES_PER_SECOND, 0x10_0002].entries())
    header.writeUInt32LE(value, 16 + at * 4);
  header.write('data', 36);
  header.writeUInt32LE(pcm.length, 40);
  return Buffer.concat([header, pcm]);
}

/** What a client finds in an answer with sound. */
function answerIn({ choices }: OpenAI.ChatCompletion) {
  const message = choices[0]?.message;
  if (!message?.audio) throw new Error('an answer without sound');
  const { audio } = message;
  return { message, audio, sound: Buffer.from(audio.data, 'base64') };
}

describe('a streamed answer with code', () => {
  it('iterated: its phrases are heard in order, its code is shown and not said', async () => {
    const stream = await openai.chat.completions.create({
      ...{ ...SPOKEN, audio: { voice: 'alloy', format: 'pcm16' }, stream: true },
    });
    let [transcript, content] = ['', ''];
    const fragments: string[] = [];
    const finishReasons: string[] = [];
    for await (const { choices } of stream) {
      const { delta, finish_reason: reason } = choices[0] ?? { delta: {} };
      content += delta.content ?? '';
      transcript += delta.audio?.transcript ?? '';
      if (delta.audio?.data !== undefined) fragments.push(delta.audio.data);
      if (reason) finishReasons.push(reason);
    }
    expect(finishReasons).toEqual(['stop']);
    expect(content.trim()).toBe(CODE);
    expect(transcript.replaceAll(/\s+/g, ' ')).toBe(`${FIRST.sentence} ${SECOND.sentence}`);
    for (const fragment of fragments.slice(0, -1)) expect(fragment.length % 8).toBe(0);
    await expectHeard(asWav(Buffer.from(fragments.join(''), 'base64')));
  }, 60_000);

  it('by the stream helper: one message with words, sound, id and expiry', async () => {
    const runner = openai.chat.completions.stream({
      ...{ ...SPOKEN, audio: { voice: 'alloy', format: 'pcm16' } },
    });
    const completion = await runner.finalChatCompletion();
    const { message, audio } = answerIn(completion);
    expect(completion.choices[0]?.finish_reason).toBe('stop');
    expect(message.content?.trim()).toBe(CODE);
    expect(audio.id).toMatch(/^audio_s[0-9a-f]{32}$/);
    expect(audio.transcript).toContain(FIRST.sentence);
    const aheadSeconds = audio.expires_at - Date.now() / 1000;
    expect(Math.abs(aheadSeconds - 3600)).toBeLessThan(60);
    const whole = await openai.chat.completions.create({
      ...{ ...SPOKEN, audio: { voice: 'alloy', format: 'pcm16' } },
    });
    expect(answerIn(whole).sound.equals(Buffer.from(audio.data, 'base64'))).toBe(true);
  }, 60_000);
});

describe('an answer as a file', () => {
  it.each(['wav', 'mp3', 'flac', 'opus', 'aac'] as const)(
    'as %s is as long as in samples, and heard',
    async (format) => {
      const ask = async (audio: OpenAI.ChatCompletionAudioParam) => {
        const completion = await openai.chat.completions.create({ ...SPOKEN, audio });
        const { message, sound } = answerIn(completion);
        expect(message.content?.trim()).toBe(CODE);
        expect(completion.usage?.completion_tokens_details?.audio_tokens).toBeGreaterThan(0);
        return sound;
      };
      const pcm = await ask({ voice: 'alloy', format: 'pcm16' });
      const file = await ask({ voice: 'alloy', format });
      const samples = await decodeToPcm(file, { sampleRateHz: SAMPLE_RATE_HZ });
      const seconds = pcm.length / BYTES_PER_SECOND;
      expect(seconds).toBeGreaterThan(4);
      expect(Math.abs(samples.length / SAMPLE_RATE_HZ - seconds)).toBeLessThan(0.1);
      await expectHeard(asWav(Buffer.from(samples.buffer)));
    },
    60_000,
  );

  it.each(['mp3', 'opus'] as const)('streamed as %s is one file as well', async (format) => {
    const prompt = `say: ${WITH_CODE}`;
    const [pcm, file] = [
      await readSpokenStream(stack.baseUrl, { prompt }),
      await readSpokenStream(stack.baseUrl, {
        ...{ prompt, body: { audio: { voice: 'alloy', format } } },
      }),
    ];
    expect(file).toMatchObject({ done: true, errors: [], finishReasons: ['stop'] });
    const samples = await decodeToPcm(soundOf(file), { sampleRateHz: SAMPLE_RATE_HZ });
    const seconds = soundOf(pcm).length / BYTES_PER_SECOND;
    expect(Math.abs(samples.length / SAMPLE_RATE_HZ - seconds)).toBeLessThan(0.1);
    await expectHeard(asWav(Buffer.from(samples.buffer)));
  });

  it('is what /v1/audio/speech makes of the same words', async () => {
    const input = SPOKEN_SENTENCES.slice(0, 3)
      .map(({ sentence }) => sentence)
      .join(' ');
    const speak = async () => {
      const response = await openai.audio.speech.create({
        ...{ model: 'tts-1', voice: 'alloy', input, response_format: 'pcm' },
      });
      return Buffer.from(await response.arrayBuffer());
    };
    const [speech, again] = [await speak(), await speak()];
    expect(again.equals(speech)).toBe(true);
    const chat = await openai.chat.completions.create({
      ...{ model: 'demo', modalities: ['text', 'audio'], messages: say(input) },
      audio: { voice: 'alloy', format: 'pcm16' },
    });
    expect(answerIn(chat).sound.equals(speech)).toBe(true);
  }, 30_000);
});

describe('a listener who takes nothing', () => {
  let socket: Socket;
  afterAll(() => socket?.destroy());

  /** Asks for an answer of several minutes and reads none of it. */
  function askAndNotRead(): void {
    const text = Array.from({ length: 240 }, (_, index) => `${index} ${FIRST.sentence}`).join(' ');
    const body = JSON.stringify(spokenChat(`say: ${text}`));
    socket = connect(Number(new URL(stack.rootUrl).port), '127.0.0.1');
    socket.pause();
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
  }
  const openState = async () => {
    for (const key of await redis.keys('antiphon:{*}:state')) {
      const state = await redis.hgetall(key);
      if (state['status'] === 'open') return { key, ...state } as Record<string, string>;
    }
    return undefined;
  };

  it('holds synthesis up 5 s ahead of him, and costs no memory', async () => {
    const gatewayPid = stack.processes.find(({ name }) => name === 'gateway')?.pid ?? 0;
    const before = await residentBytes(gatewayPid);
    askAndNotRead();
    let [produced, steady] = ['', 0];
    const state = await until(
      async () => {
        const now = await openState();
        steady =
          now && Number(now['produced']) > 0 && now['produced'] === produced ? steady + 1 : 0;
        produced = now?.['produced'] ?? '';
        return steady >= 15 ? now : undefined;
      },
      { timeoutMs: 20_000, intervalMs: 100, what: 'synthesis to stand still' },
    );
    const seconds = (field: string) => Number(state[field]) / SAMPLE_RATE_HZ;
    const { ended = '0', waiting = '0', parallelPhrases = '0' } = state;
    expect(Number(ended)).toBeLessThan(Number(waiting) * 0.9);
    const phraseSeconds = seconds('produced') / Number(ended);
    const inFlightSeconds = Number(parallelPhrases) * phraseSeconds * 1.5;
    expect(seconds('produced') - seconds('sent')).toBeLessThan(5 + inFlightSeconds);
    expect((await residentBytes(gatewayPid)) - before).toBeLessThan(60 * 1024 * 1024);

    socket.resume();
    await until(async () => Number((await openState())?.['produced'] ?? 0) > Number(produced));
    socket.destroy();
    const leftAtMs = performance.now();
    await until(async () => (await redis.hget(state['key'] ?? '', 'status')) === 'cancelled', {
      ...{ timeoutMs: 1000, intervalMs: 5 },
    });
    expect(performance.now() - leftAtMs).toBeLessThan(1000 * PATIENCE);
  }, 90_000);
});
