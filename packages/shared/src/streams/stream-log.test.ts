import { VoiceError } from '../errors/voice-error.ts';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type LogFixture,
  OPENING,
  TEXT_END,
  openLogFixture,
  textDelta,
} from '../testing/log-fixture.ts';
import type { StreamEntry } from './stream-event.ts';
import { logKey, stateKey } from './stream-key.ts';
import type { StreamLog, StreamOpening } from './stream-log.ts';
import { StreamClosed, type StreamProducer } from './stream-producer.ts';
import type { StreamReader } from './stream-reader.ts';
import type { StreamSubscriber } from './stream-subscriber.ts';
import type { ScriptedRedis } from './stream-scripts.ts';

let server: RedisServer;
let redis: ScriptedRedis;
let fixture: LogFixture;
let log: StreamLog;
let subscriber: StreamSubscriber;

const readAll = async (reader: StreamReader): Promise<StreamEntry[]> => {
  const entries: StreamEntry[] = [];
  for (;;) {
    entries.push(...(await reader.next()));
    if (entries.at(-1)?.terminal) return entries;
  }
};
const textsOf = (entries: StreamEntry[]) =>
  entries.flatMap(({ event }) => (event.type === 'text-delta' ? [event.bytes.toString()] : []));

beforeAll(async () => {
  server = await startRedis();
  fixture = openLogFixture(server.url);
  ({ redis, log, subscriber } = fixture);
});
afterAll(async () => {
  fixture.close();
  await server.close();
});

it('delivers entries in order and ends once', async () => {
  const { streamId, producer: writer } = await fixture.openProducer();
  const reader = await subscriber.subscribe(streamId);
  for (let index = 0; index < 50; index += 1) await writer.append(textDelta(`t${index} `));
  await writer.append(TEXT_END, { ends: 'stream' });
  const entries = await readAll(reader);
  expect(entries.map((entry) => entry.seq)).toEqual(entries.map((_, index) => index + 1));
  expect(textsOf(entries).join('')).toBe(Array.from({ length: 50 }, (_, i) => `t${i} `).join(''));
  await expect(writer.append(textDelta('late'))).rejects.toThrow(StreamClosed);
  reader.close();
  expect(subscriber.readerCount).toBe(0);
});

it('fences a run whose job was claimed again', async () => {
  const { streamId, producer: writer } = await fixture.openProducer();
  await writer.append(textDelta('a'));
  const second = await log.claim(streamId, 'chat', 'w2');
  expect(second).toMatchObject({ status: 'open', epoch: 2, lastIndex: 1 });
  await expect(writer.append(textDelta('b'))).rejects.toMatchObject({ reason: 'fenced' });
  await log.producer(streamId, 'chat', second).append(textDelta('c'));
});

it('writes a command that is sent twice once', async () => {
  const { streamId, claim } = await fixture.openProducer();
  const twins = [log.producer(streamId, 'chat', claim), log.producer(streamId, 'chat', claim)];
  for (const twin of twins) await twin.append(textDelta('same'));
  const { entries } = await log.read(streamId, 1, 100);
  expect(textsOf(entries)).toEqual(['same']);
});

it('answers a repeated last command with success although the stream is done', async () => {
  const { streamId, claim } = await fixture.openProducer();
  for (const twin of [1, 2].map(() => log.producer(streamId, 'chat', claim))) {
    await twin.append(TEXT_END, { ends: 'stream' });
  }
  expect((await log.read(streamId, 1, 100)).entries).toHaveLength(2);
});

it('lets the first end win and tells later ones', async () => {
  const { streamId, producer: writer } = await fixture.openProducer();
  expect(await log.finish(streamId, new VoiceError('stream_cancelled'))).toBe('cancelled');
  expect(await log.finish(streamId, new VoiceError('stream_timeout'))).toBe('cancelled');
  await expect(writer.append(TEXT_END, { ends: 'stream' })).rejects.toMatchObject({
    reason: 'cancelled',
  });
  const terminals = (await log.read(streamId, 1, 100)).entries.filter((entry) => entry.terminal);
  expect(terminals).toHaveLength(1);
  expect(await log.claim(streamId, 'chat', 'w')).toMatchObject({ status: 'cancelled' });
});

it("does not end another tenant's stream", async () => {
  const { streamId } = await fixture.openProducer();
  expect(
    await log.finish(streamId, new VoiceError('stream_cancelled'), { tenantId: 'other' }),
  ).toBe('gone');
  expect((await log.state(streamId))?.['status']).toBe('open');
});

