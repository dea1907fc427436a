import { once } from 'node:events';
import type { JobContext } from '@antiphon/shared/queue/job-worker';
import { openRedis, whenReady } from '@antiphon/shared/queue/redis';
import type { ScriptedRedis } from '@antiphon/shared/streams/stream-scripts';
import { expectError } from '@antiphon/testing/error-envelope';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type ScriptedWorker, startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { idOf, readEvents, withoutId } from '../testing/read-events.ts';
import {
  answerChat,
  chatFrame,
  hearOneSegment,
  speakPhrases,
} from '../testing/scripted-handlers.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

const KEY = 'key-of-tenant-a-0123456789';
const OTHER_KEY = 'key-of-tenant-b-0123456789';
/** Above the pauses of a busy machine: clients come back within it. */
const GRACE_MS = 1500;
const WORDS = ['one ', 'two ', 'three ', 'four ', 'five'];

let server: RedisServer;
let redis: ScriptedRedis;
/** `first` opens; `second` is where clients come back. */
let first: TestGateway;
let second: TestGateway;
let workers: (
  | ScriptedWorker<'chat'>
  | ScriptedWorker<'speech'>
  | ScriptedWorker<'transcription'>
)[];
let write: (context: JobContext<'chat'>) => Promise<void>;
/** Lets `sayWords` go on behind its second word. */
let goOn: PromiseWithResolvers<void>;
let aborted: string[];

const environment = {
  API_KEYS: `${KEY},${OTHER_KEY}`,
  RESUME_GRACE_MS: String(GRACE_MS),
};

/** Two words; the others when they are let; then the end. */
async function sayWords({ producer, signal }: JobContext<'chat'>): Promise<void> {
  signal.addEventListener('abort', () => goOn.reject(signal.reason as Error));
  for (const [index, word] of WORDS.entries()) {
    if (index === 2) await goOn.promise;
    await producer.append({ type: 'text-delta', bytes: chatFrame(word) }, { signal });
  }
  await producer.append({ type: 'text-end', finishReason: 'stop' }, { ends: 'stream', signal });
}

/** Each phrase a sound of its own, in chunks that fit no frame of any encoder. */
async function sayPhrase({ job, producer, signal }: JobContext<'speech'>): Promise<void> {
  const { phraseIndex } = job;
  for (let chunkIndex = 0; chunkIndex < 5; chunkIndex += 1) {
    const pcm = Buffer.alloc(2 * (3001 + phraseIndex), phraseIndex * 5 + chunkIndex + 1);
    await producer.append(
      { type: 'audio-delta', phraseIndex, chunkIndex, pcm },
      { samples: pcm.length / 2, signal },
    );
  }
  await producer.append({ type: 'audio-end', phraseIndex }, { ends: 'phrase', signal });
}

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: () => undefined });
  await whenReady(redis);
  const redisUrl = server.url;
  workers = await Promise.all([
    startScriptedWorker({
      ...{ redisUrl, kind: 'chat', announced: { models: ['scripted'] } },
      handler: async (context) => {
        const { signal, job } = context;
        signal.addEventListener('abort', () => aborted.push(job.streamId));
        await write(context);
      },
    }),
    startScriptedWorker({
      ...{ redisUrl, kind: 'speech', announced: { models: ['tts-1'], voices: 'any' } },
      handler: sayPhrase,
    }),
    startScriptedWorker({
      ...{ redisUrl, kind: 'transcription', announced: { models: ['whisper-1'] } },
      handler: hearOneSegment,
    }),
  ]);
  first = await openTestGateway(redisUrl, environment);
  second = await openTestGateway(redisUrl, environment);
});
beforeEach(() => {
  goOn = Promise.withResolvers();
  goOn.promise.catch(() => undefined);
  aborted = [];
  write = sayWords;
});
afterEach(async () => {
  for (const { context } of [first, second]) {
    await until(() => context.watch.streams.size === 0, { what: 'no stream under watch' });
    await until(() => context.subscriber.readerCount === 0, { what: 'no reader' });
  }
  await until(async () => (await redis.exists('antiphon:kept')) === 0, { what: 'nothing kept' });
});
afterAll(async () => {
  await first?.close();
  await second?.close();
  await Promise.all((workers ?? []).map((worker) => worker.close()));
  redis?.disconnect();
  await server?.close();
});

