import { setTimeout as delay } from 'node:timers/promises';
import { SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import type { AudioEncoder } from '@antiphon/shared/audio/audio-encoder';
import { createAudioEncoder } from '@antiphon/shared/audio/create-audio-encoder';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { FinishReason, TokenUsage } from '@antiphon/shared/services/ai-service';
import type { StreamLog } from '@antiphon/shared/streams/stream-log';
import { parseTimings } from '@antiphon/shared/streams/stream-timings';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ReplyFixture, startReplyFixture } from './reply-fixture.ts';
import { replySpokenChat, replySpokenChatStream } from './spoken-chat-reply.ts';

/** No multiple of 6: a fragment is never just one chunk. */
const CHUNK_BYTES = 10_000;
/** What a chunk of that size sounds. */
const CHUNK_MS = (CHUNK_BYTES / 2 / SAMPLE_RATE_HZ) * 1000;

let server: RedisServer;
let fixture: ReplyFixture;
let log: StreamLog;

beforeAll(async () => {
  server = await startRedis();
  fixture = await startReplyFixture(server.url);
  ({ log } = fixture.context);
});
afterAll(async () => {
  await fixture?.close();
  await server?.close();
});

/** Audio that tells where it belongs. */
const chunkOf = (phraseIndex: number, chunkIndex: number) =>
  Buffer.alloc(CHUNK_BYTES, phraseIndex * 16 + chunkIndex + 1);
const soundOf = (...phrases: [phraseIndex: number, chunks: number][]) =>
  Buffer.concat(
    phrases.flatMap(([phraseIndex, chunks]) =>
      Array.from({ length: chunks }, (_, chunkIndex) => chunkOf(phraseIndex, chunkIndex)),
    ),
  );

/** The workers of one answer. */
class Workers {
  readonly #log: StreamLog;
  readonly streamId: string;
  readonly #chat;
  #phraseCount = 0;
  #answer = '';

  constructor(streamLog: StreamLog, streamId: string) {
    this.#log = streamLog;
    this.streamId = streamId;
    this.#chat = this.#claim('chat');
  }

  async #claim(name: string) {
    return this.#log.producer(this.streamId, name, await this.#log.claim(this.streamId, name, 'w'));
  }

  async cut(...texts: string[]): Promise<void> {
    const chat = await this.#chat;
    for (const text of texts) {
      const phraseIndex = this.#phraseCount;
      this.#phraseCount += 1;
      const first = phraseIndex === 0 ? { firstTokenMs: 7 } : {};
      const before = phraseIndex === 0 ? '' : ' ';
      this.#answer += before + text;
      await chat.append(
        { type: 'phrase-start', phraseIndex, text, before, ...first },
        { phrase: { phraseIndex, body: { text } } },
      );
    }
  }

  async show(delta: Record<string, unknown>): Promise<void> {
    await (await this.#chat).append({ type: 'message-delta', delta });
  }

  async end(finishReason: FinishReason = 'stop', usage?: TokenUsage): Promise<void> {
    const phraseCount = this.#phraseCount;
    const answer = `${this.#answer}#code#`;
    await (
      await this.#chat
    ).append(
      { type: 'text-end', finishReason, phraseCount, answer, ...(usage ? { usage } : {}) },
      { ends: 'text', phraseCount },
    );
  }

  async speak(phraseIndex: number, chunks: number, failure?: VoiceError) {
    const producer = await this.#claim(`phrase-${phraseIndex}`);
    for (let chunkIndex = 0; chunkIndex < chunks; chunkIndex += 1) {
      const pcm = chunkOf(phraseIndex, chunkIndex);
      await producer.append(
        { type: 'audio-delta', phraseIndex, chunkIndex, pcm },
        { samples: CHUNK_BYTES / 2 },
      );
    }
    await producer.append(
      failure
        ? { type: 'phrase-error', phraseIndex, error: failure.serialize() }
        : { type: 'audio-end', phraseIndex },
      { ends: 'phrase' },
    );
  }

  /** A recording in the request was heard. */
  async hear(durationSeconds: number): Promise<void> {
    await (
      await this.#claim('transcription-0')
    ).append(
      { type: 'transcript-end', language: 'en', durationSeconds, partIndex: 0 },
      { ends: 'producer' },
    );
  }
}

