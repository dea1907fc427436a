import type { JobContext } from '@antiphon/shared/queue/job-worker';
import { expectError } from '@antiphon/testing/error-envelope';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type ScriptedWorker, startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readEvents } from '../testing/read-events.ts';
import { answerChat, speakPhrases } from '../testing/scripted-handlers.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

const CHUNK_BYTES = 9606;
const CHUNKS = 12;

let server: RedisServer;
let asking: Redis;
let first: TestGateway;
let second: TestGateway;
let llm: ScriptedWorker<'chat'>;
let tts: ScriptedWorker<'speech'>;
let write: (context: JobContext<'chat'>) => Promise<void>;
/** Lets the voice go on behind its fourth chunk; rejected, it fails. */
let goOn: PromiseWithResolvers<void>;

async function say({ job, producer, signal }: JobContext<'speech'>): Promise<void> {
  const { phraseIndex } = job;
  signal.addEventListener('abort', () => goOn.reject(signal.reason as Error));
  for (let chunkIndex = 0; chunkIndex < CHUNKS; chunkIndex += 1) {
    if (chunkIndex === 4) await goOn.promise;
    // A tone that climbs: every chunk is another one.
    const pcm = Buffer.alloc(CHUNK_BYTES);
    for (let at = 0; at < CHUNK_BYTES; at += 2) {
      pcm.writeInt16LE(Math.round(9000 * Math.sin((at * (chunkIndex + 3)) / 40)), at);
    }
    await producer.append(
      { type: 'audio-delta', phraseIndex, chunkIndex, pcm },
      { samples: CHUNK_BYTES / 2, signal },
    );
  }
  await producer.append({ type: 'audio-end', phraseIndex }, { ends: 'phrase', signal });
}

beforeAll(async () => {
  server = await startRedis();
  const redisUrl = server.url;
  llm = await startScriptedWorker({
    ...{ redisUrl, kind: 'chat', announced: { models: ['scripted'] } },
    handler: (context) => write(context),
  });
  tts = await startScriptedWorker({
    ...{ redisUrl, kind: 'speech', announced: { models: ['tts-1'], voices: 'any' } },
    handler: say,
  });
  asking = new Redis(redisUrl);
  first = await openTestGateway(redisUrl);
  second = await openTestGateway(redisUrl);
});
beforeEach(() => {
  goOn = Promise.withResolvers();
  goOn.promise.catch(() => undefined);
  write = speakPhrases(['Good morning.']);
});
afterEach(async () => {
  for (const { context } of [first, second]) {
    await until(() => context.watch.streams.size === 0, { what: 'no stream under watch' });
  }
});
afterAll(async () => {
  await first?.close();
  await second?.close();
  await Promise.all([llm, tts].map((worker) => worker?.close()));
  asking?.disconnect();
  await server?.close();
});