const send = (path: string, body: object, headers: Record<string, string> = {}) =>
  fetch(`${first.url}${path}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer ${KEY}`,
      'x-stream-resume': '1',
      ...headers,
    },
    body: JSON.stringify(body),
  });
const chat = (body: object = {}, headers?: Record<string, string>) =>
  send(
    '/v1/chat/completions',
    { stream: true, messages: [{ role: 'user', content: 'go' }], ...body },
    headers,
  );
const comeBack = (
  streamId: string,
  { query = '', headers = {}, key = KEY, gateway = second } = {},
) =>
  fetch(`${gateway.url}/v1/streams/${streamId}/events${query}`, {
    headers: { authorization: `Bearer ${key}`, ...headers },
  });
const idFrom = (response: Response) => response.headers.get('x-stream-id') ?? '';
const statusOf = (streamId: string) => redis.hget(`antiphon:{${streamId}}:state`, 'status');
const spoken = (format: string) => ({
  modalities: ['text', 'audio'],
  audio: { voice: 'alloy', format },
});

describe('a client that comes back', () => {
  it.each([0, 1, 2])('behind event %i: gets the rest while it is written', async (count) => {
    const begun = await chat();
    const streamId = idFrom(begun);
    const had = await readEvents(begun, count);
    const back = await comeBack(streamId, { query: `?starting_after=${count}` });
    goOn.resolve();
    const rest = await readEvents(back);
    expect(rest.map(idOf)).toEqual(rest.map((_, index) => count + index + 1));
    const expected = [
      ...WORDS.map((word) => Buffer.from(chatFrame(word)).toString().trim()),
      'data: [DONE]',
    ];
    expect([...had, ...rest.map(withoutId)]).toEqual(expected);
    expect(aborted).toEqual([]);
  });

  it('reads the same from every event on, when all is over, on both gateways', async () => {
    goOn.resolve();
    const whole = await chat();
    const events = await readEvents(whole);
    for (const gateway of [first, second]) {
      for (let after = 0; after <= events.length; after += 1) {
        const headers = { 'last-event-id': String(after) };
        const back = await comeBack(idFrom(whole), {
          gateway,
          headers,
          query: '?starting_after=1',
        });
        expect((await readEvents(back)).map(withoutId)).toEqual(events.slice(after));
      }
    }
  });

  it.each(['pcm16', 'mp3', 'opus'])('reads the same of a spoken answer in %s', async (format) => {
    write = speakPhrases(['Good morning.', 'Here I am.', 'Who is there?']);
    const whole = await chat({ ...spoken(format), stream_options: { include_usage: true } });
    const events = await readEvents(whole);
    expect(events.at(-1)).toBe('data: [DONE]');
    for (let after = 0; after <= events.length; after += 3) {
      const back = await comeBack(idFrom(whole), { query: `?starting_after=${after}` });
      expect((await readEvents(back)).map(withoutId)).toEqual(events.slice(after));
    }
  });

  it('reads the same of speech, sent as events or not', async () => {
    const body = { input: 'Good morning. Here I am. Who is there?', response_format: 'mp3' };
    const whole = await send('/v1/audio/speech', { ...body, stream_format: 'sse' });
    const events = await readEvents(whole);
    const back = await comeBack(idFrom(whole), { query: '?starting_after=2' });
    expect((await readEvents(back)).map(withoutId)).toEqual(events.slice(2));

    const binary = await send('/v1/audio/speech', body);
    const sound = Buffer.from(await binary.arrayBuffer());
    const deltas = (await readEvents(await comeBack(idFrom(binary)))).map(
      (event) => JSON.parse(withoutId(event).slice(6)) as { audio?: string },
    );
    expect(Buffer.from(deltas.map(({ audio = '' }) => audio).join(''), 'base64')).toEqual(sound);
  });

  it('reads a transcription and a whole chat', async () => {
    const form = new FormData();
    form.set(
      'file',
      new Blob([Buffer.concat([Buffer.from('RIFF0000WAVE'), Buffer.alloc(100)])]),
      'a.wav',
    );
    const heard = await fetch(`${first.url}/v1/audio/transcriptions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${KEY}`, 'x-stream-resume': '1' },
      body: form,
    });
    const { text } = (await heard.json()) as { text: string };
    const [delta, done] = await readEvents(await comeBack(idFrom(heard)));
    expect(delta).toContain('id: 1\ndata: {"type":"transcript.text.delta"');
    expect(done).toContain(`"text":"${text}"`);

    write = answerChat('All of it.');
    const whole = await chat({ stream: false });
    const json: unknown = await whole.json();
    const [only, end] = await readEvents(await comeBack(idFrom(whole)));
    expect(JSON.parse(withoutId(only ?? '').slice(6))).toEqual(json);
    expect(end).toBe('id: 2\ndata: [DONE]');
  });

  it('hears the error that the stream ended with', async () => {
    write = async ({ producer }) => {
      await producer.append({ type: 'text-delta', bytes: chatFrame('one ') });
      throw new TypeError('broken');
    };
    const events = await readEvents(await chat());
    const opened = await chat();
    await readEvents(opened);
    const back = await readEvents(await comeBack(idFrom(opened)));
    expect(back.map(withoutId)).toEqual(events);
    expect(back.at(-1)).toContain('"code":"internal_error"');
  });
});