interface AskOptions {
  stream?: boolean;
  includeUsage?: boolean;
  format?: 'pcm' | 'wav' | 'mp3';
  heardSeconds?: number;
  on?: ReplyFixture;
  encoder?: AudioEncoder;
}

/** One request, answered by what `work` writes. */
async function ask(
  work: (workers: Workers) => Promise<void>,
  options: AskOptions = {},
): Promise<Response> {
  const { stream = true, includeUsage = false, format = 'pcm', heardSeconds = 0, on } = options;
  const createdSeconds = Math.floor(Date.now() / 1000);
  const { plan, baseUrl, context } = on ?? fixture;
  plan({
    route: { queues: { llm: 'llm-test', tts: 'tts-test' }, firstStage: 'llm' },
    opening: {
      ...{ kind: 'chat', model: 'm', parallelPhrases: 8, aheadSamples: 5 * SAMPLE_RATE_HZ },
      speech: JSON.stringify({
        queueName: 'tts-test',
        job: {
          ...{ version: 1, tenantId: 'default', gatewayId: 'g1', model: 'm', voice: 'alloy' },
          speed: 1,
        },
      }),
    },
    produce: (streamId) => work(new Workers(context.log, streamId)),
    reply: async (own, opened, response) => {
      const encoder = options.encoder ?? (await createAudioEncoder(format));
      const spoken = {
        tenantId: 'default',
        model: 'm',
        includeUsage,
        heardSeconds,
        createdSeconds,
      };
      await (stream ? replySpokenChatStream : replySpokenChat)(own, opened, response, {
        ...{ ...spoken, encoder, format },
      });
    },
  });
  return fetch(baseUrl);
}

interface Delta {
  role?: string;
  content?: string | null;
  refusal?: string | null;
  tool_calls?: object[];
  audio?: { id?: string; transcript?: string; data?: string; expires_at?: number };
}
interface Frame {
  id: string;
  object: string;
  created: number;
  model: string;
  choices: { index: number; delta: Delta; logprobs?: null; finish_reason?: string | null }[];
  usage?: object | null;
  error?: { code: string };
  phrase_error?: object;
}

/** A streamed answer, read to its end. */
async function read(response: Response) {
  const text = await response.text();
  const lines = text.split('\n').filter((line) => line !== '');
  const data = lines.filter((line) => line.startsWith('data: ')).map((line) => line.slice(6));
  const frames = data.flatMap((line) => (line === '[DONE]' ? [] : [JSON.parse(line) as Frame]));
  const audio = frames.flatMap(({ choices }) => choices?.[0]?.delta.audio ?? []);
  const fragments = audio.flatMap((part) => (part.data === undefined ? [] : [part.data]));
  return {
    frames,
    audio,
    fragments,
    sound: Buffer.from(fragments.join(''), 'base64'),
    transcript: audio.map((part) => part.transcript ?? '').join(''),
    errors: frames.flatMap(({ error }) => (error ? [error.code] : [])),
    done: data.at(-1) === '[DONE]',
    comments: lines.filter((line) => line.startsWith(':')),
  };
}

interface Whole {
  choices: [
    {
      finish_reason: string;
      message: Record<string, unknown> & {
        audio?: { id: string; data: string; transcript: string; expires_at: number };
      };
    },
  ];
  usage: object;
  phrase_errors?: object[];
}
const readWhole = async (response: Response) => (await response.json()) as Whole;

const hello = async (workers: Workers) => {
  await workers.cut('Hello.', 'You there.');
  await workers.speak(0, 2);
  await workers.speak(1, 3);
  await workers.end();
};

