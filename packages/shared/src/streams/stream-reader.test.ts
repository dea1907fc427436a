import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VoiceError } from '../errors/voice-error.ts';
import { openRedis } from '../queue/redis.ts';
import { OPENING, TEXT_END, textDelta } from '../testing/log-fixture.ts';
import { encodeEvent } from './event-codec.ts';
import type { StreamEntry } from './stream-event.ts';
import { logKey, stateKey } from './stream-key.ts';
import { StreamLog, type StreamMessage, parseMessage } from './stream-log.ts';
import { StreamReader } from './stream-reader.ts';
import type { ScriptedRedis } from './stream-scripts.ts';

let server: RedisServer;
let redis: ScriptedRedis;
let log: StreamLog;

const ignore = () => undefined;
const opening = { ...OPENING, maxLogBytes: 1e9 };

/** Repeatable: the seed stands in the test's name. */
function createRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b_3c6d) + 0x6d2b_79f5) | 0;
    return ((state ^ (state >>> 13)) >>> 0) % below;
  };
}

/** A stream with `sizes` as its entries, closed by its end; and a reader that hears nothing by itself. */
async function writeStream(sizes: number[]) {
  const streamId = await log.open(opening);
  const claim = await log.claim(streamId, 'chat', 'w1');
  const producer = log.producer(streamId, 'chat', claim);
  for (const [index, size] of sizes.entries())
    await producer.append(textDelta(`${index}`.padEnd(size)));
  await producer.append(TEXT_END, { ends: 'stream' });
  return { streamId, reader: new StreamReader(streamId, log, ignore) };
}

async function messagesOf(streamId: string): Promise<StreamMessage[]> {
  const { entries } = await log.read(streamId, 1, 10_000);
  return entries.map(({ seq, terminal, event }) => ({
    seq,
    terminal,
    encoded: encodeEvent(event),
  }));
}

async function readAll(reader: StreamReader): Promise<StreamEntry[]> {
  const entries: StreamEntry[] = [];
  while (!entries.at(-1)?.terminal) entries.push(...(await reader.next()));
  return entries;
}

const seqsOf = (entries: StreamEntry[]) => entries.map(({ seq }) => seq);
const oneTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: ignore });
  log = new StreamLog(redis);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

describe('whatever happens to the messages', () => {
  const seeds = oneTo(25);

  it.each(seeds)('gives 1..n without hole or double (seed %i)', async (seed) => {
    const random = createRandom(seed);
    const sizes = Array.from({ length: 1 + random(60) }, () =>
      random(8) === 0 ? 30_000 + random(60_000) : 1 + random(300),
    );
    const { streamId, reader } = await writeStream(sizes);
    const messages = (await messagesOf(streamId)).flatMap((message) => {
      const fate = random(10);
      if (fate === 0) return []; // lost
      if (fate === 1) return [message, message];
      return fate === 2 ? [{ ...message, encoded: undefined }] : [message];
    });
    for (let count = random(messages.length + 1); count > 0; count -= 1) {
      const [from, to] = [random(messages.length), random(messages.length)];
      messages.splice(to, 0, ...messages.splice(from, 1)); // delayed, or early
    }
    const reading = readAll(reader);
    for (const message of messages) {
      reader.receive(message);
      if (random(3) === 0) await redis.ping();
    }
    reader.catchUp(); // what silence does
    expect(seqsOf(await reading)).toEqual(oneTo(sizes.length + 2));
    reader.close();
  });
});

it('reads all of a stream of which it heard nothing', async () => {
  const { reader } = await writeStream(Array.from({ length: 400 }, () => 20));
  reader.catchUp();
  expect(seqsOf(await readAll(reader))).toEqual(oneTo(402));
});

describe('memory', () => {
  it('holds at most 256 KiB of messages that nobody takes', async () => {
    const { streamId, reader } = await writeStream(Array.from({ length: 40 }, () => 60_000));
    for (const message of await messagesOf(streamId)) reader.receive(message);
    const batches: number[] = [];
    for (let terminal = false; !terminal;) {
      const entries = await reader.next();
      batches.push(entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
      terminal = entries.at(-1)?.terminal === true;
    }
    expect(Math.max(...batches)).toBeLessThanOrEqual(262_144);
  });

  it('reads a log of large entries of which it heard nothing in small pieces', async () => {
    const { reader } = await writeStream(Array.from({ length: 60 }, () => 64_000));
    reader.catchUp();
    const first = await reader.next();
    expect(first.length).toBeLessThanOrEqual(16);
    const second = await reader.next();
    expect(second.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)).toBeLessThanOrEqual(262_144);
    expect(seqsOf([...first, ...second])).toEqual(oneTo(first.length + second.length));
  });
});

describe('a reader that lies behind', () => {
  class CountedLog extends StreamLog {
    reads = 0;
    override async read(...asked: Parameters<StreamLog['read']>) {
      this.reads += 1;
      return super.read(...asked);
    }
  }
  it.each([
    ['was woken without the entries', []],
    ['had a large entry among small ones', [64_000]],
  ])('and %s reads many small ones at once', async (_what, larger) => {
    const sizes = [...larger, ...Array.from({ length: 1000 }, () => 300)];
    const { streamId } = await writeStream(sizes);
    const counted = new CountedLog(redis);
    const reader = new StreamReader(streamId, counted, ignore);
    const messages = await messagesOf(streamId);
    for (const message of messages) reader.receive({ ...message, encoded: undefined });
    expect(seqsOf(await readAll(reader))).toEqual(oneTo(sizes.length + 2));
    // 16 while nothing is known of their size, and four times 256; 3 at a time were 334 reads.
    expect(counted.reads).toBeLessThanOrEqual(7);
  });
});