it('holds a producer back while MAX_LOG_BYTES lie unread, and no longer', async () => {
  const { streamId, producer: writer } = await fixture.openProducer({ maxLogBytes: 500 });
  let appended = 0;
  const writing = (async () => {
    for (let index = 0; index < 20; index += 1) {
      await writer.append(textDelta('x'.repeat(100)));
      appended += 1;
    }
    await writer.append(TEXT_END, { ends: 'stream' });
  })();
  let delivered = 0;
  const reader = await subscriber.subscribe(streamId);
  for (let terminal = false; !terminal;) {
    for (const entry of await reader.next()) {
      const unread = Number((await log.state(streamId))?.['bytes']) - delivered;
      expect(unread).toBeLessThanOrEqual(650);
      delivered += entry.sizeBytes;
      terminal = entry.terminal;
      await log.acknowledge(streamId, { seq: entry.seq, bytes: delivered, samples: 0 });
    }
  }
  await writing;
  expect(appended).toBe(20);
  reader.close();
});

describe('a log full of later phrases', () => {
  const audio = (phraseIndex: number, chunkIndex: number) => ({
    ...{ type: 'audio-delta' as const, phraseIndex, chunkIndex, pcm: Buffer.alloc(490) },
  });
  const holdBack = async () => {
    const options = { kind: 'speech' as const, phraseCount: 3, parallelPhrases: 3 };
    const full = { ...OPENING, ...options, speech: '{}', aheadSamples: 1e6 };
    const streamId = await log.open(full);
    const texts = ['a', 'b', 'c'].map((phrase) => ({ text: phrase }));
    await log.addPhrases(streamId, 0, texts);
    await log.release(streamId);
    const voices = [];
    for (const index of [0, 1, 2]) {
      const name = `phrase-${index}`;
      voices.push(log.producer(streamId, name, await log.claim(streamId, name, 'w')));
    }
    const [first, second, third] = voices as [StreamProducer, StreamProducer, StreamProducer];
    await third.append(audio(2, 0), { samples: 245 });
    await second.append(audio(1, 0), { samples: 245 });
    return { streamId, first, second };
  };
  /** Whether an entry is taken within a while. */
  const isTaken = async (voice: StreamProducer, event: ReturnType<typeof audio>) => {
    const signal = AbortSignal.timeout(300);
    const appending = voice.append(event, { samples: 245, signal });
    return appending.then(
      () => true,
      () => false,
    );
  };

  it('takes the phrase that they wait for, and no other one', async () => {
    const { first, second } = await holdBack();
    expect(await isTaken(second, audio(1, 1))).toBe(false);
    expect(await isTaken(first, audio(0, 0))).toBe(true);
  });

  it('holds that phrase back as well once it is full of it', async () => {
    const { first } = await holdBack();
    expect(await isTaken(first, audio(0, 0))).toBe(true);
    expect(await isTaken(first, audio(0, 1))).toBe(false);
  });

  it('takes the next one when that has ended', async () => {
    const { first, second } = await holdBack();
    await first.append({ type: 'audio-end', phraseIndex: 0 }, { ends: 'phrase' });
    expect(await isTaken(second, audio(1, 1))).toBe(false); // of its own there is as much
    const { first: other, second: next } = await holdBack();
    await other.append({ type: 'audio-end', phraseIndex: 0 }, { ends: 'phrase' });
    expect(await isTaken(next, { ...audio(1, 1), pcm: Buffer.alloc(300) })).toBe(true);
  });
});

it('counts nothing as unread that no reader tells of', async () => {
  const { streamId } = await fixture.openProducer();
  expect(await log.state(streamId)).toMatchObject({ bytes: '0' }); // claims
});

it('forgets what is delivered although Redis is full', async () => {
  const { streamId, producer: writer } = await fixture.openProducer();
  for (const word of ['a', 'b', 'c']) await writer.append(textDelta(word));
  await redis.config('SET', 'maxmemory', '1');
  try {
    await log.acknowledge(streamId, { seq: 3, bytes: 6, samples: 0 });
  } finally {
    await redis.config('SET', 'maxmemory', '0');
  }
  expect(await redis.xlen(logKey(streamId))).toBe(1);
  expect(await log.state(streamId)).toMatchObject({ read: '6' });
});

