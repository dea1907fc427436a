import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { spokenPcm } from '@antiphon/testing/openai-server/speech';
import { PATIENCE, until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type SpokenTranscript, readSpokenStream, soundOf } from '../src/spoken-stream.ts';
import { type AppProcess, type Stack, startStack } from '../src/stack.ts';

const SENTENCES = [
  'Good morning to all of you.',
  'This sentence is the second one of them.',
  'The third sentence is a little bit longer than that.',
  'Nobody knows what the fourth sentence is about.',
  'The last sentence of this answer is the fifth.',
];
const TOKENS =
  [SENTENCES, SENTENCES]
    .flat()
    .join(' ')
    .match(/\s*\S+/g) ?? [];
const TOKEN_DELAY_MS = 20;
const LISTENERS = 4;

let upstream: OpenAIServer;
let stack: Stack;
let redis: Redis;

const connect = ({ redis: { port } }: Stack) => {
  const connection = new Redis(port);
  connection.on('error', () => undefined);
  return connection;
};
const alive = (name: AppProcess['name']) =>
  stack.processes.filter(
    ({ name: other, child }) =>
      other === name && child.exitCode === null && child.signalCode === null,
  );
const signal = (processes: AppProcess[], name: NodeJS.Signals) => {
  for (const { pid } of processes) process.kill(pid, name);
};

/** Answers to several listeners at once, with a fault in their middle. */
async function listenThrough(fault: () => Promise<void>): Promise<SpokenTranscript[]> {
  let heard = 0;
  const reading = Array.from({ length: LISTENERS }, async () => {
    let begun = false;
    return readSpokenStream(stack.baseUrl, {
      onFrame: ({ fragments }) => {
        if (begun || fragments.length === 0) return;
        begun = true;
        heard += 1;
      },
    });
  });
  await until(() => heard === LISTENERS);
  await fault();
  return Promise.all(reading);
}

/** What has to be true after whatever happened: nothing is open, nothing waits, nothing crashed. */
async function expectNothingLeft(own: Stack, connection: Redis): Promise<void> {
  const lists = /^bull:.*:(active|wait|prioritized|waiting-children)$/;
  await until(
    async () => {
      const keys = await connection.keys('*');
      const jobs = keys.filter((key) => lists.test(key));
      const streams = keys.filter((key) => key.endsWith('}:state'));
      const states = await Promise.all(streams.map((key) => connection.hget(key, 'status')));
      return jobs.length === 0 && !states.includes('open');
    },
    { timeoutMs: 10_000, what: 'no job and no open stream' },
  );
  const keys = await connection.keys('antiphon:{*');
  const lives = await Promise.all(keys.map((key) => connection.pttl(key)));
  expect(keys.filter((_, index) => (lives[index] ?? 0) < 0)).toEqual([]);
  expect(await readdir(join(own.dataDirectory, 'blobs'))).toEqual([]);
  const output = own.processes.map((process) => process.output()).join('\n');
  expect(output).not.toMatch(/unhandled|uncaught/i);
}

/** The entries of a stream: contiguous as far as they are kept, with one end. */
async function expectOneEnd({ streamId }: SpokenTranscript): Promise<void> {
  const entries = await redis.xrange(`antiphon:{${streamId}}:log`, '-', '+');
  const seqs = entries.map(([id]) => Number.parseInt(id, 10));
  expect(seqs).toEqual(seqs.map((_, index) => (seqs[0] ?? 0) + index));
  const ends = entries.flatMap(([, [, flag]], index) => (flag === '!' ? [index] : []));
  expect(ends).toEqual([entries.length - 1]);
}