const post = (path: string, body: object) =>
  fetch(`${first.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-stream-resume': '1' },
    body: JSON.stringify(body),
  });
const speech = (format: string) =>
  post('/v1/audio/speech', { input: 'Good morning.', response_format: format });
const listen = (streamId: string, query = '', headers: Record<string, string> = {}) =>
  fetch(`${second.url}/v1/streams/${streamId}/audio${query}`, { headers });
const idOf = (response: Response) => response.headers.get('x-stream-id') ?? '';
/** How often somebody read of a log. */
const logReads = async (): Promise<number> => {
  const statistics = await asking.info('commandstats');
  return Number(/cmdstat_xrange:calls=(\d+)/.exec(statistics)?.[1] ?? 0);
};
const bytesOf = async (response: Response) => Buffer.from(await response.arrayBuffer());

describe('of a finished stream', () => {
  beforeEach(() => goOn.resolve());

  it.each(['mp3', 'opus', 'flac', 'wav', 'pcm'])(
    '%s: all of it, and every range',
    async (format) => {
      const answer = await speech(format);
      const sound = await bytesOf(answer);
      const whole = await listen(idOf(answer));
      expect(whole.status).toBe(200);
      expect(whole.headers.get('content-type')).toBe(answer.headers.get('content-type'));
      expect(whole.headers.get('content-length')).toBe(String(sound.length));
      expect((await bytesOf(whole)).equals(sound)).toBe(true);

      const middle = Math.floor(sound.length / 2);
      const ranges: [string, number, number][] = [
        ['bytes=0-0', 0, 0],
        ['bytes=0-', 0, sound.length - 1],
        [`bytes=${middle}-`, middle, sound.length - 1],
        [`bytes=1-${middle}`, 1, middle],
        [`bytes=${sound.length - 1}-${sound.length + 5}`, sound.length - 1, sound.length - 1],
        ['bytes=-100', sound.length - 100, sound.length - 1],
      ];
      for (const [range, start, end] of ranges) {
        const part = await listen(idOf(answer), '', { range });
        expect(part.status).toBe(206);
        expect(part.headers.get('content-range')).toBe(`bytes ${start}-${end}/${sound.length}`);
        expect((await bytesOf(part)).equals(sound.subarray(start, end + 1))).toBe(true);
      }
      const behind = await listen(idOf(answer), '', { range: `bytes=${sound.length}-` });
      expect(behind.headers.get('content-range')).toBe(`bytes */${sound.length}`);
      await expectError(behind, { status: 416, code: 'range_not_satisfiable' });
    },
  );

  it('a spoken chat, in any format', async () => {
    const body = {
      messages: [{ role: 'user', content: 'go' }],
      modalities: ['text', 'audio'],
      audio: { voice: 'alloy', format: 'pcm16' },
    };
    const answer = await post('/v1/chat/completions', body);
    const { choices } = (await answer.json()) as {
      choices: { message: { audio: { data: string } } }[];
    };
    const sound = Buffer.from(choices[0]?.message.audio.data ?? '', 'base64');
    expect(sound.length).toBe(CHUNK_BYTES * CHUNKS);
    expect((await bytesOf(await listen(idOf(answer)))).equals(sound)).toBe(true);
    const wav = await bytesOf(await listen(idOf(answer), '?format=wav'));
    expect(wav.subarray(44).equals(sound)).toBe(true);
  });

  it('its length is counted once, and a range read no further than it goes', async () => {
    const answer = await speech('pcm');
    await bytesOf(answer);
    await until(() => first.context.watch.streams.size === 0);
    const readsOf = async (range: string): Promise<number> => {
      const before = await logReads();
      expect((await listen(idOf(answer), '', { range })).status).toBe(206);
      return (await logReads()) - before;
    };
    expect(await readsOf('bytes=0-1')).toBeGreaterThan(1);
    expect(await readsOf('bytes=2-3')).toBe(1);
  });

  it('a range of another body is not given', async () => {
    const answer = await speech('pcm');
    const sound = await bytesOf(answer);
    const headers = { range: 'bytes=0-9', 'if-range': `"${idOf(answer)}-mp3"` };
    expect(await bytesOf(await listen(idOf(answer), '', headers))).toHaveLength(sound.length);
    headers['if-range'] = `"${idOf(answer)}-pcm"`;
    expect(await bytesOf(await listen(idOf(answer), '', headers))).toHaveLength(10);
  });
});

describe('of a stream that still runs', () => {
  it('all of it as it comes', async () => {
    const answer = await speech('mp3');
    const following = await listen(idOf(answer));
    expect(following.status).toBe(200);
    expect(following.headers.get('content-length')).toBeNull();
    goOn.resolve();
    const [sound, again] = await Promise.all([bytesOf(answer), bytesOf(following)]);
    expect(again.equals(sound)).toBe(true);
  });

  it('a range of what is there', async () => {
    const answer = await speech('pcm');
    const streamId = idOf(answer);
    const there = CHUNK_BYTES * 4;
    const part = await until(async () => {
      const asked = await listen(streamId, '', { range: 'bytes=1000-' });
      const bytes = asked.status === 206 ? await bytesOf(asked) : Buffer.alloc(0);
      return bytes.length === there - 1000 ? { asked, bytes } : undefined;
    });
    expect(part.asked.headers.get('content-range')).toBe(`bytes 1000-${there - 1}/*`);
    const behind = await listen(streamId, '', { range: `bytes=${there}-` });
    expect(behind.headers.get('content-range')).toBeNull();
    await expectError(behind, { status: 416, code: 'range_not_satisfiable' });
    goOn.resolve();
    expect((await bytesOf(answer)).subarray(1000, there).equals(part.bytes)).toBe(true);
  });

  it('a cut where the first answer was cut', async () => {
    const answer = await speech('pcm');
    goOn.reject(new TypeError('broken'));
    await expect(bytesOf(answer)).rejects.toThrow('terminated');
    await expect(bytesOf(await listen(idOf(answer)))).rejects.toThrow('terminated');
    const part = await listen(idOf(answer), '', { range: 'bytes=0-99' });
    expect(await bytesOf(part)).toHaveLength(100);
  });
});

describe('refused', () => {
  it('aac, and what is no format', async () => {
    goOn.resolve();
    const answer = await speech('aac');
    await bytesOf(answer);
    for (const query of ['', '?format=aac', '?format=midi']) {
      const refused = await listen(idOf(answer), query);
      await expectError(refused, { status: 400, code: 'unsupported_value', param: 'format' });
    }
    const mp3 = await listen(idOf(answer), '?format=mp3');
    expect(mp3.headers.get('content-type')).toBe('audio/mpeg');
    await bytesOf(mp3);
  });

  it('a stream without a sound', async () => {
    write = answerChat('Hello.');
    const messages = [{ role: 'user', content: 'go' }];
    const answer = await post('/v1/chat/completions', { messages, stream: true });
    await readEvents(answer);
    const refused = await listen(idOf(answer));
    await expectError(refused, { status: 400, code: 'stream_not_resumable' });
  });
});