describe('streamed', () => {
  it('in the order that both SDKs understand: role, words and sound, expiry, reason, [DONE]', async () => {
    const response = await ask(hello);
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    const { frames, audio, done } = await read(response);
    const audioId = `audio_${response.headers.get('x-stream-id')}`;
    expect(frames[0]?.choices[0]).toStrictEqual({
      ...{ index: 0, logprobs: null, finish_reason: null },
      delta: { role: 'assistant', content: '', refusal: null },
    });
    expect(frames[1]?.choices[0]?.delta).toStrictEqual({
      audio: { id: audioId, transcript: 'Hello.' },
    });
    expect(frames.at(-2)?.choices).toStrictEqual([
      { index: 0, delta: { audio: { expires_at: expect.any(Number) } } },
    ]);
    expect(frames.at(-1)?.choices).toStrictEqual([
      { index: 0, delta: {}, logprobs: null, finish_reason: 'stop' },
    ]);
    expect(done).toBe(true);
    // What is repeated, Python's SDK joins or adds up.
    const deltas = frames.flatMap(({ choices }) => choices.map(({ delta }) => delta));
    expect(deltas.filter((delta) => 'role' in delta)).toHaveLength(1);
    expect(audio.filter(({ id }) => id !== undefined)).toHaveLength(1);
    const expiries = audio.flatMap(({ expires_at: at }) => (at === undefined ? [] : [at]));
    expect(expiries).toHaveLength(1);
    const lifeSeconds = fixture.context.config.AUDIO_ID_TTL_MS / 1000;
    expect(Math.abs((expiries[0] ?? 0) - Date.now() / 1000 - lifeSeconds)).toBeLessThan(30);
    const { id, object, created, model } = frames[0] as Frame;
    expect([id, object, model]).toEqual([
      `chatcmpl-${response.headers.get('x-stream-id')}`,
      'chat.completion.chunk',
      'm',
    ]);
    for (const frame of frames) {
      expect(frame).toMatchObject({ id, object, created, model });
      expect('usage' in frame).toBe(false);
    }
  });

  it('in fragments of 6n bytes, which join to the sound', async () => {
    const { fragments, sound, transcript } = await read(await ask(hello));
    expect(fragments.length).toBeGreaterThanOrEqual(3);
    for (const fragment of fragments.slice(0, -1)) {
      expect(fragment).not.toContain('=');
      expect(Buffer.from(fragment, 'base64').length % 6).toBe(0);
    }
    expect(sound.equals(soundOf([0, 2], [1, 3]))).toBe(true);
    expect(transcript).toBe('Hello. You there.');
  });

  it('with its phrases in order, whichever was ready first, and the words before their sound', async () => {
    const { sound, frames } = await read(
      await ask(async (workers) => {
        await workers.cut('One.', 'Two.', 'Three.');
        await workers.speak(2, 14);
        await workers.speak(1, 14);
        await workers.end();
        await workers.speak(0, 2);
      }),
    );
    expect(sound.equals(soundOf([0, 2], [1, 14], [2, 14]))).toBe(true);
    const kinds = frames.map(({ choices }) => Object.keys(choices[0]?.delta.audio ?? {}).at(-1));
    expect(kinds.lastIndexOf('transcript')).toBeLessThan(kinds.indexOf('data'));
  });

  it('with code, which is not said, in its content', async () => {
    const { frames, transcript } = await read(
      await ask(async (workers) => {
        await workers.cut('Look here.');
        await workers.show({ content: '```js\n1;\n' });
        await workers.show({ content: '```\n' });
        await workers.speak(0, 1);
        await workers.end();
      }),
    );
    const contents = frames.map(({ choices }) => choices[0]?.delta.content ?? '');
    expect(contents.join('')).toBe('```js\n1;\n```\n');
    expect(transcript).toBe('Look here.');
  });

  it('without a frame for a delta that only tells that the model writes', async () => {
    const { frames } = await read(
      await ask(async (workers) => {
        await workers.show({});
        await workers.end();
      }),
    );
    expect(frames.map(({ choices }) => choices[0]?.delta)).toEqual([
      { role: 'assistant', content: '', refusal: null },
      {},
    ]);
  });

  it('with tool calls as they come', async () => {
    const calls = [
      { index: 0, id: 'call_1', type: 'function', function: { name: 'time', arguments: '' } },
      { index: 0, function: { arguments: '{}' } },
    ];
    const { frames } = await read(
      await ask(async (workers) => {
        await workers.cut('One moment.');
        for (const call of calls) await workers.show({ tool_calls: [call] });
        await workers.speak(0, 1);
        await workers.end('tool_calls');
      }),
    );
    const told = frames.flatMap(({ choices }) => choices[0]?.delta.tool_calls ?? []);
    expect(told).toStrictEqual(calls);
    expect(frames.at(-1)?.choices[0]?.finish_reason).toBe('tool_calls');
  });

  it('without a word: no sound, no id, its reason', async () => {
    const { frames, audio, done } = await read(
      await ask(async (workers) => {
        await workers.show({ tool_calls: [{ index: 0, id: 'call_1' }] });
        await workers.end('tool_calls');
      }),
    );
    expect(audio).toEqual([]);
    expect(frames.map(({ choices }) => choices[0]?.delta)).toStrictEqual([
      { role: 'assistant', content: '', refusal: null },
      { tool_calls: [{ index: 0, id: 'call_1' }] },
      {},
    ]);
    expect(frames.at(-1)?.choices[0]?.finish_reason).toBe('tool_calls');
    expect(done).toBe(true);
  });

  it('without anything at all it has a role and a reason', async () => {
    const { frames, done } = await read(await ask((workers) => workers.end('length')));
    expect(frames.map(({ choices }) => choices[0]?.delta)).toStrictEqual([
      { role: 'assistant', content: '', refusal: null },
      {},
    ]);
    expect(frames.at(-1)?.choices[0]?.finish_reason).toBe('length');
    expect(done).toBe(true);
  });
});

