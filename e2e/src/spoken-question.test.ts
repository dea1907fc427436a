import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '@antiphon/testing/redis';
import { SPOKEN_SENTENCES } from '@antiphon/testing/spoken-sentences';
import { until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import OpenAI, { toFile } from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { hum, recordingOf } from './recording.ts';
import { type Stack, startStack } from './stack.ts';

/** A question that is asked aloud and answered aloud, through the embedded engines and the SDK. */
let stack: Stack;
let openai: OpenAI;
let other: OpenAI;
/** Another gateway on the same workers, which keeps spoken answers shortly and takes short recordings only. */
let strict: OpenAI;
let redis: Redis;
/** "What is six times seven?" */
let question: Recording;

type Message = OpenAI.ChatCompletionMessageParam;
type Recording = OpenAI.ChatCompletionContentPartInputAudio;

const KEY = 'key-of-tenant-a-0123456789';
const OTHER_KEY = 'key-of-tenant-b-0123456789';
const AUDIO_ID_TTL_MS = 300;
const WAV_HEADER_BYTES = 44;
const UNHEARD_SECONDS = 0.05;
const SPOKEN = {
  modalities: ['text', 'audio'] as ('text' | 'audio')[],
  audio: { voice: 'ash', format: 'wav' } as OpenAI.ChatCompletionAudioParam,
};

beforeAll(async () => {
  stack = await startStack({
    apps: ['gateway', 'llm-worker', 'tts-worker', 'stt-worker'],
    environment: {
      'gateway:API_KEYS': `${KEY},${OTHER_KEY}`,
      LLM_DEMO_TOKENS_PER_SECOND: '0',
    },
    models: ['demo', 'tts-1', 'whisper-1'],
    apiKey: KEY,
  });
  const client = (baseURL: string, apiKey = KEY) => new OpenAI({ baseURL, apiKey, maxRetries: 0 });
  openai = client(stack.baseUrl);
  other = client(stack.baseUrl, OTHER_KEY);
  const port = await freePort();
  stack.start('gateway', {
    PORT: String(port),
    AUDIO_ID_TTL_MS: String(AUDIO_ID_TTL_MS),
    MAX_AUDIO_SECONDS: '1',
  });
  strict = client(`http://127.0.0.1:${port}/v1`);
  await until(() => strict.models.list().catch(() => undefined), { timeoutMs: 10_000 });
  redis = new Redis(stack.redis.url);
  question = await record('What is six times seven?');
}, 60_000);
afterEach(async () => {
  await until(async () => (await leftovers()).length === 0, { what: 'no job, no recording' });
});
afterAll(async () => {
  redis?.disconnect();
  await stack?.close();
});

/** Jobs in any queue, and recordings in the blob store. */
async function leftovers(): Promise<string[]> {
  const keys = await redis.keys('bull:*');
  const jobs = keys.filter((key) => /:s[0-9a-f]{32}(?:-t?\d+)?$/.test(key));
  return [...jobs, ...(await readdir(join(stack.dataDirectory, 'blobs')))];
}

async function record(input: string, format: 'wav' | 'mp3' = 'wav'): Promise<Recording> {
  const speech = { model: 'tts-1', voice: 'alloy', input, response_format: format };
  const response = await openai.audio.speech.create(speech);
  return recordingOf(new Uint8Array(await response.arrayBuffer()), format);
}

const ask = (...content: OpenAI.ChatCompletionContentPart[]): Message[] => [
  { role: 'user', content },
];

/** A whole answer, spoken. */
async function answerOf(messages: Message[], client = openai) {
  const completion = await client.chat.completions.create({ model: 'demo', ...SPOKEN, messages });
  const [choice] = completion.choices;
  expect(choice).toMatchObject({ finish_reason: 'stop', message: { content: null } });
  const audio = choice?.message.audio;
  if (!audio) throw new Error('an answer without sound');
  return { completion, audio, sound: Buffer.from(audio.data, 'base64') };
}

async function heardIn(sound: Uint8Array): Promise<string> {
  const file = await toFile(sound, 'answer.wav');
  const { text } = await openai.audio.transcriptions.create({ model: 'whisper-1', file });
  return text.toLowerCase();
}

const heardTokens = ({ usage }: OpenAI.ChatCompletion) =>
  usage?.prompt_tokens_details?.audio_tokens ?? 0;

/** The length of the first stage of a stream; undefined where nothing was transcribed. */
async function transcriptMs({ id }: { id: string }): Promise<number | undefined> {
  const path = `${stack.baseUrl}/streams/${id.replace('chatcmpl-', '')}`;
  const headers = { authorization: `Bearer ${KEY}` };
  const { timings } = (await (await fetch(path, { headers })).json()) as {
    timings: { transcriptMs?: number; firstAudioMs?: number };
  };
  expect(timings.firstAudioMs).toBeGreaterThan(0);
  return timings.transcriptMs;
}

describe('a question that is asked aloud', () => {
  it('is answered aloud: one that listens to the answer hears its words', async () => {
    const { completion, audio, sound } = await answerOf(ask(question));
    expect(audio.transcript).toBe('6 times 7 is 42.');
    expect(await heardIn(sound)).toMatch(/forty.two/);
    expect(await transcriptMs(completion)).toBeGreaterThan(0);
    expect(heardTokens(completion)).toBeGreaterThan(10);
    expect(completion.usage?.completion_tokens_details?.audio_tokens).toBeGreaterThan(20);
  });

  it('is answered aloud while the answer is written, by the same sound', async () => {
    const messages = ask(question);
    const stream = await openai.chat.completions.create({
      ...{ model: 'demo', messages, stream: true, stream_options: { include_usage: true } },
      ...SPOKEN,
      audio: { ...SPOKEN.audio, format: 'pcm16' },
    });
    const seen = { id: '', transcript: '', data: '', finishReasons: [] as string[] };
    let usage: OpenAI.CompletionUsage | null | undefined;
    for await (const { choices, usage: told } of stream) {
      usage = told ?? usage;
      const [choice] = choices;
      if (choice?.finish_reason) seen.finishReasons.push(choice.finish_reason);
      const { id = '', transcript = '', data = '' } = choice?.delta.audio ?? {};
      seen.id += id;
      seen.transcript += transcript;
      seen.data += data;
    }
    expect(seen).toMatchObject({ transcript: '6 times 7 is 42.', finishReasons: ['stop'] });
    expect(seen.id).toMatch(/^audio_\w+$/);
    expect(usage?.prompt_tokens_details?.audio_tokens).toBeGreaterThan(10);
    const { sound } = await answerOf(messages);
    expect(Buffer.from(seen.data, 'base64').equals(sound.subarray(WAV_HEADER_BYTES))).toBe(true);
  });

  it('is answered in text, where nobody asks for sound: whole and as a stream', async () => {
    const model = 'demo';
    const messages = ask(question);
    const whole = await openai.chat.completions.create({ model, messages });
    expect(whole.choices[0]?.message).toMatchObject({ content: '6 times 7 is 42.' });
    expect(whole.choices[0]?.message.audio).toBeUndefined();
    const stream = await openai.chat.completions.create({ model, messages, stream: true });
    let content = '';
    for await (const { choices } of stream) content += choices[0]?.delta.content ?? '';
    expect(content).toBe('6 times 7 is 42.');
  });

  it('may be an mp3', async () => {
    const { audio } = await answerOf(ask(await record('What is six times seven?', 'mp3')));
    expect(audio.transcript).toContain('42');
  });

  it('may come in two recordings, with words between: they are read in their order', async () => {
    const [first, second] = [SPOKEN_SENTENCES[0], SPOKEN_SENTENCES[5]];
    const between: OpenAI.ChatCompletionContentPart = { type: 'text', text: 'And then' };
    const { audio } = await answerOf(
      ask(await record(first.sentence), between, await record(second.sentence)),
    );
    const words = [...first.keyWords, 'and', 'then', ...second.keyWords];
    expect(audio.transcript.toLowerCase()).toMatch(new RegExp(words.join('.*')));
  });

  it('without a word in it is told to the model as silence', async () => {
    const messages = ask(recordingOf(hum(1)));
    const { choices } = await openai.chat.completions.create({ model: 'demo', messages });
    expect(choices[0]?.message.content).toContain('You said: "[silence]"');
  });
});

describe('the next turn', () => {
  it('hears nothing twice, and names the answer by its id', async () => {
    const first = await answerOf(ask(question));
    expect(first.audio.transcript).toContain('42');
    const messages: Message[] = [
      ...ask(question),
      { role: 'assistant', audio: { id: first.audio.id } },
    ];
    const second = await answerOf([...messages, { role: 'user', content: 'What is 8 times 8?' }]);
    expect(second.audio.transcript).toContain('64');
    expect(await transcriptMs(second.completion)).toBeUndefined();
    expect(heardTokens(second.completion)).toBe(heardTokens(first.completion));
    // Only what is new is transcribed.
    const more = await record('Can you tell me a story?');
    const third = await answerOf([...messages, ...ask(more)]);
    expect(third.audio.transcript).toContain('lighthouse');
    expect(await transcriptMs(third.completion)).toBeGreaterThan(0);
    expect(heardTokens(third.completion)).toBeGreaterThan(heardTokens(first.completion) + 10);
  });

  it('of another key hears for itself, and does not know the answer', async () => {
    const messages = ask(question);
    const { audio } = await answerOf(messages);
    const unknown = other.chat.completions.create({
      ...{ model: 'demo', ...SPOKEN },
      messages: [
        ...messages,
        { role: 'assistant', audio: { id: audio.id } },
        { role: 'user', content: 'Go on.' },
      ],
    });
    await expect(unknown).rejects.toMatchObject({
      ...{ status: 400, code: 'invalid_value', param: 'messages[1].audio.id' },
    });
  });

  it('that comes too late does not know the answer', async () => {
    const { audio } = await answerOf([{ role: 'user', content: 'Hello!' }], strict);
    const follow = () =>
      strict.chat.completions.create({
        model: 'demo',
        messages: [
          { role: 'assistant', audio: { id: audio.id } },
          { role: 'user', content: 'Go on.' },
        ],
      });
    const refused = await until(() =>
      follow().then(
        () => undefined,
        (error: unknown) => error,
      ),
    );
    expect(refused).toMatchObject({
      ...{ status: 400, code: 'invalid_value', param: 'messages[0].audio.id' },
    });
    expect(audio.expires_at * 1000).toBeLessThanOrEqual(Date.now() + 1000);
  });
});

describe('a recording that is none', () => {
  const refused = async (part: Recording, client = openai) => {
    const faults = [];
    for (const stream of [false, true]) {
      const messages = ask({ type: 'text', text: 'Listen:' }, part);
      const answer = client.chat.completions.create({ model: 'demo', messages, stream });
      faults.push(
        await Promise.resolve(answer).then(
          () => undefined,
          (error: unknown) => error,
        ),
      );
    }
    return faults as { status: number; code: string; param: string; message: string }[];
  };
  const badFormat = expect.stringMatching(/Invalid file format\. /);
  const place = 'messages[0].content[1].input_audio';

  it.each<[string, () => Recording, object]>([
    [
      'a text',
      () => recordingOf(Buffer.from('Hello there.')),
      { code: null, message: badFormat, param: `${place}.data` },
    ],
    [
      'no base64',
      () => ({ type: 'input_audio', input_audio: { data: 'no base64!', format: 'wav' } }),
      { code: 'invalid_value', param: `${place}.data` },
    ],
    [
      'of a format that does not exist',
      () => ({ ...question, input_audio: { ...question.input_audio, format: 'doc' as 'wav' } }),
      { code: 'invalid_value', param: `${place}.format` },
    ],
    [
      'too short to hold a sound',
      () => recordingOf(hum(UNHEARD_SECONDS)),
      { code: 'audio_too_short', param: `${place}.data` },
    ],
    [
      'a header with nothing of its kind behind it',
      () => recordingOf(Buffer.concat([Buffer.from('ID3\x04'), Buffer.alloc(2000, 1)]), 'mp3'),
      { code: null, message: badFormat, param: `${place}.data` },
    ],
  ])('%s', async (_what, part, fault) => {
    for (const error of await refused(part()))
      expect(error).toMatchObject({ status: 400, ...fault });
  });

  it('longer than MAX_AUDIO_SECONDS', async () => {
    for (const error of await refused(recordingOf(hum(2)), strict)) {
      expect(error).toMatchObject({ status: 400, code: 'audio_too_long', param: `${place}.data` });
    }
  });
});
