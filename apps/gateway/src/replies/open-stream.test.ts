import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { JOB_CATALOG } from '@antiphon/shared/jobs/job-catalog';
import { openRedis } from '@antiphon/shared/queue/redis';
import { createStreamId } from '@antiphon/shared/streams/stream-key';
import { StreamSubscriber } from '@antiphon/shared/streams/stream-subscriber';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { replyChatCompletion, replyChatStream } from './chat-reply.ts';
import { openLog } from './open-stream.ts';
import { type ReplyFixture, startReplyFixture } from './reply-fixture.ts';

let server: RedisServer;
let fixture: ReplyFixture;

const frame = (content: string) => `data: {"choices":[{"delta":{"content":"${content}"}}]}\n\n`;
const delta = (content: string) => ({ type: 'text-delta' as const, bytes: Buffer.from(content) });
const end = { type: 'text-end' as const, finishReason: 'stop' as const };
const claimed = async (streamId: string) => {
  const { log } = fixture.context;
  return log.producer(streamId, 'chat', await log.claim(streamId, 'chat', 'w1'));
};
const ask = async () => {
  const response = await fetch(fixture.baseUrl);
  return { status: response.status, headers: response.headers, body: await response.text() };
};
const statusOf = async (streamId: string | undefined) =>
  (await fixture.context.log.state(streamId ?? ''))?.['status'];

beforeAll(async () => {
  server = await startRedis();
  fixture = await startReplyFixture(server.url, {
    MAX_LOG_BYTES: '65536',
    STATUS_HOLD_MS: '60000',
  });
});
afterAll(async () => {
  await fixture?.close();
  await server?.close();
});