describe('usage', () => {
  const model = { promptTokens: 11, completionTokens: 5, totalTokens: 16 };
  const work = async (workers: Workers) => {
    await workers.hear(2.45);
    await workers.cut('Hello.');
    await workers.speak(0, 3);
    await workers.end('stop', model);
  };
  // 3 chunks are 0.625 s at 20 tokens a second; 2.45 s and 4 s of the user's at 10 a second.
  const [audioIn, audioOut] = [65, 13];
  const expected = {
    prompt_tokens: 11 + audioIn,
    completion_tokens: 5 + audioOut,
    total_tokens: 16 + audioIn + audioOut,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: audioIn, text_tokens: 11 },
    completion_tokens_details: { reasoning_tokens: 0, audio_tokens: audioOut, text_tokens: 5 },
  };

  it('streamed, when asked: in a last chunk without choices', async () => {
    const { frames } = await read(await ask(work, { includeUsage: true, heardSeconds: 4 }));
    expect(frames.at(-1)).toMatchObject({ choices: [], usage: expected });
    for (const frame of frames.slice(0, -1)) expect(frame.usage).toBeNull();
  });

  it('whole, always', async () => {
    const { usage } = await readWhole(await ask(work, { stream: false, heardSeconds: 4 }));
    expect(usage).toStrictEqual(expected);
  });

  it('of a model that tells none counts the sound alone', async () => {
    const { usage } = await readWhole(await ask(hello, { stream: false }));
    expect(usage).toMatchObject({ prompt_tokens: 0, completion_tokens: 21, total_tokens: 21 });
  });
});

