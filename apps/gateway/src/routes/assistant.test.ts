import { once } from 'node:events';
import { connect } from 'node:net';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { JobContext } from '@antiphon/shared/queue/job-worker';
import { releasePhrases } from '@antiphon/shared/queue/phrase-release';
import type { AudioPlayer } from '@antiphon/shared/services/audio-player';
import { expectError } from '@antiphon/testing/error-envelope';
import { RecordingPlayer } from '@antiphon/testing/recording-player';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type ScriptedWorker, startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { PATIENCE, until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { StreamObject } from '../openai/stream-object.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

const SAMPLE_RATE_HZ = 24_000;
const PHRASES = ['One.', 'Two.', 'Three.'];
const TEXT = PHRASES.join(' ');
/** A stop that waited for a deadline, a stall or the sound's end would take longer. */
const AT_ONCE_MS = 900;

let redis: RedisServer;
let llm: ScriptedWorker<'chat'>;
let tts: ScriptedWorker<'speech'>;
let gateway: TestGateway;
let write: (context: JobContext<'chat'>) => Promise<void>;
let speak: (context: JobContext<'speech'>) => Promise<void>;

beforeAll(async () => {
  redis = await startRedis();
  llm = await startScriptedWorker({
    ...{ redisUrl: redis.url, kind: 'chat', announced: { models: ['scripted'] } },
    handler: (context) => write(context),
    concurrency: 8,
  });
  const voices = [{ id: 'slt', name: 'Slt' }];
  tts = await startScriptedWorker({
    ...{ redisUrl: redis.url, kind: 'speech', announced: { models: ['tts-1'], voices } },
    handler: (context) => speak(context),
    concurrency: 8,
  });
});
beforeEach(() => {
  llm.jobs.length = 0;
  tts.jobs.length = 0;
  write = say(PHRASES);
  speak = sound(0.5);
});
afterEach(async () => {
  await until(() => gateway.context.watch.streams.size === 0, { what: 'no stream under watch' });
  await until(() => gateway.context.subscriber.readerCount === 0, { what: 'no reader' });
  await until(async () => (await openIds()).length === 0, { what: 'nothing open' });
  await gateway.close();
});
afterAll(async () => {
  await llm.close();
  await tts.close();
  await redis.close();
});

const open = async (player?: AudioPlayer, environment: NodeJS.ProcessEnv = {}) => {
  gateway = await openTestGateway(redis.url, environment, player ? { player } : {});
};
const user = { role: 'user', content: 'hi' };
/** Held to the end: a body that nobody holds is given up by garbage collection, and its client has left. */
const asked: Response[] = [];
async function ask(extra: object = {}, init: RequestInit = {}): Promise<Response> {
  const response = await fetch(`${gateway.url}/api/openai`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ messages: [user], ...extra }),
    ...init,
  });
  asked.push(response);
  return response;
}
const post = (path: string) => fetch(`${gateway.url}${path}`, { method: 'POST' });
const look = async (streamId: string) =>
  (await (await fetch(`${gateway.url}/v1/streams/${streamId}`)).json()) as StreamObject;
const openIds = async () => {
  const response = await fetch(`${gateway.url}/v1/streams`);
  return ((await response.json()) as { data: StreamObject[] }).data.map(({ id }) => id);
};
const idOf = (response: Response) => response.headers.get('x-stream-id') ?? '';
const ended = (streamId: string) =>
  until(async () => ((await look(streamId)).status === 'open' ? undefined : look(streamId)));
const release = (streamId: string) =>
  releasePhrases(gateway.context.log, gateway.context.jobs, streamId);
const forever = async ({ signal }: JobContext<'chat' | 'speech'>) => {
  if (!signal.aborted) await once(signal, 'abort');
  signal.throwIfAborted();
};