describe('who may come back', () => {
  it('nobody else: a foreign stream is like an unknown one', async () => {
    goOn.resolve();
    const whole = await chat();
    await readEvents(whole);
    const foreign = await comeBack(idFrom(whole), { key: OTHER_KEY });
    const unknown = await comeBack(`s${'0'.repeat(32)}`, { key: OTHER_KEY });
    expect([foreign.status, unknown.status]).toEqual([404, 404]);
    expect(await foreign.text()).toBe(await unknown.text());
  });

  it('not to a stream that was not opened for it', async () => {
    goOn.resolve();
    const whole = await chat({}, { 'x-stream-resume': '0' });
    await readEvents(whole);
    const refused = await comeBack(idFrom(whole));
    await expectError(refused, { status: 400, code: 'stream_not_resumable' });
  });

  it.each(['?starting_after=x', '?starting_after=-1', '?starting_after=1e3'])(
    'not with %s',
    async (query) => {
      goOn.resolve();
      const whole = await chat();
      await readEvents(whole);
      const refused = await comeBack(idFrom(whole), { query });
      await expectError(refused, { status: 400, code: 'invalid_value', param: 'starting_after' });
    },
  );
});

describe('without its client', () => {
  it('a stream is stopped behind the grace, and not while somebody reads it elsewhere', async () => {
    const begun = await chat();
    const streamId = idFrom(begun);
    await readEvents(begun, 1);
    const back = await comeBack(streamId);
    const cutAtMs = performance.now();
    await until(() => performance.now() - cutAtMs > GRACE_MS * 2.5);
    expect(await statusOf(streamId)).toBe('open');
    await back.body?.cancel(); // leaves as well
    await until(async () => (await statusOf(streamId)) === 'cancelled');
    expect(aborted).toEqual([streamId]);
  });

  it('a stream in the background goes on to its end', async () => {
    const begun = await chat({ background: true }, { 'x-stream-resume': '0' });
    const streamId = idFrom(begun);
    await readEvents(begun, 1);
    const cutAtMs = performance.now();
    await until(() => performance.now() - cutAtMs > GRACE_MS * 3);
    expect(await statusOf(streamId)).toBe('open');
    goOn.resolve();
    await until(async () => (await statusOf(streamId)) === 'done');
    expect(await readEvents(await comeBack(streamId))).toHaveLength(WORDS.length + 1);
  });

  it.each(['transcriptions', 'translations'])('%s take it as a field', async (operation) => {
    const hear = (background: string) => {
      const form = new FormData();
      const wav = Buffer.concat([Buffer.from('RIFF0000WAVE'), Buffer.alloc(100)]);
      form.set('file', new Blob([wav]), 'a.wav');
      form.set('background', background);
      const headers = { authorization: `Bearer ${KEY}` };
      const url = `${first.url}/v1/audio/${operation}`;
      return fetch(url, { method: 'POST', headers, body: form });
    };
    const heard = await hear('true');
    await heard.text();
    const [kept] = await redis.hmget(`antiphon:{${idFrom(heard)}}:state`, 'kept');
    expect(JSON.parse(kept ?? '{}')).toMatchObject({ background: true });
    expect((await comeBack(idFrom(heard))).status).toBe(200);
    await expectError(await hear('perhaps'), {
      ...{ status: 400, code: 'invalid_value', param: 'background' },
    });
    const plain = await hear('false');
    await plain.text();
    expect((await comeBack(idFrom(plain))).status).toBe(400);
  });

  it('what asks for it reaches no engine', async () => {
    goOn.resolve();
    await readEvents(await chat({ background: true, top_k: 3 }));
    const { jobs } = workers[0] as ScriptedWorker<'chat'>;
    const { requestJson = '' } = jobs.at(-1) ?? {};
    expect(JSON.parse(requestJson)).toMatchObject({ top_k: 3, stream: true });
    expect(requestJson).not.toContain('background');
    await expectError(await chat({ background: 'yes' }), {
      status: 400,
      code: 'invalid_type',
      param: 'background',
    });
  });

  it('a stop reaches it, and who reads it', async () => {
    const begun = await chat({ background: true });
    const streamId = idFrom(begun);
    const reading = readEvents(begun);
    const back = readEvents(await comeBack(streamId));
    await until(() => second.context.watch.streams.size === 1);
    await fetch(`${second.url}/v1/streams/${streamId}/cancel`, {
      method: 'POST',
      headers: { authorization: `Bearer ${KEY}` },
    });
    for (const events of [await reading, await back]) {
      expect(events.at(-1)).toContain('"code":"stream_cancelled"');
    }
    expect(aborted).toEqual([streamId]);
  });

  it('a stream whose keeper goes is kept by another gateway', async () => {
    const third = await openTestGateway(server.url, environment);
    const begun = await fetch(`${third.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${KEY}` },
      body: JSON.stringify({
        stream: true,
        background: true,
        messages: [{ role: 'user', content: 'go' }],
      }),
    });
    const streamId = idFrom(begun);
    await readEvents(begun, 1);
    await third.close();
    const keptBy = () => first.context.keepers.size + second.context.keepers.size;
    await until(() => keptBy() === 1);
    goOn.resolve();
    await until(async () => (await statusOf(streamId)) === 'done');
    expect(await readEvents(await comeBack(streamId))).toHaveLength(WORDS.length + 1);
  });

  it('a stream goes on where Redis was away', async () => {
    const begun = await chat({ background: true });
    const streamId = idFrom(begun);
    const reading = readEvents(begun);
    const back = readEvents(await comeBack(streamId));
    await until(() => second.context.watch.streams.size === 1);
    await server.kill();
    await until(() => !first.context.redisReady());
    await server.restart();
    await until(() => first.context.redisReady());
    goOn.resolve();
    const [events, again] = await Promise.all([reading, back]);
    expect(events).toHaveLength(WORDS.length + 1);
    expect(again.map(withoutId)).toEqual(events);
  }, 60_000);

  it('a stream may not grow without end', async () => {
    const { config } = first.context;
    const { MAX_LOG_BYTES: before } = config;
    config.MAX_LOG_BYTES = 65_536;
    write = async ({ producer, signal }) => {
      for (;;) {
        await producer.append(
          { type: 'text-delta', bytes: chatFrame('x'.repeat(10_000)) },
          { signal },
        );
        if (signal.aborted) await once(signal, 'abort');
      }
    };
    const events = await readEvents(await chat());
    config.MAX_LOG_BYTES = before;
    expect(events.at(-1)).toContain('"code":"stream_too_large"');
    expect(events.length).toBeGreaterThan(25);
  });
});