it('drops delivered entries from the log unless the stream is resumable', async () => {
  for (const resumable of [false, true]) {
    const { streamId, producer: writer } = await fixture.openProducer({ resumable });
    for (const word of ['a', 'b', 'c']) await writer.append(textDelta(word));
    await log.acknowledge(streamId, { seq: 3, bytes: 10, samples: 0 });
    expect(await redis.xlen(logKey(streamId))).toBe(resumable ? 4 : 1);
  }
});

it('ends an audio stream by its last phrase, in whatever order they end', async () => {
  const streamId = await log.open({ ...OPENING, kind: 'speech', phraseCount: 2 });
  const writers = [];
  for (const name of ['phrase-0', 'phrase-1']) {
    writers.push(log.producer(streamId, name, await log.claim(streamId, name, 'w')));
  }
  await writers[1]?.append({ type: 'audio-end', phraseIndex: 1 }, { ends: 'phrase' });
  expect((await log.state(streamId))?.['status']).toBe('open');
  await writers[0]?.append({ type: 'audio-end', phraseIndex: 0 }, { ends: 'phrase' });
  expect((await log.state(streamId))?.['status']).toBe('done');
});

it('releases phrases while few run and little audio is unsent', async () => {
  const speech = '{"voice":"x"}';
  const options = { kind: 'speech' as const, phraseCount: 4, parallelPhrases: 2 };
  const streamId = await log.open({ ...OPENING, ...options, aheadSamples: 100, speech });
  await log.addPhrases(
    streamId,
    0,
    ['a', 'b', 'c', 'd'].map((text) => ({ text })),
  );
  const first = await log.release(streamId);
  expect(first).toEqual({
    speech,
    phrases: [
      { phraseIndex: 0, text: 'a' },
      { phraseIndex: 1, text: 'b' },
    ],
  });
  expect((await log.release(streamId)).phrases).toEqual([]);
  const writer = log.producer(streamId, 'phrase-0', await log.claim(streamId, 'phrase-0', 'w'));
  const pcm = Buffer.alloc(200);
  await writer.append(
    { type: 'audio-delta', phraseIndex: 0, chunkIndex: 0, pcm },
    { samples: 100 },
  );
  await writer.append({ type: 'audio-end', phraseIndex: 0 }, { ends: 'phrase' });
  expect((await log.release(streamId)).phrases).toEqual([]);
  await log.acknowledge(streamId, { seq: 4, bytes: 200, samples: 50 });
  expect((await log.release(streamId)).phrases).toEqual([{ phraseIndex: 2, text: 'c' }]);
});

it('releases only so many phrases behind one that is not spoken yet', async () => {
  const options = { kind: 'speech' as const, phraseCount: 300, parallelPhrases: 2, speech: '{}' };
  const streamId = await log.open({ ...OPENING, ...options, aheadSamples: 100 });
  const texts = Array.from({ length: 300 }, () => ({ text: 'x' }));
  await log.addPhrases(streamId, 0, texts);
  const end = async (phraseIndex: number) => {
    const name = `phrase-${phraseIndex}`;
    const voice = log.producer(streamId, name, await log.claim(streamId, name, 'w'));
    await voice.append({ type: 'audio-end', phraseIndex }, { ends: 'phrase' });
  };
  await log.claim(streamId, 'phrase-0', 'w');
  let last = 0;
  for (let count = 0; count < 300; count += 1) {
    const { phrases } = await log.release(streamId);
    for (const { phraseIndex } of phrases) {
      last = phraseIndex;
      if (phraseIndex > 0) await end(phraseIndex);
    }
  }
  expect(last).toBe(255);
  await end(0);
  const { phrases } = await log.release(streamId);
  expect(phrases.map(({ phraseIndex }) => phraseIndex)).toEqual([256, 257]);
});

it('survives lost messages: all entries arrive in order', async () => {
  const { streamId, producer: writer } = await fixture.openProducer({ maxLogBytes: 1_000_000 });
  const reader = await subscriber.subscribe(streamId);
  const reading = readAll(reader);
  for (let index = 0; index < 300; index += 1) {
    await writer.append(textDelta(`${index},`));
    if (index % 60 === 30) await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  }
  await writer.append(TEXT_END, { ends: 'stream' });
  const entries = await reading;
  expect(textsOf(entries).join('')).toBe(Array.from({ length: 300 }, (_, i) => `${i},`).join(''));
  reader.close();
}, 20_000);