/** Writes and cuts phrases, as the llm-worker does; silent where the job says so. */
async function writePhrases(
  { job, producer, signal }: JobContext<'chat'>,
  texts: readonly string[],
): Promise<void> {
  for (const [phraseIndex, text] of texts.entries()) {
    const before = phraseIndex === 0 ? '' : ' ';
    const delta = { content: before + text };
    await producer.append({ type: 'message-delta', delta }, { signal });
    if (job.audio?.silent) continue;
    await producer.append(
      { type: 'phrase-start', phraseIndex, text, before },
      { phrase: { phraseIndex, body: { text } }, signal },
    );
    await release(job.streamId);
  }
}
async function endText({ job, producer, signal }: JobContext<'chat'>, count: number) {
  const phraseCount = job.audio?.silent ? 0 : count;
  await producer.append(
    { type: 'text-end', finishReason: 'stop', phraseCount },
    { ends: 'text', phraseCount, signal },
  );
}
function say(texts: readonly string[]) {
  return async (context: JobContext<'chat'>) => {
    await writePhrases(context, texts);
    await endText(context, texts.length);
  };
}

const samplesOf = (phraseIndex: number, seconds: number) =>
  Buffer.alloc(seconds * SAMPLE_RATE_HZ * 2, phraseIndex + 1);
/** A voice that needs no time: `seconds` of every phrase, in pieces of a tenth of a second. */
function sound(seconds: number) {
  return async ({ job, producer, signal }: JobContext<'speech'>) => {
    const { phraseIndex } = job;
    const pieces = Math.round(seconds * 10);
    for (let chunkIndex = 0; chunkIndex < pieces; chunkIndex += 1) {
      const pcm = samplesOf(phraseIndex, 0.1);
      const delta = { type: 'audio-delta' as const, phraseIndex, chunkIndex, pcm };
      await producer.append(delta, { samples: SAMPLE_RATE_HZ / 10, signal });
    }
    await producer.append({ type: 'audio-end', phraseIndex }, { ends: 'phrase', signal });
    await release(job.streamId);
  };
}
const heardOf = (phraseCount: number, seconds = 0.5) =>
  Buffer.concat(Array.from({ length: phraseCount }, (_, index) => samplesOf(index, seconds)));

describe('AUDIO_PLAYER=none', () => {
  it('is the text alone: nothing is synthesized', async () => {
    await open(undefined, { SYSTEM_PROMPT: 'Be brief.' });
    const response = await ask({ temperature: 0.5, voice: 'anything', stream: false });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/plain; charset=utf-8');
    expect(response.headers.get('x-request-id')).toMatch(/^req_/);
    expect(await response.text()).toBe(TEXT);
    expect(await ended(idOf(response))).toMatchObject({ status: 'done', kind: 'chat' });
    expect(tts.jobs).toEqual([]);
    expect(llm.jobs).toMatchObject([{ stream: true, audio: { content: 'full', silent: true } }]);
    expect(JSON.parse(llm.jobs[0]?.requestJson ?? '')).toStrictEqual({
      ...{ model: 'scripted', stream: true, temperature: 0.5 },
      messages: [{ role: 'system', content: 'Be brief.' }, user],
    });
  });

  it('shows a refusal, and nothing of what is no text', async () => {
    write = async (context) => {
      const { producer, signal } = context;
      for (const delta of [{ tool_calls: [] }, { reasoning_content: 'hm' }, { refusal: 'No.' }]) {
        await producer.append({ type: 'message-delta', delta }, { signal });
      }
      await endText(context, 0);
    };
    await open();
    expect(await (await ask()).text()).toBe('No.');
  });

  it('is told as it is written', async () => {
    const goOn = Promise.withResolvers<void>();
    write = async (context) => {
      await writePhrases(context, ['One.']);
      await goOn.promise;
      await endText(context, 0);
    };
    await open();
    const reader = (await ask()).body?.getReader();
    expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe('One.');
    goOn.resolve();
    expect((await reader?.read())?.done).toBe(true);
  });

  it('takes more text than MAX_LOG_BYTES', async () => {
    const words = Array.from({ length: 30 }, () => 'x'.repeat(10_000));
    write = say(words);
    await open(undefined, { MAX_LOG_BYTES: '65536' });
    expect(await (await ask()).text()).toBe(words.join(' '));
  });

  it('that fails before its first text has the status of its error', async () => {
    write = () => Promise.reject(new VoiceError('upstream_timeout'));
    await open();
    const response = await ask();
    expect(idOf(response)).not.toBe('');
    await expectError(response, { status: 504, code: 'upstream_timeout', type: 'server_error' });
  });

  it('that fails later is cut off', async () => {
    write = async (context) => {
      await writePhrases(context, ['One.']);
      throw new VoiceError('upstream_timeout');
    };
    await open();
    const response = await ask();
    await expect(response.text()).rejects.toThrow('terminated');
    expect(await ended(idOf(response))).toMatchObject({ status: 'error' });
  });

  it.each([
    ['no messages', { messages: [] }, { status: 400, code: 'empty_array', param: 'messages' }],
    ['n', { n: 3 }, { status: 400, code: 'unsupported_value', param: 'n' }],
    ['unknown models', { model: 'x' }, { status: 404, code: 'model_not_found', param: 'model' }],
  ])('refuses %s', async (_what, extra, error) => {
    await open();
    await expectError(await ask(extra), error);
  });

  it('refuses while the gateway shuts down', async () => {
    await open();
    gateway.stopAccepting();
    await expectError(await ask(), {
      ...{ status: 503, code: 'server_shutting_down', type: 'service_unavailable_error' },
    });
  });
});

