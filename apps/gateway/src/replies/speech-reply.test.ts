import { SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import { createAudioEncoder } from '@antiphon/shared/audio/create-audio-encoder';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { StreamLog, StreamOpening } from '@antiphon/shared/streams/stream-log';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type AnswerPlan, type ReplyFixture, startReplyFixture } from './reply-fixture.ts';
import { replySpeech, replySpeechEvents } from './speech-reply.ts';

const CHUNK_BYTES = 24_000;

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

function plan(phraseCount: number, produce: NonNullable<AnswerPlan['produce']>, sse = false): void {
  const opening: Pick<
    StreamOpening,
    'kind' | 'model' | 'phraseCount' | 'parallelPhrases' | 'aheadSamples'
  > = {
    kind: 'speech',
    model: 'm',
    phraseCount,
    parallelPhrases: phraseCount,
    aheadSamples: 5 * SAMPLE_RATE_HZ,
  };
  fixture.plan({
    opening,
    produce,
    reply: async (context, opened, response) => {
      const encoder = await createAudioEncoder('pcm');
      const options = { encoder, phraseCount, inputCharacters: 12 };
      await (sse ? replySpeechEvents : replySpeech)(context, opened, response, options);
    },
  });
}

async function writePhrase(
  streamId: string,
  phraseIndex: number,
  chunks: number,
  cache?: 'hit' | 'miss',
): Promise<void> {
  const name = `phrase-${phraseIndex}`;
  const producer = log.producer(streamId, name, await log.claim(streamId, name, 'w1'));
  for (let chunkIndex = 0; chunkIndex < chunks; chunkIndex += 1) {
    const pcm = chunkOf(phraseIndex, chunkIndex);
    await producer.append(
      { type: 'audio-delta', phraseIndex, chunkIndex, pcm, ...(cache ? { cache } : {}) },
      { samples: CHUNK_BYTES / 2 },
    );
  }
  await producer.append({ type: 'audio-end', phraseIndex }, { ends: 'phrase' });
}

it('plays phrases in order, whichever is ready first, and however much of later ones waits', async () => {
  // 14 chunks of phrase 1 and 2 each are 336 KB: more than may be held, so part is read again.
  plan(3, async (streamId) => {
    await writePhrase(streamId, 2, 14);
    await writePhrase(streamId, 1, 14);
    await writePhrase(streamId, 0, 2);
  });
  const response = await fetch(fixture.baseUrl);
  expect(response.headers.get('content-type')).toBe('audio/pcm');
  const audio = Buffer.from(await response.arrayBuffer());
  const expected = [0, 1, 2].flatMap((phrase) =>
    Array.from({ length: phrase === 0 ? 2 : 14 }, (_, chunk) => chunkOf(phrase, chunk)),
  );
  expect(audio.equals(Buffer.concat(expected))).toBe(true);
});

it.each([false, true])(
  'tells where the sound came from that it begins with (sse: %s)',
  async (sse) => {
    for (const first of ['hit', 'miss', undefined] as const) {
      plan(
        2,
        async (streamId) => {
          await writePhrase(streamId, 1, 1, 'miss');
          await writePhrase(streamId, 0, 1, first);
        },
        sse,
      );
      const response = await fetch(fixture.baseUrl);
      expect(response.headers.get('x-cache')).toBe(first ?? null);
      expect(response.headers.get('server-timing')).toContain('synthesis;dur=');
      await response.arrayBuffer();
    }
  },
);

it('cuts the socket when it fails after its first bytes', async () => {
  plan(2, async (streamId) => {
    await writePhrase(streamId, 0, 1);
    await log.finish(streamId, new VoiceError('stream_interrupted'));
  });
  const response = await fetch(fixture.baseUrl);
  expect(response.status).toBe(200);
  await expect(response.arrayBuffer()).rejects.toThrow('terminated');
});

it('has the status of an error before its first bytes', async () => {
  plan(1, async (streamId) => {
    await log.finish(streamId, new VoiceError('text_not_speakable'));
  });
  expect((await fetch(fixture.baseUrl)).status).toBe(400);
});

it('without a sample is an error', async () => {
  plan(1, (streamId) => writePhrase(streamId, 0, 0));
  const response = await fetch(fixture.baseUrl);
  expect(response.status).toBe(500);
  expect(await response.json()).toMatchObject({ error: { code: 'engine_failed' } });
});

it('as events: fragments that join, then usage', async () => {
  plan(
    2,
    async (streamId) => {
      await writePhrase(streamId, 0, 2);
      await writePhrase(streamId, 1, 1);
    },
    true,
  );
  const frames = (await (await fetch(fixture.baseUrl)).text()).trimEnd().split('\n\n');
  const events = frames.map(
    (frame) => JSON.parse(frame.slice(6)) as { type: string; audio?: string },
  );
  const fragments = events.flatMap(({ audio }) => (audio === undefined ? [] : [audio]));
  for (const fragment of fragments.slice(0, -1)) expect(fragment).not.toContain('=');
  const expected = Buffer.concat([chunkOf(0, 0), chunkOf(0, 1), chunkOf(1, 0)]);
  expect(Buffer.from(fragments.join(''), 'base64').equals(expected)).toBe(true);
  expect(events.at(-1)).toEqual({
    type: 'speech.audio.done',
    usage: { input_tokens: 12, output_tokens: 0, total_tokens: 12 },
  });
});