it('reads large entries, and far more than it may hold, in order', async () => {
  const { streamId, producer: writer } = await fixture.openProducer({ maxLogBytes: 100_000_000 });
  const reader = await subscriber.subscribe(streamId);
  const sizes = [10, 40_000, 100, 200_000, 300_000, 5];
  for (let round = 0; round < 5; round += 1) {
    for (const size of sizes) await writer.append(textDelta('y'.repeat(size)));
  }
  await writer.append(TEXT_END, { ends: 'stream' });
  const entries = await readAll(reader);
  expect(textsOf(entries).map((content) => content.length)).toEqual(
    [1, 2, 3, 4, 5].flatMap(() => sizes),
  );
  reader.close();
});

it('gives every key of a stream a time to live', async () => {
  const { streamId, producer: writer } = await fixture.openProducer();
  await writer.append(textDelta('a'));
  expect(await redis.pttl(logKey(streamId))).toBeGreaterThan(30_000);
  await writer.append(TEXT_END, { ends: 'stream' });
  for (const key of [logKey(streamId), stateKey(streamId)]) {
    const ttl = await redis.pttl(key);
    expect(ttl).toBeGreaterThan(0);
    expect(ttl).toBeLessThanOrEqual(30_000);
  }
});

it('tells a reader whose stream was deleted', async () => {
  const { streamId } = await fixture.openProducer();
  const reader = await subscriber.subscribe(streamId);
  await redis.del(stateKey(streamId), logKey(streamId));
  reader.catchUp();
  await expect(reader.next()).rejects.toMatchObject({ code: 'queue_unavailable' });
  reader.close();
});

describe('a spoken answer', () => {
  const speech = JSON.stringify({ voice: 'x' });
  const cut = (phraseIndex: number) => ({
    event: { type: 'phrase-start' as const, phraseIndex, text: `p${phraseIndex}`, before: '' },
    options: { phrase: { phraseIndex, body: { text: `p${phraseIndex}` } } },
  });
  async function openAnswer(phraseCount: number, options: Partial<StreamOpening> = {}) {
    const ahead = { parallelPhrases: 9, aheadSamples: 1e6, speech };
    const streamId = await log.open({ ...OPENING, ...ahead, ...options });
    const chat = log.producer(streamId, 'chat', await log.claim(streamId, 'chat', 'w'));
    for (let index = 0; index < phraseCount; index += 1) {
      const phrase = cut(index);
      await chat.append(phrase.event, phrase.options);
    }
    return { streamId, chat };
  }
  async function speakPhrase(streamId: string, phraseIndex: number) {
    const name = `phrase-${phraseIndex}`;
    const voice = log.producer(streamId, name, await log.claim(streamId, name, 'w'));
    await voice.append({ type: 'audio-end', phraseIndex }, { ends: 'phrase' });
  }

  it('lays a phrase out in the step that tells of it', async () => {
    const { streamId } = await openAnswer(2);
    expect((await log.release(streamId)).phrases).toEqual([
      { phraseIndex: 0, text: 'p0' },
      { phraseIndex: 1, text: 'p1' },
    ]);
  });

  it('takes no phrase from a run whose lock was lost', async () => {
    const { streamId, chat } = await openAnswer(1);
    await log.claim(streamId, 'chat', 'other');
    const { event, options } = cut(1);
    await expect(chat.append(event, options)).rejects.toMatchObject({ reason: 'fenced' });
    expect((await log.release(streamId)).phrases).toHaveLength(1);
  });

  it('whose text broke off takes nothing more of it, also where its worker still lives', async () => {
    const { streamId, chat } = await openAnswer(1);
    await log.finish(streamId, new VoiceError('stream_interrupted'), { afterPhrases: true });
    const { event, options } = cut(1);
    await expect(chat.append(event, options)).rejects.toMatchObject({ reason: 'fenced' });
    expect(await log.state(streamId)).toMatchObject({ waiting: '1', phraseCount: '1' });
  });

  it('without anything to say ends with its text', async () => {
    const { streamId, chat } = await openAnswer(0);
    const options = { ends: 'text', phraseCount: 0 } as const;
    await chat.append({ type: 'text-end', finishReason: 'stop', phraseCount: 0 }, options);
    expect(await log.state(streamId)).toMatchObject({ status: 'done' });
  });

  it('whose text breaks off is spoken as far as it goes, and then ends with the error', async () => {
    const { streamId } = await openAnswer(2);
    const error = new VoiceError('upstream_protocol');
    expect(await log.finish(streamId, error, { afterPhrases: true })).toBe('open');
    // The first one told stays: a second is another's view of the same failure.
    await log.finish(streamId, new VoiceError('stream_interrupted'), { afterPhrases: true });
    await speakPhrase(streamId, 0);
    expect(await log.state(streamId)).toMatchObject({ status: 'open' });
    await speakPhrase(streamId, 1);
    const { entries, status } = await log.read(streamId, 1, 100);
    expect(status).toBe('error');
    expect(entries.map(({ terminal }) => terminal)).toEqual(entries.map((_, at) => at === 7));
    expect(entries.at(-1)?.event).toMatchObject({ error: { code: 'upstream_protocol' } });
    expect(entries.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it('that plays here ends when it was heard', async () => {
    const streamId = await log.open({ ...OPENING, playback: true, phraseCount: 1, speech });
    const playback = log.producer(streamId, 'playback', await log.claim(streamId, 'playback', 'g'));
    await speakPhrase(streamId, 0);
    expect(await log.state(streamId)).toMatchObject({ status: 'open' });
    await playback.append({ type: 'playback-end' }, { ends: 'stream' });
    expect(await log.state(streamId)).toMatchObject({ status: 'done' });
  });

  it('that plays here and breaks off tells so at once, and ends when it was heard', async () => {
    const { streamId } = await openAnswer(1, { playback: true });
    await speakPhrase(streamId, 0);
    const error = new VoiceError('upstream_protocol');
    for (const again of [error, new VoiceError('stream_interrupted')]) {
      expect(await log.finish(streamId, again, { afterPhrases: true })).toBe('open');
    }
    const told = { type: 'stream-error', error: { code: 'upstream_protocol' } };
    const before = await log.read(streamId, 1, 100);
    expect(before.entries.at(-1)).toMatchObject({ terminal: false, event: told });
    const playback = log.producer(streamId, 'playback', await log.claim(streamId, 'playback', 'g'));
    await playback.append({ type: 'playback-end' }, { ends: 'stream' });
    const { entries, status } = await log.read(streamId, 1, 100);
    expect(status).toBe('error');
    expect(entries.at(-1)).toMatchObject({ terminal: true, event: told });
    expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, at) => at + 1));
    expect(entries.filter(({ terminal }) => terminal)).toHaveLength(1);
  });

  it('that would play here and breaks off before its first phrase ends at once', async () => {
    const { streamId } = await openAnswer(0, { playback: true });
    const error = new VoiceError('upstream_protocol');
    expect(await log.finish(streamId, error, { afterPhrases: true })).toBe('error');
  });

  it('whose text breaks off with nothing left to say ends at once', async () => {
    const { streamId } = await openAnswer(1);
    await speakPhrase(streamId, 0);
    const error = new VoiceError('upstream_protocol');
    expect(await log.finish(streamId, error, { afterPhrases: true })).toBe('error');
  });
});