describe('whole', () => {
  it('joins words, sound, code and tool calls to one message', async () => {
    const response = await ask(
      async (workers) => {
        await workers.cut('One moment.');
        await workers.show({ content: '```js\n' });
        await workers.show({
          tool_calls: [
            { index: 0, id: 'call_1', type: 'function', function: { name: 'a', arguments: '{' } },
            { index: 1, id: 'call_2', type: 'function', function: { name: 'b', arguments: '' } },
          ],
        });
        await workers.show({ tool_calls: [{ index: 0, function: { arguments: '}' } }] });
        await workers.show({ content: '```\n' });
        await workers.cut('Well.');
        await workers.speak(1, 1);
        await workers.speak(0, 2);
        await workers.end('tool_calls');
      },
      { stream: false },
    );
    expect(response.headers.get('content-type')).toBe('application/json');
    const { choices, ...rest } = await readWhole(response);
    const { audio, ...message } = choices[0].message;
    expect(message).toStrictEqual({
      ...{ role: 'assistant', content: '```js\n```\n', refusal: null },
      tool_calls: [
        { id: 'call_1', type: 'function', function: { name: 'a', arguments: '{}' } },
        { id: 'call_2', type: 'function', function: { name: 'b', arguments: '' } },
      ],
    });
    expect(choices[0].finish_reason).toBe('tool_calls');
    expect(audio).toMatchObject({ transcript: 'One moment. Well.' });
    const sound = Buffer.from(audio?.data ?? '', 'base64');
    expect(sound.equals(soundOf([0, 2], [1, 1]))).toBe(true);
    expect('phrase_errors' in rest).toBe(false);
  });

  it('without a word has no audio', async () => {
    const { choices } = await readWhole(
      await ask(
        async (workers) => {
          await workers.show({ tool_calls: [{ index: 0, id: 'call_1', function: { name: 'a' } }] });
          await workers.end('tool_calls');
        },
        { stream: false, format: 'wav' },
      ),
    );
    expect(choices[0].message).toStrictEqual({
      ...{ role: 'assistant', content: null, refusal: null },
      tool_calls: [{ id: 'call_1', function: { name: 'a' } }],
    });
  });

  it('whose phrases all failed still has its words', async () => {
    const whole = await readWhole(
      await ask(
        async (workers) => {
          await workers.cut('Hello.');
          await workers.speak(0, 0, new VoiceError('upstream_unavailable'));
          await workers.end();
        },
        { stream: false, format: 'wav' },
      ),
    );
    expect(whole.choices[0].message.audio).toMatchObject({ transcript: 'Hello.', data: '' });
    expect(whole.phrase_errors).toMatchObject([{ index: 0, code: 'upstream_unavailable' }]);
  });

  it.each([
    ['pcm', ''],
    // What the header says of the length.
    ['wav', Buffer.from(new Uint32Array([13 * CHUNK_BYTES]).buffer).toString('hex')],
  ] as const)('of sound in many pieces is one %s file', async (format, lengthHex) => {
    const whole = await ask(
      async (workers) => {
        await workers.cut('Hello.', 'There.');
        await workers.speak(0, 7);
        await workers.speak(1, 6);
        await workers.end();
      },
      { stream: false, format },
    );
    const length = Number(whole.headers.get('content-length'));
    const text = await whole.text();
    expect(Buffer.byteLength(text)).toBe(length);
    const { audio } = (JSON.parse(text) as Whole).choices[0].message;
    const file = Buffer.from(audio?.data ?? '', 'base64');
    const headerBytes = file.length - 13 * CHUNK_BYTES;
    expect(file.toString('hex', Math.max(0, headerBytes - 4), headerBytes)).toBe(lengthHex);
    expect(file.subarray(headerBytes).equals(soundOf([0, 7], [1, 6]))).toBe(true);
  });

  it('larger than a kept answer may be is refused while it is spoken', async () => {
    const { config } = fixture.context;
    const { MAX_LOG_BYTES: before } = config;
    config.MAX_LOG_BYTES = 5000; // two chunks
    const response = await ask(
      async (workers) => {
        await workers.cut('Hello.');
        await workers.speak(0, 3); // and the model goes on
      },
      { stream: false },
    ).finally(() => {
      config.MAX_LOG_BYTES = before;
    });
    expect(response.status).toBe(413);
    expect(await response.json()).toMatchObject({ error: { code: 'stream_too_large' } });
    const streamId = fixture.opened()?.streamId ?? '';
    await until(async () => (await log.state(streamId))?.['status'] === 'cancelled');
  });

  it('that fails has the status of its error', async () => {
    const response = await ask(
      async (workers) => {
        await workers.cut('Hello.');
        await workers.speak(0, 1);
        await log.finish(workers.streamId, new VoiceError('upstream_timeout'));
      },
      { stream: false },
    );
    expect(response.status).toBe(504);
    expect(await response.json()).toMatchObject({ error: { code: 'upstream_timeout' } });
  });
});

