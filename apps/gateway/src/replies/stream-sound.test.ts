import { BYTES_PER_SAMPLE, SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import type { StreamProducer } from '@antiphon/shared/streams/stream-producer';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { OpenedStream } from './open-stream.ts';
import { type ReplyFixture, startReplyFixture } from './reply-fixture.ts';
import { type SoundPart, readSound } from './stream-sound.ts';

const CHUNK_BYTES = 24_000;
const CHUNK_SAMPLES = CHUNK_BYTES / BYTES_PER_SAMPLE;
const SMALLEST_LOG_BYTES = 65_536;

let server: RedisServer;
let fixture: ReplyFixture;

beforeEach(async () => {
  server = await startRedis();
  fixture = await startReplyFixture(server.url);
});
afterEach(async () => {
  await fixture?.close();
  await server?.close();
});

interface Answer {
  streamId: string;
  opened: OpenedStream;
  chat: StreamProducer;
  cut: (phraseIndex: number) => Promise<void>;
  voice: (phraseIndex: number) => Promise<{ say: () => Promise<void>; stop: () => Promise<void> }>;
  /** That many chunks, and then its end. */
  speak: (phraseIndex: number, chunks: number) => Promise<void>;
  end: (phraseCount: number) => Promise<void>;
  state: (field: string) => Promise<number>;
}

async function answerOf(streamId: string, opened: OpenedStream): Promise<Answer> {
  const { log } = fixture.context;
  const claim = async (name: string) =>
    log.producer(streamId, name, await log.claim(streamId, name, 'w'));
  const chat = await claim('chat');
  const voice = async (phraseIndex: number) => {
    const producer = await claim(`phrase-${phraseIndex}`);
    const pcm = Buffer.alloc(CHUNK_BYTES, phraseIndex + 1);
    let chunkIndex = 0;
    return {
      say: async () => {
        const event = { type: 'audio-delta' as const, phraseIndex, chunkIndex, pcm };
        await producer.append(event, { samples: CHUNK_SAMPLES });
        chunkIndex += 1;
      },
      stop: () => producer.append({ type: 'audio-end', phraseIndex }, { ends: 'phrase' }),
    };
  };
  return {
    ...{ streamId, opened, chat },
    async cut(phraseIndex) {
      const text = `p${phraseIndex}`;
      await chat.append(
        { type: 'phrase-start', phraseIndex, text, before: '' },
        { phrase: { phraseIndex, body: { text } } },
      );
    },
    voice,
    async speak(phraseIndex, chunks) {
      const { say, stop } = await voice(phraseIndex);
      for (let count = 0; count < chunks; count += 1) await say();
      await stop();
    },
    async end(phraseCount) {
      await chat.append(
        { type: 'text-end', finishReason: 'stop', phraseCount },
        { ends: 'text', phraseCount },
      );
    },
    state: async (field) => Number((await log.state(streamId))?.[field] ?? 0),
  };
}

type PcmPart = Extract<SoundPart, { type: 'pcm' }>;

/** One answer that `work` writes, heard by `hear`; resolves with its sound. */
async function listen(
  work: (answer: Answer) => Promise<void>,
  hear: (part: PcmPart) => Promise<void> = ({ delivered }) => delivered(),
  parallelPhrases = 1,
): Promise<Buffer> {
  const sound: Uint8Array[] = [];
  let failure: unknown;
  fixture.plan({
    route: { queues: { llm: 'llm-test', tts: 'tts-test' }, firstStage: 'llm' },
    opening: {
      ...{ kind: 'chat', model: 'm', parallelPhrases, aheadSamples: 5 * SAMPLE_RATE_HZ },
      speech: JSON.stringify({
        queueName: 'tts-test',
        job: { version: 1, tenantId: 't', gatewayId: 'g1', model: 'm', voice: 'v', speed: 1 },
      }),
    },
    produce: async (streamId, opened) => {
      await work(await answerOf(streamId, opened)).catch((thrown: unknown) => {
        failure = thrown;
      });
    },
    reply: async (context, opened, { connection }) => {
      for await (const part of readSound(context, opened)) {
        if (part.type !== 'pcm') continue;
        sound.push(part.pcm);
        await hear(part);
      }
      connection.start(200, {});
      connection.end();
    },
  });
  const response = await fetch(fixture.baseUrl);
  expect(failure).toBeUndefined();
  expect(response.status).toBe(200);
  return Buffer.concat(sound);
}

describe('a log that is full', () => {
  beforeEach(() => {
    fixture.context.config.MAX_LOG_BYTES = SMALLEST_LOG_BYTES;
  });

  it('of what is shown makes room as it is delivered', async () => {
    const delta = { content: 'x'.repeat(1000) };
    const sound = await listen(async ({ chat, cut, speak, end }) => {
      await cut(0);
      for (let count = 0; count < 200; count += 1) {
        await chat.append({ type: 'message-delta', delta });
      }
      await speak(0, 1);
      await end(1);
    });
    expect(sound).toHaveLength(CHUNK_BYTES);
  }, 10_000);

  it('of later phrases lets the first one be heard', async () => {
    const answer = async ({ cut, speak, end }: Answer) => {
      for (const phraseIndex of [0, 1, 2]) await cut(phraseIndex);
      await fixture.context.log.release(fixture.opened()?.streamId ?? '');
      const later = speak(2, 8);
      await until(async () => (await stateOf('produced')) >= 2 * CHUNK_SAMPLES);
      const next = speak(1, 8);
      await speak(0, 8);
      await Promise.all([later, next, end(3)]);
    };
    const sound = await listen(answer, ({ delivered }) => delivered(), 3);
    const expected = [1, 2, 3].map((value) => Buffer.alloc(8 * CHUNK_BYTES, value));
    expect(sound.equals(Buffer.concat(expected))).toBe(true);
  }, 20_000);
});

/** Of the stream's state; 0 while Redis is away. */
const stateOf = async (field: string): Promise<number> => {
  const { log } = fixture.context;
  const state = await log.state(fixture.opened()?.streamId ?? '').catch(() => undefined);
  return Number(state?.[field] ?? 0);
};

describe('what was heard', () => {
  it('is told again when Redis was away: the next phrase is made', async () => {
    let chunks = 0;
    await listen(
      async ({ cut, speak, end }) => {
        await cut(0);
        await cut(1);
        await speak(0, 10); // as much as may lie ahead
        await until(async () => (await stateOf('released')) === 2);
        await speak(1, 1);
        await end(2);
      },
      async ({ delivered }) => {
        chunks += 1;
        if (chunks === 1) {
          await until(() => stateOf('ended'));
          await server.kill();
        }
        await delivered();
        if (chunks === 10) await server.restart();
      },
    );
    expect(chunks).toBe(11);
  }, 30_000);

  it('is told again also where no phrase is left to be made: the last one waits for room', async () => {
    fixture.context.config.MAX_LOG_BYTES = SMALLEST_LOG_BYTES;
    let restarted = false;
    let chunks = 0;
    await listen(
      async ({ cut, voice, end }) => {
        await cut(0);
        await end(1);
        const { say, stop } = await voice(0);
        for (let count = 0; count < 2; count += 1) await say();
        await until(() => restarted && chunks === 2 && fixture.context.redisReady());
        await say(); // no room for it until the others are told
        await stop();
      },
      async ({ delivered }) => {
        chunks += 1;
        if (chunks !== 1) return delivered();
        await until(async () => (await stateOf('produced')) === 2 * CHUNK_SAMPLES);
        await server.kill();
        await delivered();
        await server.restart();
        restarted = true;
      },
    );
    expect(chunks).toBe(3);
  }, 20_000);

  it('is told when a phrase is cut after all others were begun', async () => {
    await listen(async ({ cut, speak, end, state, opened }) => {
      await until(() => opened.watched.onSecond);
      opened.watched.onSecond = undefined; // it would make up for it, up to a second later
      await cut(0);
      await fixture.context.log.release(opened.streamId);
      await speak(0, 10);
      await until(() => opened.watched.listening.lastAtMs > 0 && !opened.watched.hasUndelivered);
      await cut(1);
      await until(async () => (await state('released')) === 2);
      await speak(1, 1);
      await end(2);
    });
    expect(await stateOf('sent')).toBe(10 * CHUNK_SAMPLES);
  }, 10_000);
});

it('what waited in the log is read again although Redis was away meanwhile', async () => {
  let killed: Promise<void> | undefined;
  const sound = await listen(
    async ({ cut, speak, end }) => {
      await cut(0);
      await cut(1);
      await speak(1, 20); // more than is kept in memory
      await speak(0, 1);
      await end(2);
    },
    async ({ pcm, delivered }) => {
      await delivered();
      if (pcm[0] !== 1) return;
      await until(() => stateOf('phraseCount')); // all of it is in the log
      await server.kill();
      killed = server.restart();
    },
  );
  await killed;
  const expected = [Buffer.alloc(CHUNK_BYTES, 1), Buffer.alloc(20 * CHUNK_BYTES, 2)];
  expect(sound.equals(Buffer.concat(expected))).toBe(true);
}, 20_000);