it('a producer that ends alone is not run again, and its stream goes on', async () => {
  const streamId = await log.open(OPENING);
  const name = 'transcription-0';
  const producer = log.producer(streamId, name, await log.claim(streamId, name, 'w'));
  await producer.append(
    { type: 'transcript-end', language: 'en', durationSeconds: 1 },
    { ends: 'producer' },
  );
  expect((await log.claim(streamId, name, 'w2')).status).toBe('ended');
  expect(await log.state(streamId)).toMatchObject({ status: 'open' });
});

it('notes facts of a stream that is there, and makes no key for one that is gone', async () => {
  const streamId = await log.open(OPENING);
  await log.annotate(streamId, { 'time:first-token': 12 });
  expect(await log.state(streamId)).toMatchObject({ 'time:first-token': '12' });
  await log.annotate('unknown', { a: 1 });
  expect(await log.state('unknown')).toBeUndefined();
});

it('lives on while it is listened to', async () => {
  const streamId = await log.open({ ...OPENING, ttlMs: 5000 });
  await redis.pexpire(stateKey(streamId), 1000);
  await log.acknowledge(streamId, { seq: 0, bytes: 0, samples: 0 });
  expect(await redis.pttl(stateKey(streamId))).toBeGreaterThan(2000);
});

it('lives on behind its end while somebody still reads it', async () => {
  const { streamId, producer } = await fixture.openProducer({ resumable: true });
  await producer.append(TEXT_END, { ends: 'stream' });
  const keys = [stateKey(streamId), logKey(streamId)];
  for (const key of keys) await redis.pexpire(key, 10_000);
  await log.acknowledge(streamId, { seq: 0, bytes: 0, samples: 0 });
  for (const key of keys) expect(await redis.pttl(key)).toBeGreaterThan(10_000);
});