describe('an error', () => {
  it('before anything has its status', async () => {
    const response = await ask(async ({ streamId }) => {
      await log.finish(streamId, new VoiceError('upstream_timeout'));
    });
    expect(response.status).toBe(504);
    expect(await response.json()).toMatchObject({ error: { code: 'upstream_timeout' } });
  });

  it('after some phrases: what came before it, one error frame, no [DONE]', async () => {
    const { sound, transcript, errors, done, frames } = await read(
      await ask(async (workers) => {
        await workers.cut('One.', 'Two.');
        await workers.speak(0, 3);
        await log.finish(workers.streamId, new VoiceError('upstream_timeout'));
      }),
    );
    expect(transcript).toBe('One. Two.');
    expect(sound.length).toBeGreaterThanOrEqual(3 * CHUNK_BYTES - 5);
    expect(soundOf([0, 3]).subarray(0, sound.length).equals(sound)).toBe(true);
    expect(errors).toEqual(['upstream_timeout']);
    expect(frames.at(-1)?.error).toBeDefined();
    expect(done).toBe(false);
  });

  it('of the model comes behind the phrases that were cut by then', async () => {
    const { sound, errors, done, frames } = await read(
      await ask(async (workers) => {
        await workers.cut('One.', 'Two.');
        await workers.speak(0, 3);
        const error = new VoiceError('upstream_protocol');
        expect(await log.finish(workers.streamId, error, { afterPhrases: true })).toBe('open');
        await workers.speak(1, 3);
      }),
    );
    expect(sound.equals(soundOf([0, 3], [1, 3]))).toBe(true);
    expect(errors).toEqual(['upstream_protocol']);
    expect(frames.at(-1)?.error).toBeDefined();
    expect(frames.some(({ choices }) => choices?.[0]?.finish_reason)).toBe(false);
    expect(done).toBe(false);
  });

  it('of one phrase is told, and the next ones play', async () => {
    const work = async (workers: Workers) => {
      await workers.cut('One.', 'Two.', 'Three.');
      await workers.speak(0, 1);
      await workers.speak(1, 1, new VoiceError('upstream_timeout'));
      await workers.speak(2, 1);
      await workers.end();
    };
    const { frames, sound, done, errors, transcript } = await read(await ask(work));
    const told = frames.filter(({ phrase_error: error }) => error);
    expect(told).toMatchObject([
      {
        choices: [{ index: 0, delta: {}, finish_reason: null }],
        phrase_error: { index: 1, code: 'upstream_timeout', message: expect.any(String) },
      },
    ]);
    expect(sound.equals(soundOf([0, 1], [1, 1], [2, 1]))).toBe(true);
    expect(transcript).toBe('One. Two. Three.');
    expect([errors, done]).toEqual([[], true]);

    const whole = await readWhole(await ask(work, { stream: false }));
    expect(whole.phrase_errors).toMatchObject([{ index: 1, code: 'upstream_timeout' }]);
  });
});

describe('the words of an answer', () => {
  const kept = async (response: Response) => {
    const audioId = `audio_${response.headers.get('x-stream-id')}`;
    return (await fixture.context.spokenAnswers.find('default', [audioId]))[0];
  };

  it('can be named by its id, code included', async () => {
    const response = await ask(hello);
    await read(response);
    expect(await kept(response)).toBe('Hello. You there.#code#');
  });

  it('that failed can be named as far as it went', async () => {
    const response = await ask(async (workers) => {
      await workers.cut('One.', 'Two.');
      await workers.speak(0, 3);
      await log.finish(workers.streamId, new VoiceError('upstream_timeout'));
    });
    await read(response);
    expect(await until(() => kept(response))).toBe('One. Two.');
  });

  it('of an answer without words are not kept', async () => {
    const response = await ask((workers) => workers.end());
    await read(response);
    expect(await kept(response)).toBeUndefined();
  });
});

it('an answer that is made ends although Redis hangs before its words are kept', async () => {
  const own = await startRedis();
  const other = await startReplyFixture(own.url);
  try {
    const encoder = await createAudioEncoder('pcm');
    const hanging = {
      ...{ contentType: encoder.contentType, encode: (pcm: Uint8Array) => encoder.encode(pcm) },
      close: () => encoder.close(),
      async end() {
        process.kill(own.pid, 'SIGSTOP');
        return encoder.end();
      },
    };
    const response = await ask(hello, { on: other, encoder: hanging });
    const { done, errors, transcript } = await read(response);
    expect({ done, errors, transcript }).toEqual({
      ...{ done: true, errors: [], transcript: 'Hello. You there.' },
    });
  } finally {
    process.kill(own.pid, 'SIGCONT');
    await other.close();
    await own.close();
  }
}, 20_000);