describe('an event that this version does not know', () => {
  it('is passed over when its type is new', async () => {
    const streamId = await log.open(opening);
    const producer = log.producer(streamId, 'chat', await log.claim(streamId, 'chat', 'w1'));
    await producer.append(textDelta('a'));
    await redis.xadd(logKey(streamId), '3-0', 'f', '.', 'e', Buffer.from([1, 99, 7]));
    await redis.hset(stateKey(streamId), 'seq', 3);
    await producer.append(textDelta('b'));
    await producer.append(TEXT_END, { ends: 'stream' });
    const reader = new StreamReader(streamId, log, ignore);
    for (const seq of [1, 2, 4, 5]) {
      if (seq === 4) reader.receive({ seq: 3, terminal: false, encoded: Buffer.from([1, 99, 7]) });
      const [entry] = await reader.readAgain(seq, 1);
      if (entry) reader.receive({ ...entry, encoded: encodeEvent(entry.event) });
    }
    expect(seqsOf(await readAll(reader))).toEqual([1, 2, 4, 5]);
  });

  it('ends the stream by an error, and not the process, when its version is new', async () => {
    const { reader } = await writeStream([1]);
    expect(() =>
      reader.receive({ seq: 1, terminal: false, encoded: Buffer.from([2, 2, 65]) }),
    ).not.toThrow();
    await expect(reader.next()).rejects.toMatchObject({ code: 'internal_error' });
  });

  it.each([
    [Buffer.alloc(0)],
    [Buffer.from('.1:')],
    [Buffer.from('!0:x')],
    [Buffer.from('.1:\u0001\u0003{')],
  ])('does not throw for the message %o', async (message) => {
    const { reader } = await writeStream([1]);
    expect(() => reader.receive(parseMessage(message))).not.toThrow();
    reader.close();
  });
});

describe('its end', () => {
  it('fail makes a waiting next throw, and later ones', async () => {
    const streamId = await log.open(opening);
    const reader = new StreamReader(streamId, log, ignore);
    const waiting = reader.next();
    reader.fail(new VoiceError('stream_timeout'));
    await expect(waiting).rejects.toMatchObject({ code: 'stream_timeout' });
    await expect(reader.next()).rejects.toMatchObject({ code: 'stream_timeout' });
  });

  it('fail ends a read that Redis does not answer', async () => {
    const { reader } = await writeStream([10]);
    process.kill(server.pid, 'SIGSTOP');
    try {
      reader.catchUp();
      const next = reader.next();
      reader.fail(new VoiceError('stream_idle_timeout'));
      await expect(next).rejects.toMatchObject({ code: 'stream_idle_timeout' });
    } finally {
      process.kill(server.pid, 'SIGCONT');
    }
  });

  it('close makes a waiting next give nothing, and tells once', async () => {
    const streamId = await log.open(opening);
    let closed = 0;
    const reader = new StreamReader(streamId, log, () => {
      closed += 1;
    });
    const waiting = reader.next();
    reader.close();
    reader.close();
    expect(await waiting).toEqual([]);
    expect(closed).toBe(1);
  });

  it('takes an end that is not in the log: storage_full', async () => {
    const streamId = await log.open(opening);
    const reader = new StreamReader(streamId, log, ignore);
    const waiting = reader.next();
    const error = new VoiceError('storage_full').serialize();
    reader.receive({
      seq: 0,
      terminal: true,
      encoded: encodeEvent({ type: 'stream-error', error }),
    });
    await expect(waiting).rejects.toMatchObject({ code: 'storage_full' });
    expect(reader.sawEnd).toBe(true);
  });

  it('tells when Redis came back without what was delivered already', async () => {
    const streamId = await log.open(opening);
    const claim = await log.claim(streamId, 'chat', 'w1');
    const producer = log.producer(streamId, 'chat', claim);
    for (const word of ['a', 'b', 'c']) await producer.append(textDelta(word));
    const reader = new StreamReader(streamId, log, ignore);
    reader.catchUp();
    expect(seqsOf(await reader.next())).toEqual([1, 2, 3, 4]);
    await redis.xdel(logKey(streamId), '3-0', '4-0');
    await redis.hset(stateKey(streamId), 'seq', 2, 'chat:index', 1);
    reader.catchUp();
    await expect(reader.next()).rejects.toMatchObject({ code: 'queue_unavailable' });
    await expect(producer.append(textDelta('d'))).rejects.toMatchObject({ reason: 'gap' });
  });
});

it('goes on after Redis was killed and came back', async () => {
  const { reader } = await writeStream(Array.from({ length: 50 }, () => 20));
  reader.catchUp();
  const entries = await reader.next();
  await redis.config('SET', 'appendfsync', 'always');
  await server.kill();
  reader.catchUp();
  const rest = readAll(reader);
  await server.restart();
  await until(() => redis.status === 'ready');
  expect(seqsOf([...entries, ...(await rest)])).toEqual(oneTo(52));
}, 30_000);

it('lets a stop overtake what waits', async () => {
  const streamId = await log.open(opening);
  const producer = log.producer(streamId, 'chat', await log.claim(streamId, 'chat', 'w1'));
  for (let index = 0; index < 20; index += 1) await producer.append(textDelta(`${index}`));
  await log.finish(streamId, new VoiceError('stream_cancelled'));
  const reader = new StreamReader(streamId, log, ignore);
  for (const message of await messagesOf(streamId)) reader.receive(message);
  const [first] = await reader.next();
  expect(first).toMatchObject({ terminal: true, event: { error: { code: 'stream_cancelled' } } });
  reader.close();
});
