import { createReadStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { wavHeader } from '@antiphon/shared/audio/wav';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { JobContext } from '@antiphon/shared/queue/job-worker';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type ScriptedWorker, startScriptedWorker } from '@antiphon/testing/scripted-worker';
import OpenAI, { APIError, AuthenticationError, NotFoundError, toFile } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { answerChat, chatFrame, hearOneSegment } from '../testing/scripted-handlers.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

const LIMIT_BYTES = 2_000_000;
let redis: RedisServer;
let llm: ScriptedWorker<'chat'>;
let stt: ScriptedWorker<'transcription'>;
let gateway: TestGateway;
let directory: string;
let openai: OpenAI;
let script: (context: JobContext<'chat'>) => Promise<void> = answerChat('Hello.');

beforeAll(async () => {
  redis = await startRedis();
  const redisUrl = redis.url;
  directory = await mkdtemp(join(tmpdir(), 'antiphon-sdk-'));
  llm = await startScriptedWorker({
    ...{ redisUrl, kind: 'chat', announced: { models: ['scripted', 'org/scripted'] } },
    handler: (context) => script(context),
  });
  stt = await startScriptedWorker({
    ...{ redisUrl, kind: 'transcription', announced: { models: ['whisper-1'] } },
    handler: hearOneSegment,
  });
  gateway = await openTestGateway(redisUrl, {
    API_KEYS: 'sk-test-key-0123',
    MAX_UPLOAD_BYTES: String(LIMIT_BYTES),
  });
  openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'sk-test-key-0123' });
});
afterAll(async () => {
  await gateway.close();
  await llm.close();
  await stt.close();
  await redis.close();
  await rm(directory, { recursive: true, force: true });
});

const wav = (bytes: number) =>
  Buffer.concat([
    wavHeader({ sampleRateHz: 16_000, dataBytes: bytes - 44 }),
    Buffer.alloc(bytes - 44),
  ]);
const messages = [{ role: 'user' as const, content: 'hi' }];

async function failure(asked: Promise<unknown>): Promise<APIError> {
  const error = await asked.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof APIError)) throw new Error('no APIError', { cause: error });
  return error;
}

describe('the official SDK', () => {
  it('hears the 413 of an upload that is too large, every time, and does not send it again', async () => {
    const file = join(directory, 'large.wav');
    await writeFile(file, wav(LIMIT_BYTES * 2));
    for (let round = 0; round < 15; round += 1) {
      const given =
        round % 2 === 0 ? await toFile(wav(LIMIT_BYTES * 3), 'large.wav') : createReadStream(file);
      const error = await failure(
        openai.audio.transcriptions.create({ model: 'whisper-1', file: given }),
      );
      expect(error.status).toBe(413);
      expect(error.message).toMatch(/Maximum content size limit \(2000000\) exceeded/);
    }
    expect(stt.jobs).toStrictEqual([]);
  });

  it('reads code, param, type and request id of an error', async () => {
    const error = await failure(
      openai.chat.completions.create({ model: 'scripted', messages, temperature: 3 }),
    );
    expect(error).toMatchObject({
      ...{ status: 400, code: 'decimal_above_max_value', param: 'temperature' },
      type: 'invalid_request_error',
      requestID: expect.stringMatching(/^req_/),
    });
  });

  it('tells a wrong key and an unknown model apart', async () => {
    const stranger = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'sk-wrong-key-0123' });
    expect(await failure(stranger.models.list())).toBeInstanceOf(AuthenticationError);
    expect(await failure(openai.models.retrieve('org/unknown'))).toBeInstanceOf(NotFoundError);
    expect((await openai.models.retrieve('org/scripted')).id).toBe('org/scripted');
  });

  it('tries again after a 429 that says when, not after one that says never', async () => {
    const failOnce = (code: 'rate_limit_exceeded' | 'upstream_auth') => {
      let failed = false;
      script = async (context) => {
        if (failed) return answerChat('Hello.')(context);
        failed = true;
        throw new VoiceError(code, { retryAfterSeconds: 0.5 });
      };
    };
    failOnce('rate_limit_exceeded');
    const answer = await openai.chat.completions.create({ model: 'scripted', messages });
    expect(answer.choices[0]?.message.content).toBe('Hello.');
    failOnce('upstream_auth');
    const count = llm.jobs.length;
    const error = await failure(openai.chat.completions.create({ model: 'scripted', messages }));
    expect(error.status).toBe(502);
    expect(llm.jobs.length).toBe(count + 1);
  });

  it('throws at an error in the middle of a stream, with what came before', async () => {
    script = async ({ producer, signal }) => {
      await producer.append({ type: 'text-delta', bytes: chatFrame('one') }, { signal });
      throw new VoiceError('stream_interrupted');
    };
    const stream = await openai.chat.completions.create({
      ...{ model: 'scripted', messages, stream: true },
    });
    let text = '';
    const read = async () => {
      for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
    };
    const error = await failure(read());
    expect(error).toMatchObject({ code: 'stream_interrupted', type: 'server_error' });
    expect(text).toBe('one');
  });
});