describe('silence', () => {
  let impatient: ReplyFixture;
  beforeAll(async () => {
    const environment = { STATUS_HOLD_MS: '50', KEEPALIVE_MS: '50' };
    impatient = await startReplyFixture(server.url, environment);
  });
  afterAll(() => impatient.close());

  it('before the first word: 200 and comments, then the answer', async () => {
    const response = await ask(
      async (workers) => {
        await delay(300);
        await hello(workers);
      },
      { on: impatient },
    );
    const { comments, sound, done, frames } = await read(response);
    expect(comments.length).toBeGreaterThan(0);
    expect(new Set(comments)).toEqual(new Set([': keepalive']));
    expect(frames[0]?.choices[0]?.delta.role).toBe('assistant');
    expect(sound.equals(soundOf([0, 2], [1, 3]))).toBe(true);
    expect(done).toBe(true);
  });

  it('and then an error: an error frame, since the status is gone', async () => {
    const response = await ask(
      async ({ streamId }) => {
        await delay(200);
        await impatient.context.log.finish(streamId, new VoiceError('upstream_timeout'));
      },
      { on: impatient },
    );
    expect(response.status).toBe(200);
    expect(await read(response)).toMatchObject({ errors: ['upstream_timeout'], done: false });
  });
});

describe('times', () => {
  /** Those in the stream's state, when they are what is waited for. */
  const timingsOf = async (response: Response, gapCount: number) => {
    const streamId = response.headers.get('x-stream-id') ?? '';
    return until(async () => {
      const timings = parseTimings((await log.state(streamId))?.['timings']);
      return timings.gapCount === gapCount ? timings : undefined;
    });
  };

  it('of the stages stand in a header of a whole answer', async () => {
    const response = await ask(hello, { stream: false });
    const stages = (response.headers.get('server-timing') ?? '').split(', ');
    expect(stages.map((stage) => stage.replace(/;dur=\d+(\.\d)?$/, ''))).toEqual([
      ...['queue', 'first-token', 'first-phrase', 'synthesis', 'first-byte', 'first-audio'],
    ]);
    expect(stages[1]).toBe('first-token;dur=7');
    await timingsOf(response, 0);
  });

  it('that are known at the first frame stand in a header of a streamed one', async () => {
    const response = await ask(hello);
    const stages = (response.headers.get('server-timing') ?? '').split(', ');
    const names = stages.map((stage) => stage.replace(/;dur=\d+(\.\d)?$/, ''));
    expect(names.slice(0, 3)).toEqual(['queue', 'first-token', 'first-phrase']);
    await read(response);
  });

  it('of an answer whose sound is in time: all stages, no gap', async () => {
    const response = await ask(async (workers) => {
      await workers.cut('One.', 'Two.');
      await workers.speak(0, 20);
      await delay(CHUNK_MS); // a twentieth of what is played by then
      await workers.speak(1, 1);
      await workers.end();
    });
    await read(response);
    const timings = await timingsOf(response, 0);
    expect(timings).toMatchObject({ firstTokenMs: 7, gapMs: 0 });
    const { queueMs, firstTokenMs, firstPhraseMs, synthesisMs, firstByteMs, firstAudioMs } =
      timings;
    const stages = [queueMs, firstTokenMs, firstPhraseMs, synthesisMs, firstByteMs];
    for (const stage of stages) expect(stage).toBeGreaterThanOrEqual(0);
    expect(firstAudioMs).toBeGreaterThan(0);
  });

  it('of an answer with a late phrase: the gap and its length', async () => {
    const lateMs = 400;
    const response = await ask(async (workers) => {
      await workers.cut('One.', 'Two.', 'Three.');
      await workers.speak(0, 1);
      await delay(CHUNK_MS + lateMs);
      await workers.speak(1, 1);
      await workers.speak(2, 1);
      await workers.end();
    });
    await read(response);
    const { gapMs } = await timingsOf(response, 1);
    expect(gapMs).toBeGreaterThan(lateMs - 50);
    expect(gapMs).toBeLessThan(lateMs + 2000);
  });

  it('of an answer without sound are none', async () => {
    const response = await ask((workers) => workers.end());
    await read(response);
    const streamId = response.headers.get('x-stream-id') ?? '';
    expect((await log.state(streamId))?.['timings']).toBeUndefined();
  });
});