describe('answers in the middle of which something breaks', () => {
  let whole: SpokenTranscript;
  let wholeSound: Buffer;

  beforeAll(async () => {
    upstream = await startOpenAIServer({ tokens: TOKENS, tokenDelayMs: TOKEN_DELAY_MS });
    stack = await startStack({
      apps: ['gateway', 'llm-worker', 'llm-worker', 'tts-worker', 'tts-worker'],
      environment: {
        ...{ AI_SERVICE: 'openai', OPENAI_BASE_URL: upstream.baseUrl, TTS_SERVICE: 'flite' },
        ...{ LLM_OPENAI_MODELS: 'scripted', IDLE_TIMEOUT_MS: '20000' },
      },
      models: ['scripted', 'tts-1'],
    });
    for (const { output } of stack.processes)
      await until(() => output().includes('"ready"'), { timeoutMs: 10_000 });
    redis = connect(stack);
    whole = await readSpokenStream(stack.baseUrl);
    wholeSound = soundOf(whole);
  }, 60_000);
  afterEach(() => expectNothingLeft(stack, redis));
  afterAll(async () => {
    redis?.disconnect();
    await stack?.close();
    await upstream?.close();
  });

  function expectWhole(answer: SpokenTranscript): void {
    expect(answer).toMatchObject({ done: true, errors: [], phraseErrors: [], broken: false });
    expect(answer.transcript).toBe(whole.transcript);
    expect(soundOf(answer).equals(wholeSound)).toBe(true);
  }
  /** What was heard is right as far as it goes, and one error says that it goes no further. */
  function expectBrokenOff(answer: SpokenTranscript, code: string): void {
    expect(answer).toMatchObject({ done: false, finishReasons: [], broken: false });
    expect(answer.errors.map((error) => error.code)).toEqual([code]);
    expect(whole.transcript.startsWith(answer.transcript)).toBe(true);
    const sound = soundOf(answer);
    expect(sound.equals(wholeSound.subarray(0, sound.length))).toBe(true);
  }

  it('nothing: all are alike', async () => {
    expect(wholeSound.length).toBeGreaterThan(48_000 * 10);
    for (const answer of await listenThrough(async () => undefined)) expectWhole(answer);
  });

  it.each(['pubsub', 'normal'])(
    'all %s connections to Redis, five times',
    async (type) => {
      const answers = await listenThrough(async () => {
        for (let count = 0; count < 5; count += 1) {
          await redis.call('CLIENT', 'KILL', 'TYPE', type).catch(() => undefined);
          await delay(100);
        }
      });
      for (const answer of answers) expectWhole(answer);
      for (const answer of answers) await expectOneEnd(answer);
    },
    30_000,
  );

  it('Redis itself, which comes back with what it had', async () => {
    const answers = await listenThrough(async () => {
      await stack.redis.kill();
      await stack.redis.restart();
    });
    for (const answer of answers) expectWhole(answer);
    for (const answer of answers) await expectOneEnd(answer);
  }, 30_000);

  it('every tts-worker stands still until its lock is lost', async () => {
    const answers = await listenThrough(async () => {
      const voices = alive('tts-worker');
      signal(voices, 'SIGSTOP');
      await delay(3500);
      signal(voices, 'SIGCONT');
    });
    for (const answer of answers) expectWhole(answer);
    for (const answer of answers) await expectOneEnd(answer);
  }, 30_000);

  it('every llm-worker stands still until it is taken for dead, and then goes on', async () => {
    const answers = await listenThrough(async () => {
      const models = alive('llm-worker');
      signal(models, 'SIGSTOP');
      await delay(8000);
      signal(models, 'SIGCONT');
    });
    for (const answer of answers) {
      expectBrokenOff(answer, 'stream_interrupted');
      await expectOneEnd(answer);
    }
    await until(() => upstream.activeRequests() === 0, { timeoutMs: 2000 });
  }, 40_000);

  it('Redis has no memory for a while', async () => {
    const answers = await listenThrough(async () => {
      await redis.config('SET', 'maxmemory', '1');
    });
    for (const answer of answers) expectBrokenOff(answer, 'storage_full');
    await redis.config('SET', 'maxmemory', '0');
    await until(() => upstream.activeRequests() === 0, { timeoutMs: 2000 });
    expectWhole(await readSpokenStream(stack.baseUrl));
  }, 30_000);

  it('the gateway: its answers end within 15 s, and nobody goes on with them', async () => {
    upstream.script({ tokens: Array(20).fill(TOKENS).flat(), tokenDelayMs: 50 });
    let killedAtMs = 0;
    const answers = await listenThrough(async () => {
      killedAtMs = performance.now();
      for (const gateway of alive('gateway')) await gateway.stop('SIGKILL');
    });
    expect(answers.map(({ broken }) => broken)).toEqual(answers.map(() => true));
    await until(() => upstream.activeRequests() === 0, { timeoutMs: 20_000 });
    expect(performance.now() - killedAtMs).toBeLessThan(15_000 * PATIENCE);
    for (const { streamId } of answers) {
      expect(await redis.hget(`antiphon:{${streamId}}:state`, 'status')).toBe('error');
    }
  }, 60_000);
});

it('a phrase that its workers die of is left out, and the rest is heard', async () => {
  const [first = '', poison = '', last = ''] = SENTENCES;
  const server = await startOpenAIServer({ tokens: [`${first} ${poison} ${last}`] });
  const isPoison = ({ body }: { body: unknown }) => Object(body).input === poison;
  server.script({ path: '/audio/speech', when: isPoison, fault: { type: 'no-headers' } });
  const own = await startStack({
    apps: ['gateway', 'llm-worker', 'tts-worker'],
    environment: {
      ...{ AI_SERVICE: 'openai', TTS_SERVICE: 'openai', OPENAI_BASE_URL: server.baseUrl },
      ...{ LLM_OPENAI_MODELS: 'scripted', TTS_OPENAI_MODELS: 'scripted-tts' },
    },
    models: ['scripted', 'scripted-tts'],
  });
  const connection = connect(own);
  try {
    const reading = readSpokenStream(own.baseUrl);
    let victim = own.processes.find(({ name }) => name === 'tts-worker');
    for (const deaths of [1, 2]) {
      await until(() => server.requests.filter(isPoison).length === deaths, {
        timeoutMs: 10_000,
        what: `run ${deaths} of the phrase`,
      });
      await until(async () => {
        const [key = ''] = await connection.keys('antiphon:{*}:state');
        return (await connection.hget(key, 'ended')) === '2'; // the others are spoken
      });
      await victim?.stop('SIGKILL');
      victim = own.start('tts-worker');
    }
    const answer = await reading;
    expect(answer).toMatchObject({ done: true, errors: [], finishReasons: ['stop'] });
    expect(answer.phraseErrors).toMatchObject([{ index: 1, code: 'stream_interrupted' }]);
    expect(answer.transcript).toBe([first, poison, last].join(' '));
    const seconds = soundOf(answer).length / 48_000;
    const spoken = (spokenPcm(first).length + spokenPcm(last).length) / 48_000;
    expect(Math.abs(seconds - spoken)).toBeLessThan(1.5); // and the pauses behind them
    expect(server.requests.filter(isPoison)).toHaveLength(2);
    await expectNothingLeft(own, connection);
  } finally {
    connection.disconnect();
    await own.close();
    await server.close();
  }
}, 60_000);