describe('an answer that is played', () => {
  it('has its text at once, its sound in order, and is open until all was heard', async () => {
    const player = new RecordingPlayer({ speed: 1 });
    await open(player);
    const response = await ask();
    const streamId = idOf(response);
    expect(await response.text()).toBe(TEXT);
    expect(player.of(streamId).endedAtMs).toBeUndefined();
    expect(await look(streamId)).toMatchObject({ status: 'open', stage: 'speaking' });
    expect(await openIds()).toEqual([streamId]);
    expect(await ended(streamId)).toMatchObject({
      status: 'done',
      phrases: { total: 3, spoken: 3, failed: 0 },
      playback: { producedMs: 1500, playedMs: 1500, ended: true },
      timings: { firstAudioMs: expect.any(Number) },
    });
    expect(player.of(streamId).endedAtMs).toBeDefined();
    expect(player.of(streamId).heard).toEqual(heardOf(3));
  });

  it('speaks with the voice that was asked for', async () => {
    await open(new RecordingPlayer());
    await ended(idOf(await ask({ voice: 'slt', speed: 1.5, instructions: 'warmly' })));
    expect(tts.jobs[0]).toMatchObject({ voice: 'slt', speed: 1.5, instructions: 'warmly' });
    expect(llm.jobs[0]?.requestJson).not.toMatch(/slt|warmly/);
    await expectError(await ask({ voice: 'nobody' }), {
      ...{ status: 400, code: 'invalid_value', param: 'voice' },
    });
  });

  it('with nothing to say ends with its text', async () => {
    write = async (context) => {
      const { producer, signal } = context;
      await producer.append({ type: 'message-delta', delta: { content: '```x```' } }, { signal });
      await endText(context, 0);
    };
    const player = new RecordingPlayer();
    await open(player);
    const response = await ask();
    expect(await response.text()).toBe('```x```');
    expect(await ended(idOf(response))).toMatchObject({ status: 'done' });
  });

  it('leaves out a phrase that cannot be spoken', async () => {
    speak = async (context) => {
      const { job, producer, signal } = context;
      const { phraseIndex } = job;
      if (phraseIndex !== 1) return sound(0.5)(context);
      const error = new VoiceError('engine_failed').serialize();
      await producer.append(
        { type: 'phrase-error', phraseIndex, error },
        { ends: 'phrase', signal },
      );
    };
    const player = new RecordingPlayer();
    await open(player);
    const response = await ask();
    expect(await response.text()).toBe(TEXT);
    expect(await ended(idOf(response))).toMatchObject({ status: 'done', phrases: { failed: 1 } });
    const heard = Buffer.concat([samplesOf(0, 0.5), samplesOf(2, 0.5)]);
    expect(player.of(idOf(response)).heard).toEqual(heard);
  });

  it('outlasts the deadlines while somebody listens', async () => {
    // Nine seconds, heard in 2.25: more than the total, and while phrases wait for the window of
    // 5 s nothing is made for longer than the idle deadline.
    const player = new RecordingPlayer({ speed: 4 });
    speak = sound(3);
    await open(player, { IDLE_TIMEOUT_MS: '400', TOTAL_TIMEOUT_MS: '1500' });
    const response = await ask();
    const streamId = idOf(response);
    expect(await response.text()).toBe(TEXT);
    expect(await ended(streamId)).toMatchObject({ status: 'done' });
    expect(player.of(streamId).heard).toEqual(heardOf(3, 3));
  });

  it('outlasts the idle deadline while its last sound fades', async () => {
    await open(new RecordingPlayer({ lingersMs: 1000 }), { IDLE_TIMEOUT_MS: '400' });
    expect(await ended(idOf(await ask()))).toMatchObject({ status: 'done' });
  });

  it('is idle once all that was made is heard', async () => {
    speak = async (context) => {
      if (context.job.phraseIndex === 0) return sound(0.5)(context);
      return forever(context);
    };
    const player = new RecordingPlayer({ speed: 1 });
    await open(player, { IDLE_TIMEOUT_MS: '300' });
    const response = await ask();
    const streamId = idOf(response);
    expect(await ended(streamId)).toMatchObject({ status: 'error' });
    expect(player.of(streamId).heard).toEqual(samplesOf(0, 0.5));
    expect(player.of(streamId).stoppedAtMs).toBeDefined();
    expect(await response.text()).toBe(TEXT);
  });
});

