import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ReplyFixture, startReplyFixture } from './reply-fixture.ts';
import { replyTranscription, replyTranscriptionEvents } from './transcription-reply.ts';

let server: RedisServer;
let fixture: ReplyFixture;

beforeAll(async () => {
  server = await startRedis();
  fixture = await startReplyFixture(server.url, { MAX_LOG_BYTES: '65536' });
});
afterAll(async () => {
  await fixture?.close();
  await server?.close();
});

interface Plan {
  texts: string[];
  error?: VoiceError;
  events?: boolean;
}

async function ask({ texts, error, events = false }: Plan) {
  const { log } = fixture.context;
  fixture.plan({
    opening: { kind: 'transcription', model: 'm' },
    reply: (context, opened, response) =>
      events
        ? replyTranscriptionEvents(context, opened, response)
        : replyTranscription(opened, response, {
            ...{ format: 'json', operation: 'transcribe', granularities: ['segment'] },
          }),
    produce: async (streamId) => {
      const claim = await log.claim(streamId, 'transcription', 'w1');
      const producer = log.producer(streamId, 'transcription', claim);
      for (const text of texts) {
        const segment = { text, startSeconds: 0, endSeconds: 1 };
        await producer.append({ type: 'transcript-delta', segment });
      }
      if (error) await log.finish(streamId, error);
      const last = { type: 'transcript-end' as const, language: 'en', durationSeconds: 1 };
      await producer.append(last, { ends: 'stream' });
    },
  });
  const response = await fetch(fixture.baseUrl);
  return { status: response.status, body: await response.text() };
}

it('is one text when it is whole', async () => {
  const { status, body } = await ask({ texts: ['Hello', 'world'] });
  expect(status).toBe(200);
  expect(JSON.parse(body)).toMatchObject({ text: 'Hello world' });
});

it('longer than the log of a stream does not stop in the middle', async () => {
  const texts = Array.from({ length: 30 }, (_, index) => `${index}`.padEnd(10_000, '.'));
  expect(JSON.parse((await ask({ texts })).body)).toMatchObject({ text: texts.join(' ') });
});

it('has the status of an error, also in its middle', async () => {
  const error = new VoiceError('invalid_file_format');
  expect((await ask({ texts: ['Hello'], error })).status).toBe(400);
});

it('as events: deltas that join to the text', async () => {
  const { body } = await ask({ texts: ['Hello', 'world'], events: true });
  const frames = body.trimEnd().split('\n\n');
  expect(frames.map((frame) => JSON.parse(frame.slice(6)) as unknown)).toEqual([
    { type: 'transcript.text.delta', delta: 'Hello' },
    { type: 'transcript.text.delta', delta: ' world' },
    { type: 'transcript.text.done', text: 'Hello world' },
  ]);
});

it('as events that fail: one error, no done', async () => {
  const error = new VoiceError('stream_interrupted');
  const { body } = await ask({ texts: ['Hello'], error, events: true });
  expect(body).toContain('"stream_interrupted"');
  expect(body).not.toContain('transcript.text.done');
});