describe('a streamed answer', () => {
  it('is its frames, then [DONE]', async () => {
    fixture.plan({
      reply: replyChatStream,
      produce: async (streamId) => {
        const producer = await claimed(streamId);
        for (const word of ['a', 'b']) await producer.append(delta(frame(word)));
        await producer.append(end, { ends: 'stream' });
      },
    });
    const { status, headers, body } = await ask();
    expect(status).toBe(200);
    expect(headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(headers.get('x-stream-id')).toBe(fixture.opened()?.streamId);
    expect(body).toBe(`${frame('a')}${frame('b')}data: [DONE]\n\n`);
    expect(fixture.context.watch.streams.size).toBe(0);
    expect(fixture.context.subscriber.readerCount).toBe(0);
  });

  it('that failed before its first frame has the status of its error', async () => {
    fixture.plan({
      reply: replyChatStream,
      produce: async (streamId) => {
        await claimed(streamId);
        await fixture.context.log.finish(streamId, new VoiceError('upstream_timeout'));
      },
    });
    const { status, body } = await ask();
    expect(status).toBe(504);
    expect(JSON.parse(body)).toMatchObject({ error: { code: 'upstream_timeout' } });
  });

  it('that failed later ends by one error frame, without [DONE]', async () => {
    fixture.plan({
      reply: replyChatStream,
      produce: async (streamId) => {
        await (await claimed(streamId)).append(delta(frame('a')));
        await fixture.context.log.finish(streamId, new VoiceError('stream_interrupted'));
      },
    });
    const { body } = await ask();
    expect(body.startsWith(frame('a'))).toBe(true);
    expect(body.match(/"error"/g)).toHaveLength(1);
    expect(body).not.toContain('[DONE]');
  });

  it('that is being ended while text still comes never looks finished', async () => {
    fixture.plan({
      reply: replyChatStream,
      produce: async (streamId, { watched }) => {
        const producer = await claimed(streamId);
        await producer.append(delta(frame('a')));
        await until(() => watched.firstEventAtMs !== undefined);
        watched.ended = true; // a deadline, or a shutdown, has decided its end
        await producer.append(delta(frame('b')));
        await until(() => watched.deliveredSeq >= 3);
        await fixture.context.watch.end(watched, new VoiceError('server_shutting_down'));
      },
    });
    const { body } = await ask();
    expect(body.startsWith(frame('a') + frame('b'))).toBe(true);
    expect(body).toContain('server_shutting_down');
    expect(body).not.toContain('[DONE]');
  });

  it('flows through a log smaller than what is acknowledged at once', async () => {
    const words = Array.from({ length: 40 }, (_, index) => frame(`${index}`.padEnd(20_000, '.')));
    fixture.plan({
      reply: replyChatStream,
      produce: async (streamId) => {
        const producer = await claimed(streamId);
        for (const word of words) await producer.append(delta(word));
        await producer.append(end, { ends: 'stream' });
      },
    });
    expect((await ask()).body).toBe(`${words.join('')}data: [DONE]\n\n`);
  });

  it('is stopped when its client leaves', async () => {
    fixture.plan({
      reply: replyChatStream,
      produce: async (streamId) => (await claimed(streamId)).append(delta(frame('a'))),
    });
    const leave = new AbortController();
    const response = await fetch(fixture.baseUrl, { signal: leave.signal });
    await response.body?.getReader().read();
    const { streamId } = fixture.opened() ?? {};
    leave.abort();
    await until(async () => (await statusOf(streamId)) === 'cancelled');
    await until(() => fixture.context.subscriber.readerCount === 0);
    expect(fixture.context.watch.streams.size).toBe(0);
  });
});

describe('a whole answer', () => {
  it('is sent when it is whole', async () => {
    const body = JSON.stringify({ content: 'x'.repeat(100_000) });
    fixture.plan({
      reply: replyChatCompletion,
      produce: async (streamId) => {
        const producer = await claimed(streamId);
        for (let start = 0; start < body.length; start += 30_000) {
          await producer.append(delta(body.slice(start, start + 30_000)));
        }
        await producer.append(end, { ends: 'stream' });
      },
    });
    const answer = await ask();
    expect(answer.body).toBe(body);
    expect(answer.headers.get('content-length')).toBe(`${body.length}`);
  });

  it('has the status of an error in its middle', async () => {
    fixture.plan({
      reply: replyChatCompletion,
      produce: async (streamId) => {
        await (await claimed(streamId)).append(delta('{"half'));
        await fixture.context.log.finish(streamId, new VoiceError('stream_interrupted'));
      },
    });
    expect((await ask()).status).toBe(502);
  });

  it('without a byte is an error', async () => {
    fixture.plan({
      reply: replyChatCompletion,
      produce: async (streamId) => (await claimed(streamId)).append(end, { ends: 'stream' }),
    });
    expect((await ask()).status).toBe(502);
  });
});

describe('opening', () => {
  it('stops the stream when its job cannot be enqueued', async () => {
    let streamId: string | undefined;
    fixture.plan({
      reply: replyChatStream,
      enqueue: async (id) => {
        streamId = id;
        throw new VoiceError('queue_unavailable');
      },
    });
    expect((await ask()).status).toBe(503);
    expect(await statusOf(streamId)).toBe('cancelled');
    expect(fixture.context.subscriber.readerCount).toBe(0);
  });

  it('answers 503 and keeps nothing while Redis is away', async () => {
    const own = await startRedis();
    const away = await startReplyFixture(own.url);
    try {
      await own.kill();
      await until(() => !away.context.redisReady());
      away.plan({ reply: replyChatStream });
      const startedMs = performance.now();
      const response = await fetch(away.baseUrl);
      expect(response.status).toBe(503);
      expect(performance.now() - startedMs).toBeLessThan(3000);
      await own.restart();
      await until(() => away.context.redisReady());
      await until(() => away.context.subscriber.readerCount === 0);
    } finally {
      await away.close();
      await own.close();
    }
  }, 20_000);

  it('ends what was opened when it cannot be heard', async () => {
    const { context } = fixture;
    const gone = await startRedis();
    const deaf = openRedis(gone.url, { role: 'subscriber', onError: () => undefined });
    const subscriber = new StreamSubscriber(deaf, context.log);
    await gone.kill();
    const streamId = createStreamId();
    try {
      const opening = openLog({ ...context, subscriber }, streamId, {
        tenantId: 'deaf',
        route: { queues: { llm: 'llm-test' }, firstStage: 'llm' },
        deadlines: JOB_CATALOG.transcription.deadlines,
        opening: { kind: 'transcription', model: 'm' },
      });
      await expect(opening).rejects.toMatchObject({ code: 'queue_unavailable' });
      await until(async () => (await statusOf(streamId)) === 'error');
      expect(await context.tenantStreams.list('deaf')).toEqual([]);
    } finally {
      subscriber.close();
      deaf.disconnect();
      await gone.close();
    }
  }, 20_000);
});

describe('an end that Redis did not take', () => {
  it('is told when Redis is back: nobody works on for a client that left', async () => {
    const own = await startRedis(['--appendfsync', 'always']);
    const away = await startReplyFixture(own.url);
    const streamOf = (streamId: string) => away.context.log.state(streamId);
    try {
      away.plan({
        reply: replyChatStream,
        produce: async (streamId) => {
          const { log } = away.context;
          const claim = await log.claim(streamId, 'chat', 'w1');
          await log.producer(streamId, 'chat', claim).append(delta(frame('a')));
        },
      });
      const leave = new AbortController();
      const response = await fetch(away.baseUrl, { signal: leave.signal });
      await response.body?.getReader().read();
      const { streamId = '' } = away.opened() ?? {};
      await own.kill();
      await until(() => !away.context.redisReady());
      leave.abort();
      await until(() => away.context.watch.streams.size === 0);
      await own.restart();
      await until(() => away.context.redisReady());
      await until(async () => (await streamOf(streamId))?.['status'] !== 'open');
      expect((await streamOf(streamId))?.['status']).toBe('cancelled');
    } finally {
      await away.close();
      await own.close();
    }
  }, 30_000);
});