describe('a stop', () => {
  /** An answer whose text is there and whose sound plays. */
  async function playing(player: RecordingPlayer) {
    const response = await ask();
    const streamId = idOf(response);
    await response.text();
    await until(() => player.of(streamId).heard.length > 0);
    return streamId;
  }

  it('silences one at once, and the others go on', async () => {
    const player = new RecordingPlayer({ speed: 1 });
    await open(player);
    const [first, second, third] = [
      await playing(player),
      await playing(player),
      await playing(player),
    ];
    const stoppedMs = performance.now();
    await post(`/api/stop/${second}`);
    const silentAtMs = await until(() => player.of(second).stoppedAtMs);
    expect(silentAtMs - stoppedMs).toBeLessThan(AT_ONCE_MS * PATIENCE);
    expect(await look(second)).toMatchObject({ status: 'cancelled' });
    expect((await ended(first)).status).toBe('done');
    expect((await ended(third)).status).toBe('done');
    for (const streamId of [first, third]) expect(player.of(streamId).heard).toEqual(heardOf(3));
    expect(player.of(second).heard.length).toBeLessThan(heardOf(3).length);
  });

  it('of all silences all', async () => {
    const player = new RecordingPlayer({ speed: 1 });
    await open(player);
    const ids = [await playing(player), await playing(player)];
    expect(await (await post('/api/stop_all')).json()).toMatchObject({ count: 2 });
    for (const id of ids) await until(() => player.of(id).stoppedAtMs);
  });

  it('of an answer that is still written cuts its text', async () => {
    write = async (context) => {
      await writePhrases(context, PHRASES);
      await forever(context);
    };
    const player = new RecordingPlayer({ speed: 1 });
    await open(player);
    const response = await ask();
    await until(() => player.of(idOf(response)).heard.length > 0);
    await post(`/api/stop/${idOf(response)}`);
    await until(() => player.of(idOf(response)).stoppedAtMs);
    await expect(response.text()).rejects.toThrow('terminated');
  });

  it('before the first text is 499', async () => {
    write = forever;
    const player = new RecordingPlayer();
    await open(player);
    const answer = ask();
    const [streamId = ''] = await until(async () => {
      const ids = await openIds();
      return ids.length > 0 ? ids : undefined;
    });
    await until(() => player.playbacks.length === 1);
    await post(`/api/stop/${streamId}`);
    await expectError(await answer, {
      ...{ status: 499, code: 'stream_cancelled', type: 'request_cancelled' },
    });
    expect(player.of(streamId).stoppedAtMs).toBeDefined();
  });

  it('does not wait for a client that does not read', async () => {
    write = async (context) => {
      await writePhrases(context, ['One.']);
      for (;;) {
        const delta = { content: 'x'.repeat(50_000) };
        await context.producer.append({ type: 'message-delta', delta }, { signal: context.signal });
      }
    };
    speak = sound(4);
    const player = new RecordingPlayer({ speed: 0.2 });
    await open(player);
    const body = JSON.stringify({ messages: [user] });
    const socket = connect(gateway.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(
      `POST /api/openai HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    await once(socket, 'readable');
    const { reader } = await until(() => {
      const [watched] = gateway.context.watch.streams;
      return watched?.hasUndelivered ? watched : undefined;
    });
    const { streamId } = reader;
    let last = 0;
    await until(
      () => {
        const same = reader.producedSeq === last;
        last = reader.producedSeq;
        return same;
      },
      { intervalMs: 400, what: 'the model waits for the client' },
    );
    const stoppedMs = performance.now();
    await post(`/api/stop/${streamId}`);
    const silentAtMs = await until(() => player.of(streamId).stoppedAtMs);
    expect(silentAtMs - stoppedMs).toBeLessThan(AT_ONCE_MS * PATIENCE);
    socket.destroy();
  });
});

describe('a client that leaves', () => {
  it('before the text is complete stops all of it', async () => {
    write = async (context) => {
      await writePhrases(context, PHRASES);
      await forever(context);
    };
    const player = new RecordingPlayer({ speed: 1 });
    await open(player);
    const leave = new AbortController();
    const response = await ask({}, { signal: leave.signal });
    await until(() => player.of(idOf(response)).heard.length > 0);
    leave.abort();
    await until(() => player.of(idOf(response)).stoppedAtMs);
    expect(await ended(idOf(response))).toMatchObject({ status: 'cancelled' });
  });

  it('with the whole text stops nothing', async () => {
    const player = new RecordingPlayer({ speed: 1 });
    await open(player);
    const response = await ask(
      {},
      { headers: { 'content-type': 'application/json', connection: 'close' } },
    );
    await response.text();
    await until(async () => (await gateway.server.connectionCount()) === 0, { timeoutMs: 1000 });
    expect(player.of(idOf(response)).endedAtMs).toBeUndefined();
    expect(await ended(idOf(response))).toMatchObject({ status: 'done' });
    expect(player.of(idOf(response)).heard).toEqual(heardOf(3));
  });
});

describe('a player that fails', () => {
  it('at its start is the answer, and nothing goes on', async () => {
    write = forever;
    await open(new RecordingPlayer({ failsAfterSamples: 0 }));
    const response = await ask();
    await expectError(response, {
      ...{ status: 500, code: 'player_failed', type: 'server_error' },
    });
    expect(await ended(idOf(response))).toMatchObject({ status: 'cancelled' });
  });

  it('in the middle leaves the text whole, and no more is spoken', async () => {
    const goOn = Promise.withResolvers<void>();
    const texts = Array.from({ length: 12 }, (_, index) => `Sentence ${index}.`);
    write = async (context) => {
      await writePhrases(context, texts);
      await goOn.promise;
      await endText(context, texts.length);
    };
    speak = sound(1);
    await open(new RecordingPlayer({ speed: 10, failsAfterSamples: SAMPLE_RATE_HZ }));
    const response = await ask();
    const streamId = idOf(response);
    await until(async () => (await look(streamId)).playback?.error);
    expect(await look(streamId)).toMatchObject({
      status: 'open',
      playback: { playedMs: 1000, ended: false, error: 'player_failed' },
    });
    goOn.resolve();
    expect(await response.text()).toBe(texts.join(' '));
    expect(await ended(streamId)).toMatchObject({ status: 'done' });
    // Five seconds ahead of the one that was heard, and what ran beside them.
    expect(tts.jobs.length).toBeLessThan(texts.length - 3);
  });

  it('behind the text ends the stream', async () => {
    const player = new RecordingPlayer({ speed: 4, failsAfterSamples: SAMPLE_RATE_HZ });
    await open(player);
    const response = await ask();
    expect(await response.text()).toBe(TEXT);
    expect(player.of(idOf(response)).stoppedAtMs).toBeUndefined();
    expect(await ended(idOf(response))).toMatchObject({
      status: 'done',
      playback: { error: 'player_failed' },
    });
    expect(player.of(idOf(response)).heard).toEqual(heardOf(2));
  });
});

describe('a text that breaks off', () => {
  const breakOff = async (context: JobContext<'chat'>) => {
    await writePhrases(context, ['One.', 'Two.']);
    throw new VoiceError('upstream_protocol');
  };

  it('is cut for its client; what is cut into phrases is still heard', async () => {
    write = breakOff;
    const player = new RecordingPlayer({ speed: 1 });
    await open(player);
    const response = await ask();
    const streamId = idOf(response);
    await expect(response.text()).rejects.toThrow('terminated');
    expect(await look(streamId)).toMatchObject({ status: 'open' });
    expect(await ended(streamId)).toMatchObject({ status: 'error' });
    expect(player.of(streamId).heard).toEqual(heardOf(2));
    expect(player.of(streamId).endedAtMs).toBeDefined();
  });

  it('can be stopped while it is heard', async () => {
    write = breakOff;
    const player = new RecordingPlayer({ speed: 0.5 });
    await open(player);
    const response = await ask();
    await expect(response.text()).rejects.toThrow('terminated');
    await post(`/api/stop/${idOf(response)}`);
    await until(() => player.of(idOf(response)).stoppedAtMs);
    expect(await ended(idOf(response))).toMatchObject({ status: 'cancelled' });
  });

  it('before its first phrase has the status of its error', async () => {
    write = () => Promise.reject(new VoiceError('upstream_timeout'));
    const player = new RecordingPlayer();
    await open(player);
    await expectError(await ask(), { status: 504, code: 'upstream_timeout', type: 'server_error' });
    expect(player.playbacks[0]?.stoppedAtMs).toBeDefined();
  });
});

describe('a shutdown', () => {
  it('waits until all was heard', async () => {
    const player = new RecordingPlayer({ speed: 2 });
    await open(player);
    const response = await ask();
    await response.text();
    await gateway.server.drain(gateway.context.watch, 20_000);
    expect(player.of(idOf(response)).endedAtMs).toBeDefined();
    expect(player.of(idOf(response)).heard).toEqual(heardOf(3));
    await reopen();
  });

  it('silences what plays longer than SHUTDOWN_DRAIN_MS', async () => {
    const player = new RecordingPlayer({ speed: 0.1 });
    await open(player);
    const response = await ask();
    await response.text();
    await gateway.server.drain(gateway.context.watch, 100);
    expect(player.of(idOf(response)).stoppedAtMs).toBeDefined();
    const state = await gateway.context.log.state(idOf(response));
    expect(state?.['status']).toBe('error');
    await reopen();
  });

  /** The checks behind each test ask a gateway that listens. */
  async function reopen() {
    await gateway.close();
    await open();
  }
});

it.each([
  ['Idempotency-Key', { 'idempotency-key': 'once' }],
  ['x-stream-resume', { 'x-stream-resume': '1' }],
])('refuses %s: what is played cannot be had again', async (param, headers) => {
  await open();
  const refused = await ask({}, { headers: { 'content-type': 'application/json', ...headers } });
  await expectError(refused, { status: 400, code: 'unsupported_parameter', param });
  expect(llm.jobs).toHaveLength(0);
});
